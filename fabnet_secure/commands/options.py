"""Options that commands share, and how a command opens the vault."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fabnet_secure.commands.asking import asker
from fabnet_secure.errors import KeyProblem, NoVault, UsageError
from fabnet_secure.types import is_id

if TYPE_CHECKING:
    from fabnet_secure.crypto.provider import Protection
    from fabnet_secure.pipeline.context import Place, Site
    from fabnet_secure.pipeline.source import BoxClaim

_NUMBER = r"-?\d{1,6}(?:\.\d{1,6})?"
_BOX = re.compile(rf"(?P<frame>\d{{1,9}}):(?P<box>{_NUMBER}(?:,{_NUMBER}){{3}})=(?P<consent>[0-9a-f-]{{36}})", re.ASCII)
EXIT_STATUS = (
    "EXIT STATUS: 0 ok · 1 failed · 2 usage or configuration · 3 finished with findings or partly · 10 no vault or not "
    "migrated · 11 locked by another process · 12 key wrong or missing · 20 no effective consent · 21 access denied · "
    "22 budget exceeded · 23 gap (cannot be decided) · 30 integrity failure · 130 interrupted"
)

Vault = Annotated[
    Path | None,
    typer.Option("--vault", envvar="FABNET_VAULT", help="The vault's directory.", show_default=False),
]
KeyFile = Annotated[
    Path | None,
    typer.Option("--key-file", envvar="FABNET_KEY_FILE", help="The path of the key file.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON (Lines) with a stable shape.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print ids only.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
Protect = Annotated[
    str | None,
    typer.Option(
        "--protect",
        help="What protects the key file: file (its mode alone), passphrase, or pkcs11.",
        show_default=False,
    ),
]
TokenModule = Annotated[
    Path | None,
    typer.Option(
        "--pkcs11-module", envvar="FABNET_PKCS11_MODULE", help="The token's PKCS#11 library.", show_default=False
    ),
]
TokenLabel = Annotated[str, typer.Option("--pkcs11-token", help="The token's label.", show_default=False)]
TokenKeyLabel = Annotated[
    str, typer.Option("--pkcs11-key", help="The label of the AES-256 key in the token; made there if there is none.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen, with real counts; change nothing.")]


def noun(help_text: str, *, example: str, completion: bool = False) -> typer.Typer:
    """Make a group of commands that behaves like all others here."""
    return typer.Typer(
        help=f"{help_text}\n\nExample: {example}",
        epilog=EXIT_STATUS,
        no_args_is_help=True,
        add_completion=completion,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode="rich",
    )


def place(vault: Path | None, key_file: Path | None) -> "Place":
    """Say where the vault, its key and its databases are.

    Raises:
        NoVault: no vault is named.
        KeyProblem: no key file is named.
    """
    from fabnet_secure.pipeline.context import Place

    if vault is None or not str(vault):
        raise NoVault("no vault is named", hint="give --vault DIR or set FABNET_VAULT")
    if key_file is None or not str(key_file):
        raise KeyProblem("no key file is named", hint="give --key-file FILE or set FABNET_KEY_FILE", code="KEY_MISSING")
    return Place(
        root=vault,
        key_file=key_file,
        database_url=os.environ.get("FABNET_DATABASE_URL") or None,
        keystore_url=os.environ.get("FABNET_KEYSTORE_URL") or None,
        anchor=Path(os.environ["FABNET_ANCHOR"]) if os.environ.get("FABNET_ANCHOR") else None,
        epoch_file=Path(os.environ["FABNET_EPOCH_FILE"]) if os.environ.get("FABNET_EPOCH_FILE") else None,
        ask=asker(),
        module=token_module(),
    )


def token_module() -> Path | None:
    """Return the PKCS#11 library that the surroundings name, if they do."""
    return Path(os.environ["FABNET_PKCS11_MODULE"]) if os.environ.get("FABNET_PKCS11_MODULE") else None


def protection(protect: str, module: Path | None, token: str, key: str) -> "Protection":
    """Read ``--protect`` and the options of a token.

    Raises:
        UsageError: (PROTECTION_INVALID) no such protection, or the token's options do not fit it.
    """
    from fabnet_secure.crypto.pkcs11 import TokenKey
    from fabnet_secure.crypto.provider import Form, Protection

    if protect not in tuple(Form):
        hint = "one of: " + ", ".join(Form)
        raise UsageError(f"unknown protection: {protect[:40]!r}", hint=hint, code="PROTECTION_INVALID")
    if protect != Form.PKCS11:
        if token:
            hint = "--pkcs11-token goes with --protect pkcs11"
            raise UsageError("a token is named that would not be used", hint=hint, code="PROTECTION_INVALID")
        return Protection(form=Form(protect))
    if module is None or not token or not key:
        hint = "name it with --pkcs11-module (or FABNET_PKCS11_MODULE) and --pkcs11-token"
        raise UsageError("it is not said which token protects the key", hint=hint, code="PROTECTION_INVALID")
    return Protection(form=Form.PKCS11, token=TokenKey(module=module, token=token, label=key))


@contextmanager
def opened(vault: Path | None, key_file: Path | None, *, finishing: bool = False) -> "Iterator[Site]":
    """Open the vault with the settings in force; ``finishing``: although destroyed keys live again, to destroy them."""
    from fabnet_secure.config import load
    from fabnet_secure.pipeline.context import open_site

    with open_site(place(vault, key_file), load(vault=vault).settings, finishing=finishing) as site:
        yield site


def read_box(text: str) -> "BoxClaim":
    """Read ``FRAME:X,Y,W,H=CONSENT_ID``: in this frame (from 0), the face at this box (pixels) is this consent's.

    Raises:
        UsageError: code ``BOX_INVALID``.
    """
    from fabnet_secure.pipeline.source import BoxClaim

    shape = _BOX.fullmatch(text)
    claimed = None if shape is None else tuple(float(side) for side in shape["box"].split(","))
    if shape is None or claimed is None or not is_id(shape["consent"]) or min(claimed[2:]) <= 0:
        raise UsageError(
            f"no face is named by {text[:80]!r}",
            hint="write FRAME:X,Y,W,H=CONSENT_ID in pixels, such as 120:310,95,88,102=4dd1…",
            code="BOX_INVALID",
        )
    x, y, width, height = claimed
    return BoxClaim(consent_id=shape["consent"], frame=int(shape["frame"]), box=(x, y, width, height))
