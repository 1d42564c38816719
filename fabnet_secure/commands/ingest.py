"""``ingest``: videos under consents, and ``ingest watch``: a folder that they are dropped into."""

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.main
from typer.core import TyperCommand

from fabnet_secure.commands.options import EXIT_STATUS, AsJson, Debug, DryRun, KeyFile, Quiet, Vault, noun, opened
from fabnet_secure.commands.output import Output, Talk, one_line, print_error, print_json, words
from fabnet_secure.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from fabnet_secure.pipeline.context import Site
    from fabnet_secure.pipeline.inbox import Ending
    from fabnet_secure.pipeline.source import Outcome, Source
    from fabnet_secure.pipeline.sources import Sources

_MOST_JOBS_PER_CORE = 4
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_KINDS = ("ingested", "skipped", "refused", "quarantined")

Consents = Annotated[
    list[str] | None,
    typer.Option("--consent", help="The id of a person's consent; repeat for several people."),
]
Camera = Annotated[
    str,
    typer.Option("--camera", help="The camera's name in fabnet.toml; else found by the source.", show_default=False),
]
Seats = Annotated[
    list[str] | None,
    typer.Option("--seat", help="REGION=CONSENT_ID: who sits in a region of the camera; repeat.", show_default=False),
]
Jobs = Annotated[int, typer.Option("--jobs", "-j", help="How many videos at once, each in a process of its own.")]


class WithWatch(TyperCommand):
    """The command ``ingest``, which has the command ``watch`` beside its own videos (``./watch`` is a file)."""

    @property
    def commands(self) -> dict[str, Any]:
        """The commands below this one, by name."""
        below = noun("A watched folder.", example="fabnet-secure ingest watch inbox")
        below.command("watch", epilog=EXIT_STATUS)(watch)
        return {"watch": typer.main.get_command(below)}

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Read the arguments as this command's, or as those of the command that the first of them names."""
        if args and (below := self.commands.get(args[0])) is not None:
            return below.make_context(f"{info_name} {args[0]}", args[1:], parent=parent, **extra)
        return super().make_context(info_name, args, parent=parent, **extra)


def ingest(
    videos: Annotated[
        list[str] | None,
        typer.Argument(help="Files, folders, patterns, rtsp:// addresses, V4L devices.", show_default=False),
    ] = None,
    *,
    consent: Consents = None,
    manifest: Annotated[
        Path | None,
        typer.Option("--manifest", help="A CSV: video,consent_id and, if wanted, camera,box.", show_default=False),
    ] = None,
    camera: Camera = "",
    seat: Seats = None,
    duration: Annotated[
        str | None,
        typer.Option("--duration", help="How long a live source is read: PT30S, or seconds.", show_default=False),
    ] = None,
    jobs: Jobs = 1,
    dry_run: DryRun = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> int:
    """Ingest videos: keep what a living consent covers as sealed crops, and nothing else.

    Example: fabnet-secure ingest talk.mp4 --consent 4dd1…

    Faces are found and tracked; a track that cannot be bound to a declared person is dropped before anything of it is
    encoded. Who is who among several people is said by seats (--seat, or the camera in fabnet.toml), by boxes
    in the manifest, or afterwards by 'track bind'; a video that nobody can decide is quarantined: nothing of it is
    kept. Ingesting the same file under the same consents again does nothing, so a run that was cut off is run again.

    'ingest watch FOLDER' ingests whatever is put into a folder.
    """
    from fabnet_secure.config import load

    table = load(vault=vault).settings
    seconds = _seconds(duration, table.ingest.live_max_seconds)
    found = _sources(videos or [], consent or [], manifest, camera, seat or [], seconds)
    if not table.camera and any(not (one.consent_ids or one.seats) for one in found.found):
        hint = "give --consent ID, --seat REGION=ID, or --manifest FILE"
        raise UsageError("no consent is named", hint=hint, code="CONSENT_MISSING")
    jobs = checked_jobs(jobs)
    out, talk = Output(as_json=as_json, quiet=quiet), Talk(quiet=quiet or as_json)
    if found.ignored:
        out.say(f"files left out, since they are no video: {found.ignored}")
    outcomes: list[Outcome] = []
    with opened(vault, key_file) as site:
        for outcome in chain(found.refused, _ingested(site, found.found, jobs=jobs, talk=talk, dry_run=dry_run)):
            talk.finish()  # the line that rewrites itself gives way to what stays
            print_one(out, outcome, dry_run=dry_run)
            outcomes.append(outcome)
    talk.finish()
    summary = summary_of(outcomes, dry_run=dry_run)
    out.result("summary", summary, lines_of(summary))
    out.ids(summary["track_ids"])
    return status_of(out, outcomes)


def watch(
    folder: Annotated[Path, typer.Argument(help="The folder to watch.", show_default=False)],
    *,
    consent: Consents = None,
    camera: Camera = "",
    seat: Seats = None,
    jobs: Jobs = 1,
    once: Annotated[bool, typer.Option("--once", help="Take what is there, and end.")] = False,
    lasting: Annotated[
        str | None,
        typer.Option("--for", help="End after this long: PT8H, or seconds.", show_default=False),
    ] = None,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> int:
    """Watch a folder: ingest each file that is put there, once it is complete.

    Example: fabnet-secure ingest watch inbox --consent 4dd1…

    Whose consent a file has is said by FOLDER/manifest.csv, by the sub-folder that it lies in
    (FOLDER/CONSENT_ID/clip.mp4), or by --consent. What was ingested moves to FOLDER/.done (or is deleted:
    ingest.source_disposition), what was refused to FOLDER/.refused; what was quarantined stays under FOLDER/.taken
    until it is released or destroyed.

    Ctrl-C or SIGTERM ends it; what was being read is taken up by the next watcher.
    """
    from fabnet_secure.pipeline.inbox import watch as watching
    from fabnet_secure.pipeline.source import Source
    from fabnet_secure.pipeline.sources import parse_seats, parse_seconds

    seconds = None if lasting is None else parse_seconds(lasting)
    given = Source(consent_ids=tuple(consent or ()), camera=camera, seats=parse_seats(seat or []))
    jobs = checked_jobs(jobs)
    out, talk, tally = Output(as_json=as_json, quiet=quiet), Talk(quiet=quiet or as_json), Tally()
    if not once:
        out.say(f"watching {one_line(str(folder))}; Ctrl-C ends it")
    with opened(vault, key_file) as site, _ending(seconds) as ending:
        for outcome in watching(
            site,
            folder,
            given=given,
            jobs=jobs,
            progress=talk,
            say=lambda text: out.say(one_line(text)),
            ending=ending,
            once=once,
        ):
            talk.finish()
            print_one(out, outcome)
            out.ids(outcome.track_ids)
            tally.add(outcome)
    talk.finish()
    summary = tally.summary(dry_run=False)
    out.result("summary", summary, lines_of(summary))
    return ExitCode.PARTIAL if tally.findings else ExitCode.OK


@dataclass(slots=True)
class Tally:
    """What became of all videos, added up one by one.

    Attributes:
        findings: videos that were refused or quarantined, or whose file could not be deleted.
    """

    videos: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_KINDS, 0))
    tracks: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("detected", "bound", "dropped", "quarantined"), 0)
    )
    frames: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("read", "persisted"), 0))
    reasons: dict[str, int] = field(default_factory=dict)
    track_ids: list[str] = field(default_factory=list)
    refusals: list[dict[str, str]] = field(default_factory=list)
    findings: int = 0

    def add(self, outcome: "Outcome") -> None:
        """Count one video."""
        self.videos[outcome.status] += 1
        for name in self.tracks:
            self.tracks[name] += getattr(outcome, name)
        self.frames["read"] += outcome.frames_read
        self.frames["persisted"] += outcome.frames_persisted
        for reason, count in outcome.drop_reasons.items():
            self.reasons[reason] = self.reasons.get(reason, 0) + count
        self.track_ids += outcome.track_ids
        if outcome.error is not None:
            told = {"video": outcome.source.label, "code": outcome.error.code, "message": outcome.error.message}
            self.refusals.append(told)
        self.findings += _is_finding(outcome)

    def summary(self, *, dry_run: bool) -> dict[str, Any]:
        """Return the fields of the ``summary`` object."""
        return {
            "videos": self.videos,
            "tracks": self.tracks,
            "drop_reasons": self.reasons,
            "frames": self.frames,
            "track_ids": self.track_ids,
            "refusals": self.refusals,
            "dry_run": dry_run,
        }


def checked_jobs(jobs: int) -> int:
    """Return the number of worker processes wanted, if this machine can bear it.

    Raises:
        UsageError: code ``JOBS_INVALID``: less than 1, or more than four times the cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not 1 <= jobs <= _MOST_JOBS_PER_CORE * cores:
        hint = f"give --jobs 1 to {_MOST_JOBS_PER_CORE * cores}; more than this machine's {cores} cores gain little"
        raise UsageError("that many jobs cannot be run at once", hint=hint, code="JOBS_INVALID")
    return jobs


def print_one(out: Output, outcome: "Outcome", *, dry_run: bool = False) -> None:
    """Print what became of one video and, where something is left to do, what."""
    if out.as_json:
        print_json("video", _fields(outcome))
        return
    counts = f"{outcome.bound} bound, {outcome.dropped} dropped, {outcome.quarantined} quarantined"
    read = outcome.status in ("ingested", "quarantined")
    status = f"would be {outcome.status}" if dry_run else outcome.status
    out.say(f"{one_line(outcome.source.label)}: {status}" + (f" ({counts})" if read else ""))
    if read:
        for line in _details(outcome, dry_run=dry_run):
            out.say(f"  {line}")
    elif outcome.status == "skipped":
        out.say("  it is known already" + ("; the file was deleted" if outcome.disposition == "deleted" else ""))
    if outcome.status == "quarantined" and not dry_run:
        out.say(f"  hint: say whose the faces are with 'fabnet-secure quarantine release {outcome.video_id} --show'")
    if outcome.error is not None:
        print_error(outcome.error, as_json=False)


def _details(outcome: "Outcome", *, dry_run: bool) -> Iterator[str]:
    """Say which tracks are kept, why others are not, and what became of the file."""
    yield from (f"track {track_id}" for track_id in outcome.track_ids)
    if outcome.drop_reasons:
        reasons = {reason.replace("_", " "): count for reason, count in outcome.drop_reasons.items()}
        yield f"not kept: {words(reasons)}"
    if dry_run and outcome.disposition == "delete_due":
        yield "the file would be deleted"
    elif outcome.disposition == "deleted":
        yield "the file was deleted"
    elif outcome.disposition.startswith("delete"):
        yield "the file could not be deleted: delete it yourself, or run the same command again"


def _fields(outcome: "Outcome") -> dict[str, Any]:
    error = outcome.error
    return {
        "video": outcome.source.label,
        "status": outcome.status,
        "video_id": outcome.video_id or None,
        "frames_read": outcome.frames_read,
        "track_ids": list(outcome.track_ids),
        "drop_reasons": dict(outcome.drop_reasons),
        "disposition": outcome.disposition or None,
        "code": error.code if error else None,
        "message": error.message if error else None,
        "hint": error.hint if error else None,
    }


def summary_of(outcomes: "Iterable[Outcome]", *, dry_run: bool) -> dict[str, Any]:
    """Add up what became of all videos: the fields of the ``summary`` object."""
    tally = Tally()
    for outcome in outcomes:
        tally.add(outcome)
    return tally.summary(dry_run=dry_run)


def lines_of(summary: Mapping[str, Any]) -> list[str]:
    """Write a summary for people."""
    verb = "  (dry run: nothing was stored)" if summary["dry_run"] else ""
    return [
        f"videos   {words(summary['videos'])}{verb}",
        f"tracks   {words(summary['tracks'])}",
        f"frames   {words(summary['frames'])}",
        *([f"reasons  {words(summary['drop_reasons'])}"] if summary["drop_reasons"] else []),
    ]


def status_of(out: Output, outcomes: "Iterable[Outcome]") -> int:
    """All well: 0. Something refused or quarantined beside others: 3. Everything refused: the first one's status."""
    told = list(outcomes)
    refused = [outcome.error for outcome in told if outcome.error is not None]
    if refused and len(refused) == len(told):
        if out.as_json:
            print_error(refused[0], as_json=True)
        return refused[0].exit_code
    return ExitCode.PARTIAL if any(_is_finding(outcome) for outcome in told) else ExitCode.OK


def _is_finding(outcome: "Outcome") -> bool:
    return outcome.status in ("refused", "quarantined") or outcome.disposition == "delete_failed"


def _seconds(duration: str | None, most: float) -> float | None:
    from fabnet_secure.pipeline.sources import parse_seconds

    return None if duration is None else parse_seconds(duration, most=most)


def _sources(
    videos: list[str],
    consents: list[str],
    manifest: Path | None,
    camera: str,
    seats: list[str],
    seconds: float | None,
) -> "Sources":
    from fabnet_secure.pipeline.manifest import read_manifest
    from fabnet_secure.pipeline.sources import Sources, expand, parse_seats

    if manifest is not None and (videos or consents or camera or seats):
        raise UsageError("--manifest names the videos, consents and cameras itself", hint="give one or the other")
    if manifest is not None:
        return Sources(found=read_manifest(manifest, seconds=seconds))
    if not videos:
        raise UsageError("no video is named", hint="fabnet-secure ingest VIDEO --consent ID")
    return expand(videos, consent_ids=consents, camera=camera, seats=parse_seats(seats), seconds=seconds)


def _ingested(
    site: "Site", sources: "tuple[Source, ...]", *, jobs: int, talk: Talk, dry_run: bool
) -> "Iterator[Outcome]":
    """Read the videos here, or in worker processes where several are wanted at once."""
    from fabnet_secure.pipeline.ingest import ingest_each, prepare
    from fabnet_secure.pipeline.pool import Overall, run_pool

    if jobs == 1 or len(sources) < 2:
        return ingest_each(site, sources, progress=Overall(talk, len(sources)), dry_run=dry_run)
    prepare(site, dry_run=dry_run)
    return run_pool(site, sources, jobs=jobs, progress=talk, dry_run=dry_run)


@contextmanager
def _ending(seconds: float | None) -> "Iterator[Callable[[], Ending]]":
    """Ask of the watcher to end at a signal, or when its time is over; the signals' own meaning comes back after."""
    from fabnet_secure.pipeline.inbox import Ending

    told: list[int] = []
    until = None if seconds is None else time.monotonic() + seconds

    def ending() -> Ending:
        if told:
            return Ending.NOW
        return Ending.FINISH if until is not None and time.monotonic() >= until else Ending.GO_ON

    before = {number: signal.signal(number, lambda one, _: told.append(one)) for number in _SIGNALS}
    try:
        yield ending
    finally:
        for number, meaning in before.items():
            signal.signal(number, meaning)
