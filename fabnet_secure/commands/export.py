"""``query export``: one track's embeddings out of the vault, by two people."""

from pathlib import Path
from typing import Annotated

import typer

from fabnet_secure.commands.approval import Approvals
from fabnet_secure.commands.options import EXIT_STATUS, AsJson, Debug, DryRun, KeyFile, Vault, opened
from fabnet_secure.commands.output import Output, pairs


def register(commands: typer.Typer) -> None:
    """Add this command to the noun ``query``."""
    commands.command("export", epilog=EXIT_STATUS)(export)


def export(
    *,
    track: Annotated[str, typer.Option("--track", help="The track, as 'track list' shows it.")],
    out: Annotated[Path, typer.Option("--out", help="The .npz file to write; none is written over.")],
    purpose: Annotated[
        str, typer.Option("--purpose", help="query_internal or share_third_party; the consent must cover it.")
    ] = "query_internal",
    confirm: Annotated[
        str | None,
        typer.Option("--confirm", help="The track's id again: what is out cannot be had back.", show_default=False),
    ] = None,
    approval: Approvals = None,
    dry_run: DryRun = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    r"""Write one track's embeddings to a file, unencrypted, for as long as its person's consent covers the purpose.

    Example: fabnet-secure query export --track 81b2… --out v.npz --confirm 81b2… \
      --approval a.approval --approval b.approval
    """
    from fabnet_secure.pipeline.export_vectors import export_vectors

    with opened(vault, key_file) as site:
        done = export_vectors(
            site, track, out, purpose=purpose, confirm=confirm, approvals=approval or [], dry_run=dry_run
        )
    fields = {
        "track_id": done.track_id,
        "purpose": done.purpose.value,
        "vectors": done.vectors,
        "dim": done.dim,
        "sha256": done.sha256 or None,
        "file": None if dry_run else str(out),
        "dry_run": dry_run,
    }
    lines = pairs({key: value for key, value in fields.items() if key != "dry_run"})
    Output(as_json=as_json).result("export", fields, [*lines, *(["dry run: nothing changed"] if dry_run else [])])
