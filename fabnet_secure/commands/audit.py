"""``audit``: check the log, and give it to somebody who does not trust us."""

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fabnet_secure.commands import witness
from fabnet_secure.commands.options import EXIT_STATUS, AsJson, Debug, DryRun, KeyFile, Vault, noun, opened, place
from fabnet_secure.commands.output import Output
from fabnet_secure.errors import ExitCode, IntegrityFailure, UsageError

if TYPE_CHECKING:
    from fabnet_secure.pipeline.reanchor import Standing

commands = noun("Check, witness, prove and export the audit log.", example="fabnet-secure audit verify")


@commands.command(epilog=EXIT_STATUS)
def verify(
    *,
    export: Annotated[
        Path | None,
        typer.Option("--export", help="Check an exported folder instead; needs no vault.", show_default=False),
    ] = None,
    vkey: Annotated[
        str, typer.Option("--vkey", help="With --export: the log's key as the site published it.", show_default=False)
    ] = "",
    witnessed: Annotated[
        Path | None,
        typer.Option(
            "--witness", help="A witnessed checkpoint (file or folder) that the log must continue.", show_default=False
        ),
    ] = None,
    witness_key: witness.WitnessKeys = None,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Recompute the whole log from its entries and check the signed checkpoint. Exit 30 when it does not hold.

    Example: fabnet-secure audit verify
    """
    from fabnet_secure.pipeline.auditing import check_folder
    from fabnet_secure.pipeline.witnessing import read_key

    if witness_key and witnessed is None:
        hint = "name it with --witness FILE"
        raise UsageError("a witness's key says nothing without its checkpoint", hint=hint, code="WITNESS_UNNAMED")
    keys = tuple(map(read_key, witness_key or ()))
    known = read_key(vkey)
    if export is not None:
        size, root, before = check_folder(export, known, witnessed=witnessed, witness_keys=keys)
    else:
        size, root, before = _checked(vault, key_file, witnessed, keys)
    whose = "" if export is None or vkey else "  (by the folder's own key)"
    fields: dict[str, Any] = {"size": size, "root": root, "ok": True, "pinned": export is None or bool(vkey)}
    if witnessed is not None:
        fields |= {"witnessed": before}
    if not fields["pinned"]:
        Output(as_json=as_json).say("The folder's own key was used: give --vkey to know whose log this is.")
    lines = [f"ok: {size} entries, root {root}{whose}"]
    Output(as_json=as_json).result(
        "summary", fields, lines + ([f"continues the {before} that were witnessed"] if witnessed else [])
    )


def _checked(
    vault: Path | None, key_file: Path | None, witnessed: Path | None, keys: tuple[str, ...]
) -> tuple[int, str, int | None]:
    from fabnet_secure.pipeline.auditing import check

    try:
        with opened(vault, key_file) as site:
            return check(site, witnessed=witnessed, witness_keys=keys)
    except IntegrityFailure as broken:
        broken.fields["ok"] = False
        raise


@commands.command("export", epilog=EXIT_STATUS)
def export_log(
    directory: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    *,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Write the log as C2SP tiles with its checkpoint and key, for verifiers that we did not write.

    Example: fabnet-secure audit export ./log
    """
    from fabnet_secure.pipeline.auditing import export

    with opened(vault, key_file) as site:
        size = export(site, directory)
    Output(as_json=as_json).result(
        "summary", {"directory": str(directory), "size": size}, [f"exported {size} entries to {directory}"]
    )


@commands.command("anchor", epilog=EXIT_STATUS)
def anchor(
    *,
    accept: Annotated[
        str, typer.Option("--accept", help="SIZE:ROOT: go on from this head of the log.", show_default=False)
    ] = "",
    confirm: Annotated[str, typer.Option("--confirm", help="With --accept: the vault's id.", show_default=False)] = "",
    dry_run: DryRun = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> int:
    """Show what the vault's anchor remembers beside what the log is; exit 30 when they do not go together.

    Example: fabnet-secure audit anchor

    The anchor lies beside the vault (<vault>.anchor) and remembers how far its databases had come, so that an older
    copy put in their place does not open. Where it was lost, or where you know better, --accept takes the head that
    you name: compare it first with what a witness, a report or an export shows.
    """
    from fabnet_secure.config import load
    from fabnet_secure.pipeline.context import open_site
    from fabnet_secure.pipeline.reanchor import accept as take
    from fabnet_secure.pipeline.reanchor import standing

    if confirm and not accept:
        raise UsageError("--confirm goes with --accept", hint="add --accept SIZE:ROOT", code="CONFIRM")
    with open_site(place(vault, key_file), load(vault=vault).settings, anchored=False) as site:
        if accept:
            size = take(site, accept, confirm=confirm, dry_run=dry_run)
            said = "would be accepted" if dry_run else "is accepted: the vault opens again"
            Output(as_json=as_json).result(
                "summary",
                {"size": size, "accepted": not dry_run, "dry_run": dry_run},
                [f"the head of {size} entries {said}"],
            )
            return ExitCode.OK
        found = standing(site)
        vault_id = site.vault_id
    _show(found, vault_id, Output(as_json=as_json))
    return ExitCode.OK if found.problem is None else ExitCode.INTEGRITY


def _show(found: "Standing", vault_id: str, out: Output) -> None:
    root = base64.b64encode(found.root).decode("ascii")
    fields = {
        "ok": found.problem is None,
        "vault_id": vault_id,
        "size": found.size,
        "root": root,
        "remembered": found.remembered,
        "latest_at": f"{found.latest_at:%Y-%m-%dT%H:%M:%SZ}" if found.latest_at else None,
        "withdrawn": found.withdrawn,
        "spent": found.spent,
        "code": found.problem.code if found.problem else None,
    }
    lines = [
        f"log         {found.size} entries, root {root}",
        f"remembered  {'nothing' if found.remembered is None else f'{found.remembered} entries'}"
        + (f", latest time {fields['latest_at']}" if found.latest_at else ""),
        f"holds       {found.withdrawn} withdrawals, {found.spent} spendings",
    ]
    if found.problem is not None:
        lines += [f"problem     {found.problem.message} [{found.problem.code}]", f"vault id    {vault_id}"]
    out.result("summary", fields, lines)


witness.register(commands)
