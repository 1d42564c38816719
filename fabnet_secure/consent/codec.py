"""Plain JSON for frozen dataclasses, strict in both directions.

Guarantees that ``decode(type(x), encode(x)) == x`` and that a missing field, an unknown field or a value of
the wrong kind is refused rather than guessed. Does not migrate old schemas.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import StrEnum
from types import UnionType
from typing import Any, NewType, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from fabnet_secure.errors import UsageError
from fabnet_secure.types import Json, parse_rfc3339, rfc3339

_D = TypeVar("_D")


def encode(value: Any) -> Json:
    """Return ``value`` as JSON: dataclasses as objects, tuples as arrays, times as RFC 3339."""
    if is_dataclass(value):
        return {field.name: encode(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, StrEnum):
        return value.value
    return cast("Json", value)


def decode(kind: type[_D], body: object) -> _D:
    """Return the dataclass ``kind`` that ``body`` describes.

    Raises:
        UsageError: code ``CONSENT_FORMAT`` when a field is missing, unknown or of the wrong kind.
    """
    hints = get_type_hints(kind)
    if not isinstance(body, Mapping) or set(body) != set(hints):
        raise _refuse(kind.__name__)
    return kind(**{name: _decode_value(hint, body[name], name) for name, hint in hints.items()})


def _decode_value(hint: Any, value: Any, name: str) -> Any:
    if get_origin(hint) in {Union, UnionType}:  # only ``X | None`` stands in a record
        inner = next(part for part in get_args(hint) if part is not type(None))
        return None if value is None else _decode_value(inner, value, name)
    if get_origin(hint) is tuple:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise _refuse(name)
        return tuple(_decode_value(get_args(hint)[0], item, name) for item in value)
    if is_dataclass(hint):
        return decode(cast("type[Any]", hint), value)
    return _decode_scalar(hint.__supertype__ if isinstance(hint, NewType) else hint, value, name)


def _decode_scalar(hint: Any, value: Any, name: str) -> Any:
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)  # canonical JSON writes 8.0 as 8
    if hint is bool and isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise _refuse(name)
    if hint is datetime:
        return parse_rfc3339(value)
    if issubclass(hint, StrEnum):
        return word(hint, value)
    if hint is not str:
        raise _refuse(name)
    return value


_E = TypeVar("_E", bound=StrEnum)


def word(kind: type[_E], text: str) -> _E:
    """Return the member of ``kind`` that ``text`` names.

    Raises:
        UsageError: code ``CONSENT_FORMAT`` when it names none.
    """
    try:
        return kind(text)
    except ValueError as error:
        raise _refuse(kind.__name__, f"use one of: {', '.join(kind)}") from error


def _refuse(name: str, hint: str = "use a record that this version wrote") -> UsageError:
    return UsageError(f"a consent record cannot be read: {name}", hint=hint, code="CONSENT_FORMAT")
