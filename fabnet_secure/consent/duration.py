"""ISO 8601 periods: how long a consent holds and how long a thing is kept.

Guarantees that an accepted period is whole-numbered and longer than nothing, and that calendar periods
(``P1M``) are added on the calendar (31 January + P1M = the last day of February). Does not accept
fractions, signs or dates.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import isodate

from fabnet_secure.errors import UsageError

Period: TypeAlias = timedelta | isodate.Duration

_PERIOD = re.compile(
    r"P(?=\d|T\d)(?:\d{1,6}Y)?(?:\d{1,6}M)?(?:\d{1,6}W)?(?:\d{1,6}D)?"
    r"(?:T(?=\d)(?:\d{1,6}H)?(?:\d{1,6}M)?(?:\d{1,9}S)?)?\Z",
    re.ASCII,
)


def parse_duration(text: str) -> Period:
    """Return the period that ``text`` writes in ISO 8601, e.g. ``P1Y``, ``P6M``, ``P30D``, ``PT12H``.

    Raises:
        UsageError: code ``DURATION_INVALID`` when it is malformed, or not longer than zero.
    """
    if _PERIOD.match(text) is None or re.search(r"[1-9]", text) is None:
        raise UsageError(
            f"not a period longer than zero: {text!r}",
            hint="write it in ISO 8601, such as P1Y, P6M, P30D or PT12H",
            code="DURATION_INVALID",
        )
    return isodate.parse_duration(text)


def add_duration(at: datetime, text: str) -> datetime:
    """Return the time in UTC that lies the period ``text`` after ``at``.

    Raises:
        UsageError: code ``DURATION_INVALID`` when the period is malformed, not positive, or leaves the
            calendar.
    """
    period = parse_duration(text)
    try:
        moment: datetime = at.astimezone(UTC) + period
    except (OverflowError, ValueError) as error:
        raise UsageError(
            f"the period {text!r} leaves the calendar", hint="write a shorter one", code="DURATION_INVALID"
        ) from error
    return moment
