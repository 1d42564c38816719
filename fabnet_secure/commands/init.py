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

    A second run changes nothing and says so; on a vault of an older version it brings the schema up to date and keeps
    everything.
    """
    from fabnet_secure.config import load
    from fabnet_secure.pipeline.context import create_vault
    from fabnet_secure.pipeline.upgrade import upgrade

    where, settings = place(vault, key_file), load().settings
    migrated = where.card.exists() and upgrade(where, settings)
    made = create_vault(where, settings)
    out = Output(as_json=as_json, quiet=quiet)
    fields = {
        "vault": str(made.vault),
        "log_origin": made.log_origin,
        "log_vkey": made.log_vkey,
        "report_public_key": made.report_public_key,
        "key_file": str(made.key_file),
        "created": made.created,
        "migrated": migrated,
    }
    before = "brought to this version's schema" if migrated else "nothing changed"
    lines = [
        f"vault          {made.vault}" + ("" if made.created else f"  (was here already; {before})"),
        f"key file       {made.key_file}",
        f"log origin     {made.log_origin}",
        f"log key        {made.log_vkey}",
        f"report key     {made.report_public_key}",
    ]
    out.result("init", fields, lines)
    out.ids([made.log_origin])
    if made.key_file_created:
        out.say("Keep a copy of the key file off this machine: without it the vault opens nothing.")
