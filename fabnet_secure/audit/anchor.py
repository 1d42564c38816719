"""The anchor: what a vault remembers outside its databases, so that putting old databases back is noticed.

A text of one JSON object a line, only ever appended to. Guarantees that a text is read whole or refused: only a last
line without its line end, which a crash leaves, is passed over. Says which head the log had reached, which consents
were withdrawn, which keys were destroyed and grants ended, which privacy budget was spent, which approvals were used,
which quarantined records were destroyed, and the latest time seen. Does not sign its lines: it catches databases put
back, by mistake or by somebody who reaches only them; whoever can rewrite the anchor too is caught by a witness
(:mod:`fabnet_secure.audit.witness`). Reads and writes no file: ``anchor_file`` does.
"""

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, TypeAlias

from fabnet_secure.audit.checkpoint import read_checkpoint
from fabnet_secure.audit.merkle import HASH_SIZE
from fabnet_secure.errors import FabnetError, IntegrityFailure, UsageError
from fabnet_secure.types import Json, canonical_json, parse_rfc3339, rfc3339

BEGUN: Final = "begun"
HEAD: Final = "head"
WITHDRAWN: Final = "withdrawn"
USED: Final = "used"
DESTROYED: Final = "destroyed"
SPENT: Final = "spent"
RESTORED: Final = "restored"
ACCEPTED: Final = "accepted"
FORMAT: Final = 1

Line: TypeAlias = Mapping[str, Any]
"""One line as read: ``kind``, ``at``, and the kind's own fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A head of the log that was reached: its size, its root (32 bytes), and the signed note ("" when accepted)."""

    size: int
    root: bytes
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """What ended for good, or was about to: a withdrawal with its keys, or keys alone, or the grant of a keyring.

    Attributes:
        consent_id: the consent that was withdrawn; "" where keys or grants alone ended.
        key_ids: the data keys that were to be destroyed, and the grants that ended (``pipeline/ended.py``).
        at: when.
    """

    consent_id: str
    key_ids: tuple[str, ...]
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """An approval that was used, or was about to be: its nonce, the act, and the request's SHA-256 (hex)."""

    nonce: str
    act: str
    request: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Destroyed:
    """A quarantined video's record that was destroyed, or let go."""

    video_id: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Privacy budget that was reserved.

    Attributes:
        entry_id: the ledger entry.
        epsilon, delta: what it cost each of its people.
        at: when.
        confirmed: the reservation is known to have been committed; otherwise a crash may have come before.
        covered: a later restore accounts for it.
    """

    entry_id: str
    epsilon: float
    delta: float
    at: datetime
    confirmed: bool = False
    covered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A restore from a backup: the signed head that was lost ("" when unknown), and the entries that were kept."""

    checkpoint_lost: str
    size_kept: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorState:
    """What the lines add up to.

    Attributes:
        vault_id: whose anchor it is.
        head: the newest head; None before the first, and after a restore until the next act.
        floor: the log has at least this many entries.
        latest_at: the latest time that any line since the last acceptance names.
        withdrawn, spent, restored, used, destroyed: in the order of their lines.
    """

    vault_id: str
    latest_at: datetime
    head: Head | None = None
    floor: int = 0
    withdrawn: tuple[Withdrawn, ...] = ()
    spent: tuple[Spent, ...] = ()
    restored: tuple[Restored, ...] = ()
    used: tuple[Used, ...] = ()
    destroyed: tuple[Destroyed, ...] = ()

    @property
    def owed(self) -> frozenset[str]:
        """The ledger entries that must be there: confirmed, and accounted for by no restore."""
        return frozenset(one.entry_id for one in self.spent if one.confirmed and not one.covered)

    @property
    def uncertain(self) -> frozenset[str]:
        """The ledger entries that may be there: what reserved them was cut off, or is still under way."""
        return frozenset(one.entry_id for one in self.spent if not one.confirmed and not one.covered)


def build(kind: str, at: datetime, **fields: Json) -> bytes:
    """Return one line, its end included.

    Args:
        kind: ``head`` (checkpoint; spent: the entries that this commit confirms), ``withdrawn`` (consent_id, key_ids),
            ``spent`` (entry_id, epsilon, delta), ``used`` (nonce, act, request), ``destroyed`` (video_id),
            ``restored`` (checkpoint_lost, size_kept), ``accepted`` (size, root in base64), ``begun`` (vault_id,
            format).
        at: the time, aware.
        fields: as the kind has them.

    Raises:
        UsageError: code ``ANCHOR_LINE``: no such kind, or a field is missing, unknown or of another type.
    """
    line = {"kind": kind, "at": rfc3339(at), **{name: _plain(value) for name, value in fields.items()}}
    try:
        _check(line)
    except (KeyError, TypeError, ValueError, FabnetError) as error:
        raise UsageError(f"this is no line of an anchor: {kind}", code="ANCHOR_LINE") from error
    return canonical_json(line) + b"\n"


def parse(text: bytes) -> list[Line]:
    """Read every whole line; what follows the last line end is a line that a crash cut off, and is left out.

    Raises:
        IntegrityFailure: code ``ANCHOR_BROKEN``: a whole line is none of ours, or the first does not begin an anchor.
    """
    lines: list[Line] = []
    *whole, _ = text.split(b"\n")
    for number, raw in enumerate(whole, 1):
        try:
            lines.append(_check(json.loads(raw)))
        except (KeyError, TypeError, ValueError, RecursionError, FabnetError) as error:
            raise broken(f"its line {number} is damaged") from error
    if not lines or lines[0]["kind"] != BEGUN:
        raise broken("it has no beginning")
    return lines


def fold(lines: Sequence[Line]) -> AnchorState:
    """Add the lines up.

    Raises:
        IntegrityFailure: code ``ANCHOR_BROKEN``: two heads of one size differ.
    """
    first = lines[0]
    sums = _Sums(AnchorState(vault_id=str(first["vault_id"]), latest_at=parse_rfc3339(first["at"])))
    latest = str(first["at"])
    for line in lines[1:]:
        _FOLDS[line["kind"]](sums, line)
        latest = line["at"] if line["kind"] == ACCEPTED else max(latest, line["at"])
    return replace(
        sums.state,
        latest_at=parse_rfc3339(latest),
        withdrawn=tuple(sums.withdrawn),
        spent=tuple(sums.spent.values()),
        restored=tuple(sums.restored),
        used=tuple(sums.used),
        destroyed=tuple(sums.destroyed),
    )


def compact(lines: Sequence[Line]) -> list[Line]:
    """Leave out every head but the newest of each stretch between restores: the same state from fewer lines.

    A head that confirms spending gives the confirmation to the head that stays.
    """
    kept: list[Line] = []
    head: dict[str, Any] | None = None
    latest = ""
    for line in lines:
        if line["kind"] == HEAD:
            confirmed = sorted({*(head or {}).get("spent", ()), *line.get("spent", ())})
            larger = head is None or _size(line) >= _size(head)
            latest = max(latest, line["at"])
            head = {**(line if larger or head is None else head), "at": latest}
            head |= {"spent": confirmed} if confirmed else {}
            continue
        if line["kind"] in (RESTORED, ACCEPTED) and head is not None:
            kept.append(head)
            head, latest = None, ""
        kept.append(line)
    return kept + ([head] if head is not None else [])


def broken(why: str) -> IntegrityFailure:
    """Return the failure, code ``ANCHOR_BROKEN``."""
    return IntegrityFailure(
        f"the vault's anchor does not hold: {why}",
        hint="restore it from a copy; or, when you know the log's true head from elsewhere, run "
        "'fabnet-secure audit anchor --accept SIZE:ROOT --confirm VAULT_ID'",
        code="ANCHOR_BROKEN",
    )


@dataclass(slots=True)
class _Sums:
    """The state while it is being added up."""

    state: AnchorState
    withdrawn: list[Withdrawn] = field(default_factory=list)
    spent: dict[str, Spent] = field(default_factory=dict)
    restored: list[Restored] = field(default_factory=list)
    used: list[Used] = field(default_factory=list)
    destroyed: list[Destroyed] = field(default_factory=list)


def _add_head(sums: _Sums, line: Line) -> None:
    size = _size(line)
    for entry_id in line.get("spent", ()):
        if entry_id in sums.spent:
            sums.spent[entry_id] = replace(sums.spent[entry_id], confirmed=True)
    held = sums.state.head
    if held is not None and size < held.size:
        return  # of two processes the later may note its head first
    note = str(line["checkpoint"])
    root = read_checkpoint(note).root
    if held is not None and size == held.size and root != held.root:
        raise broken(f"it names two heads of {size} entries")
    sums.state = replace(sums.state, head=Head(size=size, root=root, note=note))


def _add_withdrawn(sums: _Sums, line: Line) -> None:
    at = parse_rfc3339(line["at"])
    sums.withdrawn.append(Withdrawn(consent_id=line["consent_id"], key_ids=tuple(line["key_ids"]), at=at))


def _add_used(sums: _Sums, line: Line) -> None:
    at = parse_rfc3339(line["at"])
    sums.used.append(Used(nonce=line["nonce"], act=line["act"], request=line["request"], at=at))


def _add_destroyed(sums: _Sums, line: Line) -> None:
    sums.destroyed.append(Destroyed(video_id=line["video_id"], at=parse_rfc3339(line["at"])))


def _add_spent(sums: _Sums, line: Line) -> None:
    sums.spent[line["entry_id"]] = Spent(
        entry_id=line["entry_id"],
        epsilon=float(line["epsilon"]),
        delta=float(line["delta"]),
        at=parse_rfc3339(line["at"]),
    )


def _add_restored(sums: _Sums, line: Line) -> None:
    sums.spent = {name: replace(one, covered=True) for name, one in sums.spent.items()}
    sums.state = replace(sums.state, head=None, floor=line["size_kept"])
    sums.restored.append(
        Restored(checkpoint_lost=line["checkpoint_lost"], size_kept=line["size_kept"], at=parse_rfc3339(line["at"]))
    )


def _add_accepted(sums: _Sums, line: Line) -> None:
    head = Head(size=line["size"], root=_root(line["root"]), note="")
    sums.state = replace(sums.state, head=head, floor=head.size)


def _begin_again(sums: _Sums, line: Line) -> None:
    del sums, line
    raise broken("it begins twice")


_FOLDS: Final[Mapping[str, Callable[[_Sums, Line], None]]] = {
    BEGUN: _begin_again,
    HEAD: _add_head,
    WITHDRAWN: _add_withdrawn,
    SPENT: _add_spent,
    USED: _add_used,
    DESTROYED: _add_destroyed,
    RESTORED: _add_restored,
    ACCEPTED: _add_accepted,
}
_FIELDS: Final[Mapping[str, Mapping[str, type]]] = {
    BEGUN: {"vault_id": str, "format": int},
    HEAD: {"checkpoint": str},
    WITHDRAWN: {"consent_id": str, "key_ids": list},
    SPENT: {"entry_id": str, "epsilon": float, "delta": float},
    USED: {"nonce": str, "act": str, "request": str},
    DESTROYED: {"video_id": str},
    RESTORED: {"checkpoint_lost": str, "size_kept": int},
    ACCEPTED: {"size": int, "root": str},
}
_EXTRA: Final[Mapping[str, Mapping[str, type]]] = {HEAD: {"spent": list}, BEGUN: {"bytes": int}}
_STAMP: Final = len("2026-01-02T03:04:05.000006Z")


def _check(line: Any) -> Line:
    """Return the line when it is one; KeyError, TypeError, ValueError or FabnetError otherwise."""
    kind, at = line["kind"], line["at"]
    wanted = _FIELDS[kind]
    if len(at) != _STAMP or at[-1] != "Z":
        raise ValueError("at")  # times are compared as text
    parse_rfc3339(at)
    for name, value in line.items():
        if name not in ("kind", "at"):
            _check_type(value, wanted.get(name) or _EXTRA.get(kind, {})[name])
    if not wanted.keys() <= line.keys() or line.get("format", FORMAT) != FORMAT:
        raise ValueError("fields")
    if kind == HEAD:
        _size(line)
    if kind == ACCEPTED:
        _root(line["root"])
    checked: Line = line
    return checked


def _check_type(value: Any, kind: type) -> None:
    if kind is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
    elif kind is int:
        fits = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    elif kind is list:
        fits = isinstance(value, list) and all(isinstance(one, str) for one in value)
    else:
        fits = isinstance(value, str)
    if not fits:
        raise TypeError(kind.__name__)


def _size(line: Line) -> int:
    """Return the size that a head's note states: its second line."""
    text = str(line["checkpoint"]).partition("\n")[2].partition("\n")[0]
    if not text.isascii() or not text.isdigit():
        raise ValueError("size")
    return int(text)


def _root(text: str) -> bytes:
    try:
        root = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("root") from error
    if len(root) != HASH_SIZE:
        raise ValueError("root")
    return root


def _plain(value: Json) -> Json:
    """Return lists for any sequence, so that what is checked is what will be read back."""
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
