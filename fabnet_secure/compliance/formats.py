"""Times, periods and figures as a reader of the language writes them.

Guarantees that a claimed bound is never shown smaller than it is, nor a measured lower bound larger, and
that text from outside cannot reorder or hide the text around it. Does not escape HTML: the templates do,
always.
"""

import re
import unicodedata
from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from fabnet_secure.types import parse_rfc3339

_UNITS = {
    "Y": ("year", "年"),
    "M": ("month", "か月"),
    "W": ("week", "週間"),
    "D": ("day", "日"),
    "h": ("hour", "時間"),
    "m": ("minute", "分"),
    "s": ("second", "秒"),
}


def moment(text: str, language: str) -> str:
    """Write an RFC 3339 time to the minute, in UTC: ``2 October 2026, 14:03 UTC``, ``2026年10月2日 14:03 UTC``."""
    at = parse_rfc3339(text)
    if language == "ja":
        return f"{at.year}年{at.month}月{at.day}日 {at:%H:%M} UTC"
    return f"{at.day} {at:%B %Y, %H:%M} UTC"


def stamp(text: str) -> str:
    """Write an RFC 3339 time to the second for a table: ``2026-10-02 14:03:00``."""
    return f"{parse_rfc3339(text):%Y-%m-%d %H:%M:%S}"


def period(text: str, language: str) -> str:
    """Write an ISO 8601 period in words: ``P1Y6M`` is ``1 year 6 months``, ``1年6か月``; else as it stands."""
    days, _, clock = text.removeprefix("P").partition("T")
    parts = re.findall(r"(\d+)([YMWD])", days)
    parts += [(number, unit.lower()) for number, unit in re.findall(r"(\d+)([HMS])", clock)]
    if not parts:
        return text
    if language == "ja":
        return "".join(number + _UNITS[unit][1] for number, unit in parts)
    return " ".join(f"{number} {_UNITS[unit][0]}{'' if number == '1' else 's'}" for number, unit in parts)


def count(value: float) -> str:
    """Write a count with thin groups of three: ``12,345``."""
    return f"{value:,}"


def upper(value: float | None) -> str:
    """Write a claimed bound (ε) to three places, rounded up; a dash when there is none."""
    return "–" if value is None else _places(value, 3, ROUND_CEILING)


def lower(value: float | None) -> str:
    """Write a measured lower bound to three places, rounded down; a dash when there is none."""
    return "–" if value is None else _places(value, 3, ROUND_FLOOR)


def share(value: float) -> str:
    """Write a probability as a percentage to two places, rounded up."""
    return f"{_places(value * 100, 2, ROUND_CEILING)} %"


def tiny(value: float | None) -> str:
    """Write δ as a power of ten, rounded up: ``1×10⁻⁵``, ``2.35×10⁻⁶``; a dash when there is none."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    number = Decimal(str(value))
    exponent = number.adjusted()
    digits = number.scaleb(-exponent).quantize(Decimal("0.01"), ROUND_CEILING).normalize()
    power = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{digits:f}×10{power}"


def figure(value: float | None) -> str:
    """Write a parameter with up to six significant digits; a dash when there is none."""
    return "–" if value is None else f"{value:.6g}"


def listing(values: Sequence[str], language: str) -> str:
    """Join words as the language does."""
    return ("、" if language == "ja" else ", ").join(values)


def tame(value: Any) -> Any:
    """Return text without characters that hide or reorder other text (controls, bidi), each made visible.

    Variation selectors stay: Japanese names need them (葛󠄀城).
    """
    if type(value) is not str:
        return value
    return "".join("\ufffd" if _unruly(char) else char for char in value)


def _unruly(char: str) -> bool:
    if char == "\n":
        return False
    return unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp", "Cs"} and char not in "\u200c\u200d"


def _places(value: float, places: int, rounding: str) -> str:
    return f"{Decimal(str(value)).quantize(Decimal(1).scaleb(-places), rounding):,f}"
