"""``ingest``: videos under consents."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fabnet_secure.commands.options import AsJson, Debug, DryRun, KeyFile, Quiet, Vault, opened
from fabnet_secure.commands.output import Output, Talk, print_error, print_json, words
from fabnet_secure.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from fabnet_secure.pipeline.ingest import Outcome, Source


def ingest(
    videos: Annotated[
        list[Path] | None, typer.Argument(help="Video files, all of one person.", show_default=False)
    ] = None,
    *,
    consent: Annotated[
        list[str] | None,
        typer.Option("--consent", help="The id of the person's consent; repeat for several."),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option("--manifest", help="A CSV with the columns video,consent_id.", show_default=False),
    ] = None,
    dry_run: DryRun = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> int:
    """Ingest videos: keep what a living consent covers as sealed crops, and nothing else.

    Example: fabnet-secure ingest talk.mp4 --consent 4dd1…

    Faces are found and tracked; a track that cannot be bound to the declared person is dropped before it is cropped.
    With more than one face at once the video is quarantined: nothing of it is kept (ingest.primary_track in
    fabnet.toml can allow the largest track). Re-ingesting the same file under the same consent does nothing.
    """
    from fabnet_secure.pipeline.ingest import ingest as take_in

    sources = _sources(videos or [], consent or [], manifest)
    talk = Talk(quiet=quiet or as_json)
    with opened(vault, key_file) as site:
        outcomes = take_in(site, sources, progress=talk, dry_run=dry_run)
    talk.finish()
    out = Output(as_json=as_json, quiet=quiet)
    for outcome in outcomes:
        _print_one(out, outcome)
    summary = _summary(outcomes, dry_run=dry_run)
    out.result("summary", summary, _lines(summary))
    out.ids(summary["track_ids"])
    return _status(out, outcomes)


def _sources(videos: list[Path], consents: list[str], manifest: Path | None) -> "list[Source]":
    from fabnet_secure.pipeline.ingest import Source

    if manifest is not None and (videos or consents):
        raise UsageError("--manifest names the videos and consents itself", hint="give one or the other")
    if manifest is not None:
        return _from_manifest(manifest)
    if not videos:
        raise UsageError("no video is named", hint="fabnet-secure ingest VIDEO --consent ID")
    if not consents:
        raise UsageError("no consent is named", hint="give --consent ID", code="CONSENT_MISSING")
    return [Source(path=video, consent_ids=tuple(consents)) for video in videos]


def _from_manifest(path: Path) -> "list[Source]":
    from fabnet_secure.pipeline.applications import read_small
    from fabnet_secure.pipeline.ingest import Source

    try:
        reader = csv.DictReader(io.StringIO(read_small(path, "manifest").decode("utf-8-sig"), newline=""), strict=True)
        rows = [(reader.line_num, row["video"], row["consent_id"], None in row) for row in reader]
    except (UnicodeDecodeError, csv.Error, KeyError) as error:
        hint = "a UTF-8 CSV with the columns video,consent_id"
        raise UsageError("the manifest cannot be read", hint=hint, code="TABLE_INVALID") from error
    bad = [line for line, video, consent_id, longer in rows if longer or not video or not consent_id]
    if bad or not rows:
        what = f"line {bad[0]} of the manifest is bad" if bad else "the manifest has no rows"
        hint = "every row names a video and a consent id, and nothing else"
        raise UsageError(what, hint=hint, code="TABLE_INVALID", rows=[{"line": line} for line in bad])
    named: dict[str, list[str]] = {}
    for _, video, consent_id, _ in rows:
        named.setdefault(video, []).append(consent_id)
    return [Source(path=path.parent / video, consent_ids=tuple(ids)) for video, ids in named.items()]


def _print_one(out: Output, outcome: "Outcome") -> None:
    name = outcome.path.name
    if out.as_json:
        error = outcome.error
        print_json(
            "video",
            {
                "video": name,
                "status": outcome.status,
                "frames_read": outcome.frames_read,
                "track_ids": list(outcome.track_ids),
                "code": error.code if error else None,
                "message": error.message if error else None,
            },
        )
        return
    counts = f"{outcome.bound} bound, {outcome.dropped} dropped, {outcome.quarantined} quarantined"
    out.say(f"{name}: {outcome.status}" + (f" ({counts})" if outcome.status in ("ingested", "quarantined") else ""))
    if outcome.error is not None:
        print_error(outcome.error, as_json=False)


def _summary(outcomes: "tuple[Outcome, ...]", *, dry_run: bool) -> dict[str, Any]:
    reasons: dict[str, int] = {}
    for outcome in outcomes:
        for reason, count in outcome.drop_reasons.items():
            reasons[reason] = reasons.get(reason, 0) + count
    kinds = ("ingested", "skipped", "refused", "quarantined")
    return {
        "videos": {kind: sum(outcome.status == kind for outcome in outcomes) for kind in kinds},
        "tracks": {
            "detected": sum(outcome.detected for outcome in outcomes),
            "bound": sum(outcome.bound for outcome in outcomes),
            "dropped": sum(outcome.dropped for outcome in outcomes),
            "quarantined": sum(outcome.quarantined for outcome in outcomes),
        },
        "drop_reasons": reasons,
        "frames": {
            "read": sum(outcome.frames_read for outcome in outcomes),
            "persisted": sum(outcome.frames_persisted for outcome in outcomes),
        },
        "track_ids": [track_id for outcome in outcomes for track_id in outcome.track_ids],
        "refusals": [
            {"video": outcome.path.name, "code": outcome.error.code, "message": outcome.error.message}
            for outcome in outcomes
            if outcome.error
        ],
        "dry_run": dry_run,
    }


def _lines(summary: dict[str, Any]) -> list[str]:
    return [
        f"videos   {words(summary['videos'])}" + ("  (dry run: nothing was stored)" if summary["dry_run"] else ""),
        f"tracks   {words(summary['tracks'])}",
        f"frames   {words(summary['frames'])}",
        *([f"reasons  {words(summary['drop_reasons'])}"] if summary["drop_reasons"] else []),
        *(f"track    {track_id}" for track_id in summary["track_ids"]),
    ]


def _status(out: Output, outcomes: "tuple[Outcome, ...]") -> int:
    """All well: 0. Something refused or quarantined beside others: 3. Everything refused: the first one's status."""
    refused = [outcome.error for outcome in outcomes if outcome.error is not None]
    if refused and len(refused) == len(outcomes):
        if out.as_json:
            print_error(refused[0], as_json=True)
        return refused[0].exit_code
    findings = bool(refused) or any(outcome.status == "quarantined" for outcome in outcomes)
    return ExitCode.PARTIAL if findings else ExitCode.OK
