"""The log leaf: what one act leaves behind, as canonical JSON of counts, hashes, versions and commitments.

Guarantees one byte form for each entry (RFC 8785), at most 65,535 bytes, and that no string in it holds a raw
identifier or more than 128 characters. People appear only as commitments: HMAC-SHA256 under a random salt that
is kept, sealed, elsewhere; when the salt is destroyed the leaf still verifies and points to nobody. Does not
recognise a person's name: that an actor or a fact holds none is the caller's duty.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fabnet_secure.audit.tiles import check_length
from fabnet_secure.errors import FabnetError, IntegrityFailure, UsageError
from fabnet_secure.types import Json, canonical_json, parse_rfc3339, rfc3339

SCHEMA = "fabnet-secure/leaf/v1"
SALT_SIZE = 32
MAX_TEXT = 128
_MAX_DEPTH = 8

_MAX_SAFE_INTEGER = (1 << 53) - 1
_FIELDS = frozenset({"schema", "act", "at", "actor", "facts", "commitments"})
_ACT = re.compile(r"[a-z][a-z0-9_.-]{0,63}\Z")
_ACTOR = re.compile(r"[!-~]{1,128}\Z")
_LABEL = re.compile(r"[a-z][a-z0-9_.:/#-]{0,63}\Z")
_COMMITMENT = re.compile(r"[A-Za-z0-9_-]{43}\Z")
_FORM = b'{"act":"%b","actor":%b,"at":"%b","commitments":%b,"facts":%b,"schema":"' + SCHEMA.encode() + b'"}'
_ID_LENGTH = 36
_RAW_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a leaf says.

    Attributes:
        act: what was done, such as ``ingest.completed``.
        at: when, in UTC.
        actor: the principal's commitment or role; never a name.
        facts: counts, hashes and versions.
        commitments: by label, the salted commitments to the people and things concerned.
    """

    act: str
    at: datetime
    actor: str
    facts: Mapping[str, Json]
    commitments: Mapping[str, str]

    @property
    def subjects(self) -> tuple[str, ...]:
        """The commitments alone, in the order of their labels."""
        return tuple(self.commitments[label] for label in sorted(self.commitments))


def commit(salt: bytes, value: str) -> str:
    """Return the commitment to ``value``: HMAC-SHA256 keyed by ``salt``, base64url without padding (43 characters).

    Raises:
        UsageError: the salt is not 32 bytes.
    """
    if len(salt) != SALT_SIZE:
        raise UsageError(f"a commitment's salt has {SALT_SIZE} bytes, not {len(salt)}", code="SALT_SIZE")
    digest = hmac.new(salt, value.encode("utf-8"), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def build_leaf(
    *, act: str, at: datetime, actor: str, facts: Mapping[str, Json], commitments: Mapping[str, str]
) -> bytes:
    """Return the leaf's bytes: canonical JSON, schema ``fabnet-secure/leaf/v1``, at most 65,535 bytes.

    Raises:
        UsageError: code ``LEAF_REFUSED``: a name, fact or commitment has no place in a log (a raw identifier, a
            string over 128 characters, a time without an offset); code ``LEAF_TOO_LARGE``.
    """
    _require(_ACT.match(act), "an act is a short lower-case word such as ingest.completed")
    _require(at.tzinfo is not None, "the time of an act names its offset")
    _require(_ACTOR.match(actor), "an actor is a role or a commitment, without spaces")
    for label, commitment in commitments.items():
        _require(_LABEL.match(label), "a commitment's label is a short lower-case word")
        _require(_COMMITMENT.match(commitment), "a commitment is 43 characters of base64url")
    for text in (act, actor, *commitments):
        _check_strings(text, depth=0)
    _check_strings(facts, depth=0)
    # The outer object written out in its canonical order: act and schema need no escaping, nor does a time.
    parts = (
        act.encode(),
        canonical_json(actor),
        rfc3339(at).encode(),
        canonical_json(commitments),
        canonical_json(facts),
    )
    return check_length(_FORM % parts)


def read_leaf(blob: bytes) -> Entry:
    """Read what :func:`build_leaf` wrote, and nothing else.

    Raises:
        IntegrityFailure: code ``LEAF_BROKEN``: the bytes are not a leaf of this schema in canonical form.
    """
    try:
        body = json.loads(blob.decode("utf-8"), parse_int=_number, parse_constant=_no_number)
        if set(body) != _FIELDS or body["schema"] != SCHEMA:
            raise _unreadable("its schema is another")
        entry = Entry(
            act=body["act"],
            at=parse_rfc3339(body["at"]),
            actor=body["actor"],
            facts=body["facts"],
            commitments=body["commitments"],
        )
        again = _rebuild(entry)
    except IntegrityFailure:
        raise
    except (FabnetError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _unreadable("it does not parse") from error
    if again != blob:
        raise _unreadable("it is not in canonical form")
    return entry


def _rebuild(entry: Entry) -> bytes:
    """Build the leaf again from what was read; every rule of writing holds for reading too."""
    return build_leaf(act=entry.act, at=entry.at, actor=entry.actor, facts=entry.facts, commitments=entry.commitments)


def _check_strings(value: Json, *, depth: int) -> None:
    """Refuse raw identifiers and long strings anywhere in ``value``, keys included, and deep nesting."""
    _require(depth <= _MAX_DEPTH, "facts are nested too deeply")
    if isinstance(value, str):
        if len(value) < _ID_LENGTH:
            return
        _require(len(value) <= MAX_TEXT, f"a text in a log entry has at most {MAX_TEXT} characters")
        _require(not _RAW_ID.search(value), "a log entry names nobody by a raw identifier: commit to it")
    elif isinstance(value, dict | Mapping):  # dict first: asking for a Mapping is slow
        for key, inner in value.items():
            if len(key) >= _ID_LENGTH:
                _check_strings(key, depth=depth)
            if type(inner) is not int and (type(inner) is not str or len(inner) >= _ID_LENGTH):
                _check_strings(inner, depth=depth + 1)
    elif value is not None and not isinstance(value, bool | int | float):
        for inner in value:
            _check_strings(inner, depth=depth + 1)


def _require(holds: object, rule: str) -> None:
    """Raise the refusal that states the broken rule; the refused value itself is not repeated."""
    if not holds:
        raise UsageError(f"a log entry was refused: {rule}", hint="log counts and hashes", code="LEAF_REFUSED")


def _number(text: str) -> int | float:
    """Read an integer as RFC 8785 means it: beyond 2^53 it was a float."""
    number = int(text)
    return number if abs(number) <= _MAX_SAFE_INTEGER else float(text)


def _no_number(text: str) -> Any:
    """Refuse ``NaN`` and ``Infinity``, which JSON does not have."""
    raise ValueError(text)


def _unreadable(why: str) -> IntegrityFailure:
    return IntegrityFailure(
        f"a log entry cannot be read: {why}", hint="check the log: fabnet-secure audit verify", code="LEAF_BROKEN"
    )
