"""``track``: what became of every track, and the operator's word on whose a track is."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fabnet_secure.commands.options import (
    EXIT_STATUS,
    AsJson,
    Debug,
    DryRun,
    KeyFile,
    Quiet,
    Vault,
    noun,
    opened,
    read_box,
)
from fabnet_secure.commands.output import Output, Talk, day, print_json, short
from fabnet_secure.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from fabnet_secure.pipeline.declared import Declared
    from fabnet_secure.pipeline.ingest import Chooser
    from fabnet_secure.pipeline.source import BoxClaim
    from fabnet_secure.video.bind import Assignment
    from fabnet_secure.video.observe import Observation
    from fabnet_secure.video.track import Track

commands = noun(
    "Look at tracks (ids, counts and states, never pictures), or say whose they are.",
    example="fabnet-secure track list",
)


@commands.command("list", epilog=EXIT_STATUS)
def list_all(
    *,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """List every track: bound, dropped, quarantined, expired or erased.

    Example: fabnet-secure track list
    """
    from fabnet_secure.pipeline.registers import list_tracks

    with opened(vault, key_file) as site:
        found = list_tracks(site)
    out = Output(as_json=as_json, quiet=quiet)
    if as_json:
        for fields in found:
            print_json("track", fields)
        print_json("summary", {"tracks": len(found)})
    out.ids(str(fields["track_id"]) for fields in found)
    head = ("track", "status", "frames", "subject", "consent", "expires", "reason")
    rows = [
        (
            one["track_id"],
            one["status"],
            one["frames"],
            short(one["subject_id"]),
            short(one["consent_id"]),
            day(one["expires_at"]),
            one["reason"],
        )
        for one in found
    ]
    out.table(head, rows)


@commands.command("bind", epilog=EXIT_STATUS)
def bind(
    video: Annotated[Path, typer.Argument(help="The video file.", show_default=False)],
    *,
    consent: Annotated[
        list[str] | None,
        typer.Option("--consent", help="The id of a person's consent; repeat for several people."),
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option("--box", help="FRAME:X,Y,W,H=CONSENT_ID: this face is this person's. Repeat for several."),
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Look at the blurred faces in a local page and say whose each is.")
    ] = False,
    dry_run: DryRun = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> int:
    """Ingest one video by your assignment: the faces you name are kept, every other is dropped.

    Example: fabnet-secure track bind two.mp4 --consent 4dd1… --show

    A box is in pixels of the frame (from 0) and lies on a face that is seen there; it binds that face's whole track.
    With --dry-run and no assignment every face is listed with its frames and boxes, here and nowhere else. With --show
    a page opens on this machine only: coarse pictures, in memory, gone when you answer. Paste its address into a
    browser window that is open already.
    """
    from fabnet_secure.commands.ingest import lines_of, print_one, status_of, summary_of
    from fabnet_secure.pipeline.ingest import ingest
    from fabnet_secure.pipeline.source import Source

    claims = tuple(read_box(one) for one in box or [])
    lists = _only_lists(claims, show=show, dry_run=dry_run)
    if not claims and not consent:
        raise UsageError("no consent is named", hint="give --consent ID, once a person", code="CONSENT_MISSING")
    out, talk = Output(as_json=as_json, quiet=quiet), Talk(quiet=quiet or as_json)
    choose = chooser(out) if show else _lister(out) if lists else None
    # A person looks at the video now, so an earlier quarantine is no reason to skip it: "released".
    source = Source(path=video, consent_ids=tuple(consent or ()), boxes=claims, released=True)
    with opened(vault, key_file) as site:
        outcomes = ingest(site, [source], progress=talk, dry_run=dry_run, choose=choose)
    talk.finish()
    if not lists or outcomes[0].error is not None:
        print_one(out, outcomes[0], dry_run=dry_run)
    summary = summary_of(outcomes, dry_run=dry_run)
    out.result("summary", summary, lines_of(summary))
    out.ids(summary["track_ids"])
    return ExitCode.OK if lists and outcomes[0].error is None else status_of(out, outcomes)


def chooser(out: Output) -> "Chooser":
    """Make what asks a person on a local page; the page's address goes to stderr, whatever is printed besides."""

    def ask(observation: "Observation", declared: "Declared") -> "Sequence[Assignment]":
        from fabnet_secure.pipeline.review import review

        out.say("Open this address in a browser on this machine, and answer within 15 minutes:")
        return review(
            observation,
            declared.subject_of,
            announce=lambda address: print(address, file=sys.stderr, flush=True),
            seconds=15 * 60.0,
        )

    return ask


def _only_lists(claims: "Sequence[BoxClaim]", *, show: bool, dry_run: bool) -> bool:
    """Tell whether the faces are to be listed only, which is a dry run without an assignment."""
    if claims and show:
        raise UsageError("--box and --show both say whose the faces are", hint="give one or the other")
    if not (claims or show or dry_run):
        raise UsageError(
            "nobody said whose the faces are",
            hint="give --box FRAME:X,Y,W,H=CONSENT_ID, or --show; --dry-run lists the faces",
            code="ASSIGNMENT_MISSING",
        )
    return not (claims or show)


def _lister(out: Output) -> "Chooser":
    """Make what prints every face that could be bound, and assigns none."""

    def ask(observation: "Observation", declared: "Declared") -> "Sequence[Assignment]":  # noqa: ARG001  a Chooser
        found = [track for track in observation.tracks if observation.candidates(track.number)]
        rows: list[tuple[object, ...]] = []
        for track in found:
            boxes = _boxes(track)
            size = round(track.median_size)
            if out.as_json:
                fields = {"face": track.number + 1, "first": track.first, "last": track.last, "size": size}
                print_json("face", fields | {"boxes": boxes})
            rows.append((track.number + 1, f"{track.first}-{track.last}", size, *boxes))
        out.table(("face", "frames", "size", "box at its start", "middle", "end"), rows)
        if left := len(observation.tracks) - len(found):
            out.say(f"left out: {left}, too short or too small to be bound")
        return ()

    return ask


def _boxes(track: "Track") -> list[str]:
    """Write a track's boxes at its start, middle and end as ``--box`` wants them, up to the consent."""
    from fabnet_secure.video.assign import box_at, key_frames

    found = [(frame, box) for frame in key_frames(track) if (box := box_at(track, frame))]
    return [f"{frame}:" + ",".join(f"{side:.0f}" for side in box) for frame, box in found]
