"""``query``: ask, under a purpose."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fabnet_secure.commands import export
from fabnet_secure.commands.options import EXIT_STATUS, AsJson, Debug, DryRun, KeyFile, Quiet, Vault, noun, opened
from fabnet_secure.commands.output import Output, Talk
from fabnet_secure.errors import UsageError

if TYPE_CHECKING:
    from fabnet_secure.pipeline.context import Site
    from fabnet_secure.pipeline.query import Answer, Asked
    from fabnet_secure.privacy.counting import Design

commands = noun(
    "Ask questions of the stored embeddings; every answer has a decision behind it, and counts of the day's answers.",
    example="fabnet-secure query similar --track 9c1e… --purpose query_internal",
)

Since = Annotated[str | None, typer.Option("--since", help="Only videos ingested on this day (UTC) or later.")]
Until = Annotated[str | None, typer.Option("--until", help="Only videos ingested on this day (UTC) or earlier.")]
SiteName = Annotated[str | None, typer.Option("--site", help="Only videos ingested at this site.")]
Camera = Annotated[str | None, typer.Option("--camera", help="Only videos from this camera.")]
PurposeName = Annotated[str, typer.Option("--purpose", help="The purpose of the question, such as query_internal.")]


@commands.command(epilog=EXIT_STATUS)
def similar(
    *,
    track: Annotated[
        list[str] | None, typer.Option("--track", help="The stored track to search by; several may be named.")
    ] = None,
    clip: Annotated[
        Path | None, typer.Option("--clip", help="A video of one person to search by; nothing of it is kept.")
    ] = None,
    consent: Annotated[
        str, typer.Option("--consent", help="With --clip: the person's consent; covers embed and the purpose.")
    ] = "",
    purpose: PurposeName,
    top: Annotated[int, typer.Option("--top", help="How many results, for each track.")] = 5,
    model: Annotated[str | None, typer.Option("--model", help="The model whose embeddings are searched.")] = None,
    since: Since = None,
    until: Until = None,
    site_name: SiteName = None,
    camera: Camera = None,
    scores: Annotated[
        bool, typer.Option("--scores", help="Tell scores too: no shipped role may (query_scores); costs ten answers.")
    ] = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Find the frames of other tracks that show the most similar attributes. Ranks only: scores would leak vectors.

    Example: fabnet-secure query similar --track 9c1e… --top 5 --purpose query_internal

    Example: fabnet-secure query similar --clip visit.mp4 --consent 4dd1… --purpose query_internal --since 2026-01-01
    """
    from fabnet_secure.pipeline.filters import Filters
    from fabnet_secure.pipeline.query import Asked
    from fabnet_secure.pipeline.query import similar as ask

    wanted = _wanted(track, clip, consent)
    filters = Filters(since=since, until=until, site=site_name, camera=camera)
    asked = Asked(top=top, purpose=purpose, model=model, filters=filters, scores=scores)
    out = Output(as_json=as_json, quiet=quiet)
    with opened(vault, key_file) as site:
        if clip is not None:
            _tell_clip(site, clip, consent, asked, out)
            return
        answers = ask(site, wanted, asked)
    _tell(out, dict(zip(wanted, answers, strict=True)))


def _wanted(track: list[str] | None, clip: Path | None, consent: str) -> list[str]:
    """Return the tracks to search by, each once; none where a clip is given."""
    if (clip is None) == (not track):
        raise UsageError("search by tracks or by a clip", hint="give --track ID or --clip FILE", code="PROBE_INVALID")
    if clip is None and consent:
        hint = "a stored track's consent is known; --consent goes with --clip"
        raise UsageError("a consent is named that would not be used", hint=hint, code="PROBE_INVALID")
    return list(dict.fromkeys(track or []))


def _tell_clip(site: "Site", clip: Path, consent: str, asked: "Asked", out: Output) -> None:
    from fabnet_secure.pipeline.clip_query import similar_to_clip

    talk = Talk(quiet=out.quiet or out.as_json)
    try:
        told = similar_to_clip(site, clip, consent_id=consent, asked=asked, progress=talk)
    finally:
        talk.finish()
    frames = {"read": told.frames_read, "persisted": told.frames_persisted}
    _tell(out, {"": told.answer}, more={"frames": frames})


def _tell(out: Output, answers: "dict[str, Answer]", more: dict[str, Any] | None = None) -> None:
    """Print the answers: by track where there are several, else as ever."""
    results = [_fields(track, one, several=len(answers) > 1) for track, one in answers.items()]
    flat = [one for found in results for one in found]
    first = next(iter(answers.values()))
    counted = [one.searched for one in answers.values() if one.searched is not None]
    searched = sum(counted) if counted else None
    shown = "" if searched is None else f"{searched} frames searched, "
    left = {"searched": searched, "answers_left": first.answers_left}
    fields = {"results": flat, "decision_id": first.decision_id, **left, **(more or {})}
    lines = [
        f"decision {first.decision_id}, {shown}{first.answers_left} answers left today",
        *([] if flat else ["nothing found"]),
    ]
    out.result("summary", fields, lines)
    out.ids(one["track_id"] for one in flat)
    if flat:
        out.table(tuple(flat[0]), [tuple(one.values()) for one in flat])


def _fields(track: str, answer: "Answer", *, several: bool) -> list[dict[str, Any]]:
    """Return one answer's results as JSON fields, with the track they are for where there are several."""
    about = {"for_track": track} if several else {}
    return [
        {
            **about,
            "rank": one.rank,
            "track_id": one.track_id,
            "frame": one.frame,
            **({} if one.score is None else {"score": one.score}),
        }
        for one in answer.results
    ]


@commands.command(epilog=EXIT_STATUS)
def stats(
    *,
    purpose: PurposeName,
    count: Annotated[str, typer.Option("--count", help="What to count: people, tracks or frames.")],
    epsilon: Annotated[float, typer.Option("--epsilon", help="The ε that everybody counted pays for the answer.")],
    by: Annotated[str | None, typer.Option("--by", help="Tell apart by month, site, camera or model.")] = None,
    at_most: Annotated[
        int | None,
        typer.Option("--at-most", help="Tracks (10) or frames (1000) that one person counts for in a cell.", min=1),
    ] = None,
    since: Since = None,
    until: Until = None,
    site_name: SiteName = None,
    camera: Camera = None,
    dry_run: DryRun = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Count people, tracks or frames, with noise: no number says whether one person is among them.

    Everybody who may be counted pays ε from their own privacy budget; who has too little left is not counted. A cell
    with fewer people than query.min_people is never told, and which other small cells are is left to chance.

    Example: fabnet-secure query stats --purpose query_internal --count people --by month --epsilon 0.5
    """
    from fabnet_secure.pipeline.filters import Filters
    from fabnet_secure.pipeline.stats import Question, price
    from fabnet_secure.pipeline.stats import stats as ask

    filters = Filters(since=since, until=until, site=site_name, camera=camera)
    question = Question(count=count, by=by, epsilon=epsilon, purpose=purpose, at_most=at_most, filters=filters)
    out = Output(as_json=as_json, quiet=quiet)
    with opened(vault, key_file) as site:
        if dry_run:
            design = price(site, question)
            out.result("summary", {"dry_run": True, **_terms(design)}, [_words(design), "nothing was asked or spent"])
            return
        answer = ask(site, question)
    cells = [{"cell": name, "value": value} for name, value in answer.cells.items()]
    fields = {
        "count": count,
        "by": by,
        "cells": cells,
        "withheld": answer.withheld,
        **_terms(answer.design),
        "decision_id": answer.decision_id,
        "answers_left": answer.answers_left,
    }
    out.result(
        "summary", fields, [_words(answer.design), f"{answer.withheld} of {len(answer.design.cells)} cells withheld"]
    )
    if cells:
        out.table(("cell", count), [(one["cell"], one["value"]) for one in cells])


def _terms(design: "Design") -> dict[str, Any]:
    """Return what an answer costs and how exact it is."""
    return {
        "epsilon": design.epsilon,
        "delta": design.delta,
        "privacy_unit": "person",
        "within": design.error,
        "cells_of_a_person": design.groups,
        "at_most": design.bound,
        "min_people": design.min_people,
        "threshold": design.threshold,
    }


def _words(design: "Design") -> str:
    return (
        f"ε {design.epsilon:g} from each person; numbers are within {design.error} in 95 of 100 answers; "
        f"a cell is told from about {design.threshold} people"
    )


export.register(commands)
