"""``model`` and ``embed``: what was trained, and putting it to use."""

from typing import Annotated

import typer

from fabnet_secure.commands.options import EXIT_STATUS, AsJson, Debug, DryRun, KeyFile, Quiet, Vault, noun, opened
from fabnet_secure.commands.output import Output, Talk, day, print_json

commands = noun("Look at models.", example="fabnet-secure model list")


@commands.command("list", epilog=EXIT_STATUS)
def list_all(
    *,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """List every model with its ε, its state and any decision that is due.

    Example: fabnet-secure model list
    """
    from fabnet_secure.pipeline.registers import list_models

    with opened(vault, key_file) as site:
        found = list_models(site)
    out = Output(as_json=as_json, quiet=quiet)
    if as_json:
        for fields in found:
            print_json("model", fields)
        print_json("summary", {"models": len(found)})
    out.ids(str(fields["model_id"]) for fields in found)
    rows = [
        (
            one["model_id"],
            one["kind"],
            one["status"],
            one["epsilon"],
            one["persons"],
            day(one["created_at"]),
            day(one["decision_due"]),
        )
        for one in found
    ]
    out.table(("model", "kind", "status", "epsilon", "persons", "created", "decision due"), rows)


def embed(
    *,
    model: Annotated[str, typer.Option("--model", help="The model's id ('fabnet-secure model list').")],
    dry_run: DryRun = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Embed every tracklet whose person consents to embedding now; done already is left alone.

    Example: fabnet-secure embed --model 77ab…
    """
    from fabnet_secure.pipeline.embed import embed as encode

    talk = Talk(quiet=quiet or as_json)
    with opened(vault, key_file) as site:
        embedded = encode(site, model, progress=talk, dry_run=dry_run)
    talk.finish()
    fields = {
        "model_id": embedded.model_id,
        "tracks": embedded.tracks,
        "embeddings": embedded.embeddings,
        "skipped": embedded.skipped,
        "dry_run": dry_run,
    }
    done = "dry run: would embed" if dry_run else "embedded"
    lines = [f"{done} {embedded.embeddings} frames of {embedded.tracks} tracks"]
    lines += [f"skipped  {count} tracks: {reason}" for reason, count in embedded.skipped.items()]
    Output(as_json=as_json, quiet=quiet).result("summary", fields, lines)
