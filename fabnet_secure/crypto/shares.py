"""The vault's root as m-of-n shares of words (SLIP-39): any ``threshold`` of them give it back, fewer say nothing.

Guarantees: fewer shares than the threshold hold no information about the key (Shamir); each share detects a mistyped
word by its checksum, and the whole a share of another set by its digest. Shares are not encrypted: whoever has enough
of them has the key, so keep them at different places. SLIP-39's own passphrase is not used: it could not be checked.
The reference implementation does not run in constant time: split and combine where nobody can measure it.

Source: SLIP-0039 (one group, extendable, iteration exponent 0), by ``shamir-mnemonic``.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from fabnet_secure.crypto.keyfile import RootKey
from fabnet_secure.errors import KeyProblem, UsageError

if TYPE_CHECKING:
    from shamir_mnemonic import Share

MOST: Final = 16
WORDS: Final = 33
"""How many words a share of a 256-bit secret has."""
_WORD: Final = re.compile(r"[a-z]+", re.ASCII)


def split(root: RootKey, *, shares: int, threshold: int) -> tuple[str, ...]:
    """Return ``shares`` shares of the key, each 33 words; any ``threshold`` of them give it back.

    Raises:
        UsageError: (SHARES_INVALID) not 2 <= threshold <= shares <= 16: one share alone must never be enough.
    """
    from shamir_mnemonic import generate_mnemonics

    if not 2 <= threshold <= shares <= MOST:
        raise UsageError(
            f"{threshold} of {shares} shares cannot be made",
            hint=f"at least 2 must be needed, and at most {MOST} made: --shares 3 --threshold 2",
            code="SHARES_INVALID",
        )
    (made,) = generate_mnemonics(1, [(threshold, shares)], root.reveal(), iteration_exponent=0)
    return tuple(made)


def combine(texts: Sequence[str]) -> RootKey:
    """Return the key that these shares belong to; the same share given twice counts once.

    Raises:
        KeyProblem: (SHARE_INVALID) a share is mistyped or none; (SHARES_MIXED) they are of different sets;
            (SHARES_TOO_FEW) more are needed; (SHARES_WRONG) together they make no key.
    """
    from shamir_mnemonic import MnemonicError, combine_mnemonics

    read = {text: _read(number, text) for number, text in enumerate(map(_normal, texts), start=1)}
    if len({share.group_parameters() for share in read.values()}) > 1:
        hint = "the first three words of all shares of one set are the same"
        raise KeyProblem("the shares are of different sets", hint=hint, code="SHARES_MIXED")
    by_place: dict[int, str] = {}
    for text, share in read.items():
        if by_place.setdefault(share.index, text) != text:
            raise _wrong()
    needed = next((share.member_threshold for share in read.values()), 2)
    if len(by_place) < needed:
        raise KeyProblem(
            f"{len(by_place)} shares were given, and {needed} are needed",
            hint="add further shares of the same set; the same one twice counts once",
            code="SHARES_TOO_FEW",
        )
    try:
        return RootKey(combine_mnemonics([by_place[place] for place in sorted(by_place)[:needed]]))
    except (MnemonicError, KeyProblem) as error:
        raise _wrong() from error


def read_shares(text: str) -> tuple[str, ...]:
    """Return the shares in a text, one a line as ``keys split`` prints them; empty lines and comments (#) do not count.

    Raises:
        KeyProblem: (SHARE_INVALID) there is none.
    """
    lines = tuple(line for line in map(_normal, text.splitlines()) if line and not line.startswith("#"))
    if not lines:
        raise KeyProblem("no share was given", hint="one share a line, 33 words", code="SHARE_INVALID")
    return lines


def _read(number: int, text: str) -> "Share":
    from shamir_mnemonic import MnemonicError, Share

    try:
        share = Share.from_mnemonic(text)
    except (MnemonicError, ValueError) as error:  # its words are in the error: they stay out of ours
        hint = f"look for a mistyped word; a share has {WORDS} words, and its checksum says that one is not as written"
        raise KeyProblem(f"share {number} is not a SLIP-39 share", hint=hint, code="SHARE_INVALID") from error
    ours = (share.group_count, share.iteration_exponent, share.extendable) == (1, 0, True)  # and no hours of PBKDF2
    if not ours or share.member_threshold < 2 or len(text.split()) != WORDS:
        hint = "it belongs to something else, such as a wallet"
        raise KeyProblem(f"share {number} is not of this program", hint=hint, code="SHARE_INVALID")
    return share


def _normal(text: str) -> str:
    return " ".join(text.lower().split())


def _wrong() -> KeyProblem:
    return KeyProblem(
        "the shares do not make a key together",
        hint="one of them is of another set, or was changed with its checksum: try other ones",
        code="SHARES_WRONG",
    )
