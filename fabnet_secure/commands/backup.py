"""``backup``: two archives in two places, a trial restore, and the real one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fabnet_secure.commands.options import (
    EXIT_STATUS,
    AsJson,
    Debug,
    DryRun,
    KeyFile,
    Quiet,
    Vault,
    noun,
    opened,
    place,
)
from fabnet_secure.commands.output import Output, pairs

if TYPE_CHECKING:
    from fabnet_secure.pipeline.restore import Restored

commands = noun(
    "Backups: encrypted to age keys, ciphertext and keys apart, tried by restoring them.",
    example="fabnet-secure backup create --out /mnt/backup --recipient age1…",
)
VaultArchive = Annotated[
    Path, typer.Option("--vault-archive", help="The archive vault-….age.", show_default=False, metavar="FILE")
]
KeystoreArchive = Annotated[
    Path, typer.Option("--keystore-archive", help="The archive keystore-….age.", show_default=False, metavar="FILE")
]
IdentityFile = Annotated[
    Path,
    typer.Option("--identity", help="A file with the age secret key (mode 0600).", show_default=False, metavar="FILE"),
]
Into = Annotated[Path, typer.Option("--into", help="A new or empty directory.", show_default=False, metavar="DIR")]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        help="An empty PostgreSQL database for the vault; else FABNET_DATABASE_URL, else SQLite.",
        show_default=False,
    ),
]
AnchorFile = Annotated[
    Path | None,
    typer.Option(
        "--anchor",
        help="The newest <vault>.anchor; without it, that beside DIR or beside --vault.",
        show_default=False,
        metavar="FILE",
    ),
]
EpochFile = Annotated[
    Path | None,
    typer.Option(
        "--epoch-file",
        help="The newest <vault>.epoch; without it, that beside DIR or beside --vault.",
        show_default=False,
        metavar="FILE",
    ),
]
WithoutAnchor = Annotated[
    bool,
    typer.Option(
        "--without-anchor", help="The anchor is lost: needs --withdrawn, and leaves nobody any privacy budget."
    ),
]
WithdrawnList = Annotated[
    Path | None,
    typer.Option(
        "--withdrawn",
        help="Without an anchor: the ids of the consents withdrawn since the backup, one a line; empty for nobody.",
        show_default=False,
        metavar="FILE",
    ),
]
Confirm = Annotated[
    str | None,
    typer.Option("--confirm", help="The vault's id: what came after the backup is lost.", show_default=False),
]


@commands.command(epilog=EXIT_STATUS)
def create(
    *,
    out: Annotated[
        Path, typer.Option("--out", help="A folder outside the vault: it gets vault/ and keystore/.", metavar="DIR")
    ],
    recipient: Annotated[
        list[str] | None,
        typer.Option("--recipient", help="An age public key (age1…), besides [backup] recipients. Repeat for several."),
    ] = None,
    only: Annotated[
        str | None, typer.Option("--only", help="Write this archive alone: vault or keystore.", show_default=False)
    ] = None,
    dry_run: DryRun = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Back up one moment of the vault as two encrypted archives, which belong in two different places.

    Example: fabnet-secure backup create --out /mnt/backup --recipient age1…

    Neither archive holds the key file, the epoch file or the anchor: keep copies of those by themselves
    (docs/backup.md says where).
    """
    from fabnet_secure.pipeline import backup

    with opened(vault, key_file) as site:
        done = backup.create(site, out, recipients=recipient or [], only=only, dry_run=dry_run)
    fields: dict[str, Any] = {
        "archives": {
            kind: {"path": str(one.path), "sha256": one.sha256, "bytes": one.size}
            for kind, one in done.archives.items()
        },
        "bytes_estimate": dict(done.bytes_estimate),
        "log_size": done.log_size,
        "epoch": done.epoch,
        "recipients": done.recipients,
        "dry_run": done.dry_run,
    }
    shown: dict[str, object] = {kind: f"{one.path}  ({one.size} bytes)" for kind, one in done.archives.items()}
    if done.dry_run:
        shown = {kind: f"about {size} bytes (dry run: nothing written)" for kind, size in done.bytes_estimate.items()}
    rest = {"log entries": done.log_size, "epoch": done.epoch, "opens to": f"{done.recipients} age keys"}
    output = Output(as_json=as_json, quiet=quiet)
    output.result("summary", fields, pairs({**shown, **rest}))
    output.ids(str(one.path) for one in done.archives.values())
    if done.archives and not as_json:
        output.say(
            "Keep the two archives in different places: whoever has both, the epoch file and a key file has it all. "
            "Then try them: fabnet-secure backup verify."
        )


@commands.command(epilog=EXIT_STATUS)
def verify(
    *,
    vault_archive: VaultArchive,
    keystore_archive: KeystoreArchive,
    identity: IdentityFile,
    sample: Annotated[
        int | None,
        typer.Option(
            "--sample",
            min=1,
            help="Open about this many sealed rows of each kind; without it, all.",
            show_default=False,
        ),
    ] = None,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Restore a pair of archives into a temporary place, check log, ledger and every sealed row, and remove it.

    Example: fabnet-secure backup verify --vault-archive vault-….age --keystore-archive keystore-….age --identity b.key
    """
    from fabnet_secure.pipeline import trial

    with opened(vault, key_file) as site:
        found = trial.verify(site, vault_archive, keystore_archive, identity, sample=sample)
    fields: dict[str, Any] = {
        "ok": True,
        "size": found.log_size,
        "root": found.log_root,
        "epoch": found.epoch,
        "created_at": found.created_at,
        "files": found.files,
        "rows": found.rows,
        "opened": found.opened,
        "shut": found.shut,
        "sampled": found.sampled,
    }
    lines = {
        "backup": f"holds: it was restored, checked and removed again (made {found.created_at})",
        "log": f"{found.log_size} entries, root {found.log_root}",
        "sealed rows": found.rows,
        "opened": f"{found.opened}" + (" (a sample)" if found.sampled else " (all)"),
    }
    Output(as_json=as_json, quiet=quiet).result("summary", fields, pairs(lines))


@commands.command(epilog=EXIT_STATUS)
def restore(
    *,
    vault_archive: VaultArchive,
    keystore_archive: KeystoreArchive,
    identity: IdentityFile,
    into: Into,
    database_url: DatabaseUrl = None,
    anchor: AnchorFile = None,
    epoch_file: EpochFile = None,
    without_anchor: WithoutAnchor = False,
    withdrawn: WithdrawnList = None,
    confirm: Confirm = None,
    dry_run: DryRun = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Make a vault from a pair of archives, in a new place; who withdrew since the backup is withdrawn again first.

    Example: fabnet-secure backup restore --vault-archive vault-….age --keystore-archive keystore-….age --identity b.key
    --into /srv/vault --key-file root.key --confirm VAULT_ID

    --vault is where the lost vault was, if its anchor and epoch file are still beside it.
    """
    from dataclasses import replace

    from fabnet_secure.config import load
    from fabnet_secure.pipeline import restore as journey

    target = place(into, key_file)
    sources = journey.Sources(
        vault_archive=vault_archive,
        keystore_archive=keystore_archive,
        identity=identity,
        anchor=anchor,
        epoch_file=epoch_file,
        original=None if vault is None else replace(target, root=vault),
        without_anchor=without_anchor,
        withdrawn=withdrawn,
    )
    target = replace(target, database_url=database_url or target.database_url)
    settings = load(vault=vault or into).settings  # of the lost vault, where it is still there
    done = journey.restore(target, settings, sources, confirm=confirm, dry_run=dry_run)
    _print_restored(Output(as_json=as_json, quiet=quiet), done, witnessed=bool(load(vault=into).settings.audit.witness))


def _print_restored(output: Output, done: "Restored", *, witnessed: bool) -> None:
    told = done.replayed
    fields: dict[str, Any] = {
        "vault": str(done.vault),
        "vault_id": done.vault_id,
        "created_at": done.created_at,
        "size_kept": done.size_kept,
        "size_lost": done.size_lost,
        "withdrawn": told.withdrawn,
        "charged": told.charged,
        "epsilon": told.epsilon,
        "people": told.people,
        "anchored": done.anchored,
        "dry_run": done.dry_run,
    }
    lines = {
        "vault": f"{done.vault}" + ("  (dry run: nothing was kept)" if done.dry_run else ""),
        "backup of": done.created_at,
        "log entries kept": f"{done.size_kept} of " + (f"{done.size_lost}" if done.anchored else "an unknown number"),
        "withdrawn again": told.withdrawn,
        "budget charged": f"{told.charged} spendings, ε {told.epsilon:.4g} for each of {told.people} people",
    }
    output.result("summary", fields, pairs(lines))
    output.ids([str(done.vault)])
    if done.dry_run or output.as_json:
        return
    output.say("Renew the keys now (fabnet-secure keys rekey), then make and verify a new backup.")
    if done.epoch_left is not None:
        output.say(
            f"The epoch file was copied from {done.epoch_left}: destroy that one and every other copy (shred -u), or "
            "older backups of the keystore go on to open after the rekey."
        )
    if witnessed:
        output.say(
            "The witnesses remember a log that is lost: keep what they have as evidence, move it out of the places "
            "that [audit] witness names, and let the restored log be witnessed anew (fabnet-secure audit witness)."
        )
