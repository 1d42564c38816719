"""``quarantine``: the videos that a person has to look at."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fabnet_secure.commands.ingest import lines_of, print_one, status_of, summary_of
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
from fabnet_secure.commands.output import Output, Talk, day, print_json
from fabnet_secure.commands.track import chooser
from fabnet_secure.errors import UsageError

if TYPE_CHECKING:
    from fabnet_secure.pipeline.quarantine import Held

commands = noun(
    "Videos that wait for a person: sealed, without a picture, and destroyed at their deadline.",
    example="fabnet-secure quarantine list",
)
VideoId = Annotated[str, typer.Argument(help="The video's id, as 'quarantine list' shows it.")]


@commands.command("list", epilog=EXIT_STATUS)
def list_all(
    *,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """List every video that was quarantined: held, released, destroyed or expired.

    Example: fabnet-secure quarantine list
    """
    from fabnet_secure.pipeline.quarantine import list_held

    with opened(vault, key_file) as site:
        found = list_held(site)
    out = Output(as_json=as_json, quiet=quiet)
    held = [one for one in found if one["state"] == "held"]
    if as_json:
        for fields in found:
            print_json("quarantine", fields)
        print_json("summary", {"quarantined": len(found), "held": len(held)})
    out.ids(str(one["video_id"]) for one in held)
    head = ("video", "state", "tracks", "since", "deadline", "reason")
    out.table(
        head,
        [
            (one["video_id"], one["state"], one["tracks"], day(one["created_at"]), day(one["deadline"]), one["reason"])
            for one in found
        ],
    )


@commands.command("release", epilog=EXIT_STATUS)
def release_one(
    video_id: VideoId,
    *,
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
    """Ingest a quarantined video by your assignment: the faces you name are kept, every other is dropped.

    Example: fabnet-secure quarantine release 81b2… --box 120:310,95,88,102=4dd1…

    The file must be where it was, unchanged; the consents are required again. What fails leaves the video held. With
    --dry-run and no assignment the faces that wait are listed, each as a --box wants it.
    """
    from fabnet_secure.pipeline.release import look, release

    claims = [read_box(one) for one in box or []]
    out = Output(as_json=as_json, quiet=quiet)
    if claims and show:
        raise UsageError("--box and --show both say whose the faces are", hint="give one or the other")
    with opened(vault, key_file) as site:
        if dry_run and not claims and not show:
            _print_held(out, video_id, look(site, video_id))
            return 0
        talk = Talk(quiet=quiet or as_json)
        choose = chooser(out) if show else None
        outcome = release(site, video_id, boxes=claims, choose=choose, progress=talk, dry_run=dry_run)
    talk.finish()
    print_one(out, outcome, dry_run=dry_run)
    summary = summary_of((outcome,), dry_run=dry_run)
    out.result("summary", summary, lines_of(summary))
    out.ids(summary["track_ids"])
    return status_of(out, (outcome,))


@commands.command("destroy", epilog=EXIT_STATUS)
def destroy_one(
    video_id: VideoId,
    *,
    confirm: Annotated[
        str | None,
        typer.Option("--confirm", help="The same id again: this cannot be undone.", show_default=False),
    ] = None,
    dry_run: DryRun = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Destroy what is held of a video, and its file too where ingest.source_disposition is "delete".

    Example: fabnet-secure quarantine destroy 81b2… --confirm 81b2…
    """
    from fabnet_secure.pipeline.quarantine import destroy

    with opened(vault, key_file) as site:
        done = destroy(site, video_id, confirm, dry_run=dry_run)
    fields: dict[str, Any] = {
        "video_id": done.video_id,
        "tracks": done.tracks,
        "source": done.disposition,
        "destroyed": not done.dry_run,
        "dry_run": done.dry_run,
    }
    what = "dry run: this is what would go; nothing changed" if done.dry_run else "destroyed"
    out = Output(as_json=as_json, quiet=quiet)
    out.result("summary", fields, [f"video   {what}", f"tracks  {done.tracks}", f"source  {done.disposition}"])
    out.ids([done.video_id])


def _print_held(out: Output, video_id: str, held: "Held") -> None:
    tracks = [
        {"first": one.first, "last": one.last, "boxes": [_as_option(frame, box) for frame, box in one.boxes]}
        for one in held.tracks
    ]
    fields = {"video_id": video_id, "reason": held.reason, "consents": list(held.named), "tracks": tracks}
    lines = [f"reason   {held.reason}", *(f"consent  {consent_id}" for consent_id in held.named)]
    out.result("summary", fields | {"dry_run": True}, lines)
    out.table(
        ("frames", "a face there"),
        [(f"{one.first}-{one.last}", _as_option(*one.boxes[len(one.boxes) // 2])) for one in held.tracks],
    )


def _as_option(frame: int, box: tuple[float, float, float, float]) -> str:
    return f"{frame}:" + ",".join(f"{side:.0f}" for side in box)
