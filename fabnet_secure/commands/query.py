"""``query``: ask, under a purpose."""

from typing import Annotated

import typer

from fabnet_secure.commands.options import EXIT_STATUS, AsJson, Debug, KeyFile, Quiet, Vault, noun, opened
from fabnet_secure.commands.output import Output

commands = noun(
    "Ask questions of the stored embeddings; every answer has a decision behind it.",
    example="fabnet-secure query similar --track 9c1e… --purpose query_internal",
)


@commands.command(epilog=EXIT_STATUS)
def similar(
    *,
    track: Annotated[str, typer.Option("--track", help="The stored track to search by.")],
    purpose: Annotated[str, typer.Option("--purpose", help="The purpose of the question, such as query_internal.")],
    top: Annotated[int, typer.Option("--top", help="How many results.")] = 5,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Find the frames of other tracks that show the most similar attributes. Ranks only: scores would leak vectors.

    Example: fabnet-secure query similar --track 9c1e… --top 5 --purpose query_internal
    """
    from fabnet_secure.pipeline.query import similar as ask

    with opened(vault, key_file) as site:
        answer = ask(site, track, top=top, purpose=purpose)
    out = Output(as_json=as_json, quiet=quiet)
    results = [{"rank": one.rank, "track_id": one.track_id, "frame": one.frame} for one in answer.results]
    fields = {"results": results, "decision_id": answer.decision_id, "searched": answer.searched}
    lines = [
        f"decision {answer.decision_id}, {answer.searched} frames searched",
        *([] if results else ["nothing found"]),
    ]
    out.result("summary", fields, lines)
    out.ids(one.track_id for one in answer.results)
    if results:
        out.table(("rank", "track", "frame"), [(one.rank, one.track_id, one.frame) for one in answer.results])
