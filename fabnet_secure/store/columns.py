"""Column types: what a value must be on its way in, and what it is on its way out.

Guarantees that a sealed column refuses anything but ``Sealed``, that times are RFC 3339 text in UTC which sorts as
time does on both databases, that JSON is canonical, and that a closed list of words is checked here and by a CHECK
constraint in the database. Does not open anything sealed.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import CheckConstraint, LargeBinary, String, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from fabnet_secure.crypto.envelope import Sealed
from fabnet_secure.errors import IntegrityFailure, UsageError
from fabnet_secure.types import Json, canonical_json, parse_rfc3339, rfc3339

_T = TypeVar("_T")
MOMENT_LENGTH = len("2026-01-02T03:04:05.000006Z")
CHUNK = 500


class SealedBlob(TypeDecorator[Sealed]):
    """Ciphertext. Binding anything but ``Sealed`` raises TypeError."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Sealed | None, dialect: Dialect) -> bytes | None:
        """Return the stored bytes of a sealed value."""
        del dialect
        if value is not None and not isinstance(value, Sealed):
            raise TypeError(f"a sealed column takes Sealed, not {type(value).__name__}")
        return None if value is None else value.blob

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> Sealed | None:
        """Mint ``Sealed`` from stored bytes; IntegrityFailure when they are no envelope."""
        del dialect
        return None if value is None else Sealed.from_storage(bytes(value))


class Moment(TypeDecorator[datetime]):
    """An aware time, as the text :func:`fabnet_secure.types.rfc3339` writes: it sorts as time does."""

    impl = String(MOMENT_LENGTH)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        """Return the RFC 3339 text."""
        del dialect
        if value is not None and value.tzinfo is None:
            raise TypeError("a time column takes an aware datetime")
        return None if value is None else rfc3339(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        """Return the aware time; IntegrityFailure when the text is none."""
        del dialect
        try:
            return None if value is None else parse_rfc3339(value)
        except (UsageError, TypeError) as error:
            raise IntegrityFailure("a stored time is damaged", code="STORE_CORRUPT") from error


class JsonText(TypeDecorator[Any]):
    """A JSON value, as canonical text (RFC 8785): the same value is the same bytes on both databases."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Json, dialect: Dialect) -> str | None:
        """Return the canonical text."""
        del dialect
        return None if value is None else canonical_json(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """Return the parsed value; IntegrityFailure when the text is no JSON."""
        del dialect
        try:
            return None if value is None else json.loads(value)
        except ValueError as error:
            raise IntegrityFailure("a stored document is damaged", code="STORE_CORRUPT") from error


class Choice(TypeDecorator[Any]):
    """One word of a closed list.

    Args:
        kind: the enumeration whose values are the list; a column gives back its members.
    """

    impl = String(40)
    cache_ok = True

    def __init__(self, kind: type[StrEnum]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return the word; ValueError when it is none of the list."""
        del dialect
        return None if value is None else self.kind(value).value

    def process_result_value(self, value: str | None, dialect: Dialect) -> StrEnum | None:
        """Return the enumeration's member; IntegrityFailure when the stored word is none."""
        del dialect
        try:
            return None if value is None else self.kind(value)
        except ValueError as error:
            raise IntegrityFailure("a stored state is none that exists", code="STORE_CORRUPT") from error


def one_of(column: str, kind: type[StrEnum]) -> CheckConstraint:
    """Return the CHECK constraint that keeps ``column`` to the values of ``kind``."""
    words = ", ".join(f"'{word.value}'" for word in kind)
    return CheckConstraint(f"{column} IN ({words})", name=f"{column}_known")


def in_chunks(values: Sequence[_T], size: int = CHUNK) -> Iterator[Sequence[_T]]:
    """Yield ``values`` in runs that fit an IN list on both databases."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
