"""``policy adopt``: a site's own access policies, by two people."""

from pathlib import Path
from typing import Annotated

import typer

from fabnet_secure.commands.approval import Approvals
from fabnet_secure.commands.options import EXIT_STATUS, AsJson, Debug, DryRun, KeyFile, Vault, opened
from fabnet_secure.commands.output import Output, pairs
from fabnet_secure.errors import UsageError


def register(commands: typer.Typer) -> None:
    """Add this command to the noun ``policy``."""
    commands.command("adopt", epilog=EXIT_STATUS)(adopt)


def adopt(
    directory: Annotated[
        Path | None, typer.Argument(help="A directory with your *.cedar files and nothing else.", show_default=False)
    ] = None,
    *,
    none: Annotated[bool, typer.Option("--none", help="Go back to the shipped policies alone.")] = False,
    confirm: Annotated[
        str | None,
        typer.Option("--confirm", help="The files' SHA-256 as --dry-run says it, or none.", show_default=False),
    ] = None,
    approval: Approvals = None,
    dry_run: DryRun = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    r"""Put access policies of your own in force beside the shipped ones: checked, copied into the vault, remembered.

    Example: fabnet-secure policy adopt ./our-policies --confirm SHA256 --approval a.approval --approval b.approval
    """
    from fabnet_secure.pipeline.adopt import adopt as put

    if none == (directory is not None):
        hint = "policy adopt DIRECTORY, or policy adopt --none"
        raise UsageError("give a directory of policies or --none", hint=hint, code="USAGE")
    with opened(vault, key_file) as site:
        done = put(site, directory, confirm=confirm, approvals=approval or [], dry_run=dry_run)
    fields = {"policies": done.policies, "files": list(done.files), "dry_run": dry_run}
    lines = pairs({"policies": done.policies, "files": list(done.files)})
    Output(as_json=as_json).result("policies", fields, [*lines, *(["dry run: nothing changed"] if dry_run else [])])
