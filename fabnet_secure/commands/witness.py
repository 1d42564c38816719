"""``audit witness|prove|check``: what a second host remembers, and proofs that are checked without a vault."""

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fabnet_secure.commands.options import EXIT_STATUS, AsJson, Debug, DryRun, KeyFile, Vault, opened
from fabnet_secure.commands.output import Output
from fabnet_secure.errors import UsageError

if TYPE_CHECKING:
    from fabnet_secure.pipeline.witnessing import Readable

WitnessKeys = Annotated[
    list[str] | None,
    typer.Option(
        "--witness-key",
        help="A witness's public key, or a file with it (.pub): it must have cosigned. Repeat for several.",
        show_default=False,
    ),
]
Export = Annotated[
    Path | None,
    typer.Option("--export", help="Work on an exported folder; needs no vault and no key of ours.", show_default=False),
]
LogKey = Annotated[
    str,
    typer.Option("--vkey", help="The log's key as the site published it, or a file with it.", show_default=False),
]


def register(commands: typer.Typer) -> None:
    """Add the commands to the noun ``audit``."""
    for name, command in (("witness", witness), ("prove", prove), ("check", check)):
        commands.command(name, epilog=EXIT_STATUS)(command)


def witness(
    *,
    out: Annotated[
        Path,
        typer.Option("--out", help="A file, or an existing folder (one file a size, and 'latest'): off this machine."),
    ],
    key: Annotated[
        Path | None,
        typer.Option(
            "--key",
            help="The witness's own key, made on first use; by default witness.key in the account's configuration.",
            show_default=False,
        ),
    ] = None,
    export: Export = None,
    vkey: LogKey = "",
    dry_run: DryRun = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Remember the log's head and cosign it (ML-DSA-44), if it continues what is remembered. Exit 30 when not.

    Example: fabnet-secure audit witness --export ./log --vkey site.vkey --out /media/usb

    Best on a second host, over an exported folder. The vault then refuses to open when its log is behind: name the file
    or folder in [audit] witness of <vault>/fabnet.toml.
    """
    from fabnet_secure.pipeline.witnessing import rehearse
    from fabnet_secure.pipeline.witnessing import witness as remember
    from fabnet_secure.types import utc_now

    forbidden = [folder for folder in (vault, export) if folder is not None]
    shown = Output(as_json=as_json)
    with _log(vault, key_file, export, vkey, "audit_witness") as log:
        if dry_run:
            before = rehearse(log, out)
            size = log.storage.size()
            fields = {"size": size, "before": before, "written": (), "dry_run": True}
            shown.result("summary", fields, [f"{size} entries would be remembered, after {before or 0}"])
            return
        done, witness_vkey = remember(log, out=out, key_file=key or _default_key(), now=utc_now, forbidden=forbidden)
    shown.result(
        "summary",
        {
            "size": done.size,
            "root": base64.b64encode(done.root).decode("ascii"),
            "before": done.before,
            "written": [str(path) for path in done.paths],
            "dry_run": False,
            "witness_vkey": witness_vkey,
        },
        [f"remembered {done.size} entries in {done.paths[-1]}", f"cosigned by {witness_vkey.partition('+')[0]}"],
    )


def prove(
    index: Annotated[int, typer.Argument(help="The entry's place in the log, from 0.", min=0)],
    *,
    out: Annotated[Path, typer.Option("--out", help="The proof's new file (.tlog-proof).")],
    entry_out: Annotated[
        Path | None, typer.Option("--entry-out", help="A new file for the entry's own bytes.", show_default=False)
    ] = None,
    under: Annotated[
        Path | None,
        typer.Option(
            "--witness", help="Prove it under this witnessed checkpoint, with its cosignature.", show_default=False
        ),
    ] = None,
    export: Export = None,
    vkey: LogKey = "",
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Write a proof (C2SP tlog-proof) that one entry is in the log, for 'audit check' and other programs.

    Example: fabnet-secure audit prove 12 --out 12.tlog-proof --entry-out 12.json
    """
    from fabnet_secure.pipeline import witnessing

    for path in (out, entry_out):
        if path is not None and os.path.lexists(path):
            raise UsageError("a file is there already", hint="name a new one", code="OUT_EXISTS")
    with _log(vault, key_file, export, vkey, "audit_prove") as log:
        text, entry = witnessing.prove(log, index, under=under)
    witnessing.write_new(out, text.encode("utf-8"))
    if entry_out is not None:
        witnessing.write_new(entry_out, entry)
    fields = {"index": index, "out": str(out), "entry_out": str(entry_out) if entry_out else None}
    Output(as_json=as_json).result("summary", fields, [f"entry {index} is proven in {out}"])


def check(
    proof: Annotated[Path, typer.Argument(help="The proof (.tlog-proof).")],
    *,
    entry: Annotated[Path, typer.Option("--entry", help="The entry's bytes.")],
    vkey: Annotated[str, typer.Option("--vkey", help="The log's key as the site published it, or a file with it.")],
    witness_key: WitnessKeys = None,
    as_json: AsJson = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Check a proof from its files alone: no vault, no network. Exit 30 when it does not hold.

    Example: fabnet-secure audit check 12.tlog-proof --entry 12.json --vkey site.vkey
    """
    from fabnet_secure.pipeline import witnessing

    text = witnessing.read_text(proof, "the proof", code="PROOF_UNREADABLE")
    blob = witnessing.read_bytes(entry, "the entry", code="ENTRY_UNREADABLE")
    keys = tuple(map(witnessing.read_key, witness_key or ()))
    found = witnessing.check(text, blob, witnessing.read_key(vkey), keys)
    head = found.proven.checkpoint
    fields = {
        "ok": True,
        "index": found.proven.index,
        "act": found.act or None,
        "origin": head.origin,
        "size": head.size,
        "root": base64.b64encode(head.root).decode("ascii"),
        "cosigned": [{"witness": one.name, "timestamp": one.timestamp} for one in found.cosigned],
    }
    lines = [f"ok: entry {found.proven.index} of {head.size} in the log {head.origin}"]
    Output(as_json=as_json).result("summary", fields, lines + [f"cosigned by {one.name}" for one in found.cosigned])


@contextmanager
def _log(
    vault: Path | None, key_file: Path | None, export: Path | None, vkey: str, action: str
) -> "Iterator[Readable]":
    """Yield the vault's log, or with ``--export`` the folder's, checked in every byte."""
    from fabnet_secure.pipeline.witnessing import of_folder, of_vault, read_key

    if export is not None:
        yield of_folder(export, read_key(vkey))
        return
    if vkey:
        raise UsageError("--vkey goes with --export", hint="the vault knows its own key", code="VKEY_UNUSED")
    with opened(vault, key_file) as site, of_vault(site, action) as log:
        yield log


def _default_key() -> Path:
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return home / "fabnet-secure" / "witness.key"
