"""``init``: create the vault."""

from typing import TYPE_CHECKING

from fabnet_secure.commands.options import (
    AsJson,
    Debug,
    KeyFile,
    Protect,
    Quiet,
    TokenKeyLabel,
    TokenLabel,
    TokenModule,
    Vault,
    place,
    protection,
)
from fabnet_secure.commands.output import Output
from fabnet_secure.errors import UsageError

if TYPE_CHECKING:
    from fabnet_secure.crypto.provider import Protection
    from fabnet_secure.pipeline.context import Place


def init(
    *,
    vault: Vault = None,
    key_file: KeyFile = None,
    protect: Protect = None,
    pkcs11_module: TokenModule = None,
    pkcs11_token: TokenLabel = "",
    pkcs11_key: TokenKeyLabel = "fabnet-secure",
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Create the vault, its key file (mode 0600), its schema and the first log entry.

    Example: fabnet-secure init --vault ./vault --key-file ~/fabnet.key --protect passphrase

    A second run changes nothing and says so; on a vault of an older version it brings the schema up to date and keeps
    everything.
    """
    from fabnet_secure.config import load
    from fabnet_secure.pipeline.create import create_vault
    from fabnet_secure.pipeline.upgrade import upgrade

    where, settings = place(vault, key_file), load(vault=vault).settings
    chosen = protection(protect or "file", pkcs11_module, pkcs11_token, pkcs11_key)
    if protect:
        _refuse_other(where, chosen)
    cut_off = where.creating.exists()  # of an init that create_vault has to finish first
    migrated = where.card.exists() and not cut_off and upgrade(where, settings)
    made = create_vault(where, settings, protection=chosen)
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


def _refuse_other(where: "Place", chosen: "Protection") -> None:
    """Refuse to leave a key file that is there already under another protection than the one that was asked for."""
    from fabnet_secure.crypto.provider import form_of

    if where.key_file.exists() and form_of(where.key_file) is not chosen.form:
        raise UsageError(
            "the key file is there already, with another protection",
            hint=f"change it with 'fabnet-secure keys protect {where.key_file} --protect {chosen.form}'",
            code="PROTECTION_INVALID",
        )
