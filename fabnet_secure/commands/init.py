"""``init``: create the vault."""

from fabnet_secure.commands.options import AsJson, Debug, KeyFile, Quiet, Vault, place
from fabnet_secure.commands.output import Output


def init(
    *,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Create the vault, its key file (mode 0600), its schema and the first log entry.

    Example: fabnet-secure init --vault ./vault --key-file ~/fabnet.key

    A second run changes nothing and says so.
    """
    from fabnet_secure.config import load
    from fabnet_secure.pipeline.context import create_vault

    made = create_vault(place(vault, key_file), load().settings)
    out = Output(as_json=as_json, quiet=quiet)
    fields = {
        "vault": str(made.vault),
        "log_origin": made.log_origin,
        "log_vkey": made.log_vkey,
        "report_public_key": made.report_public_key,
        "key_file": str(made.key_file),
        "created": made.created,
    }
    lines = [
        f"vault          {made.vault}" + ("" if made.created else "  (was here already; nothing changed)"),
        f"key file       {made.key_file}",
        f"log origin     {made.log_origin}",
        f"log key        {made.log_vkey}",
        f"report key     {made.report_public_key}",
    ]
    out.result("init", fields, lines)
    out.ids([made.log_origin])
    if made.key_file_created:
        out.say("Keep a copy of the key file off this machine: without it the vault opens nothing.")
