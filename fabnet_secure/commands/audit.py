"""``audit``: check the log, and give it to somebody who does not trust us."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fabnet_secure.commands.options import EXIT_STATUS, AsJson, Debug, KeyFile, Vault, noun, opened
from fabnet_secure.commands.output import Output
from fabnet_secure.errors import IntegrityFailure

if TYPE_CHECKING:
    from fabnet_secure.pipeline.context import Site

commands = noun("Check and export the audit log.", example="fabnet-secure audit verify")


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
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Recompute the whole log from its entries and check the signed checkpoint. Exit 30 when it does not hold.

    Example: fabnet-secure audit verify
    """
    from fabnet_secure.pipeline.auditing import check_folder

    if export is not None:
        size, root = check_folder(export, vkey)
    else:
        with opened(vault, key_file) as site:
            size, root = _checked(site)
    whose = "" if export is None or vkey else "  (by the folder's own key)"
    fields = {"size": size, "root": root, "ok": True, "pinned": export is None or bool(vkey)}
    if not fields["pinned"]:
        Output(as_json=as_json).say("The folder's own key was used: give --vkey to know whose log this is.")
    Output(as_json=as_json).result(
        "summary",
        fields,
        [f"ok: {size} entries, root {root}{whose}"],
    )


def _checked(site: "Site") -> tuple[int, str]:
    from fabnet_secure.pipeline.auditing import check

    try:
        return check(site)
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
