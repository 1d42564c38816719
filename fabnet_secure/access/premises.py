"""Where and when an act is done, as the access policies are told of it.

Guarantees: an hour and a weekday are those of one named time zone (the machine's own unless another is given), and open
hours mean one thing only: a start that is also the end is refused, for it could mean always or never. Does not know
whether the machine's clock or zone is right (``doctor`` looks at the clock).
"""

from dataclasses import dataclass
from datetime import datetime, tzinfo

from fabnet_secure.errors import UsageError

ALWAYS = (0, 24)
_DAY = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A moment on the wall clock of a place.

    Args:
        hour: from 0 to 23.
        weekday: from 1 (Monday) to 7 (Sunday), as ISO 8601 counts.
        site: the name of the place; "" where it has none.
        open: whether the hour is one of its open hours.
    """

    hour: int
    weekday: int
    site: str
    open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Premises:
    """A place, with its name, its open hours and its time zone.

    Args:
        site: its name (``context.site``).
        open_hours: from the first hour up to, and without, the second; (22, 6) passes midnight, (0, 24) is always.
        zone: the time zone of its hours; None is the machine's own.

    Raises:
        UsageError: (OPEN_HOURS) hours that no clock shows, or that could mean always or never.
    """

    site: str = ""
    open_hours: tuple[int, int] = ALWAYS
    zone: tzinfo | None = None

    def __post_init__(self) -> None:
        """Refuse hours that could mean two things."""
        check_open_hours(self.open_hours)

    def at(self, moment: datetime) -> Moment:
        """Say what the clock on the wall shows at ``moment`` (an aware time)."""
        local = moment.astimezone(self.zone)
        return Moment(
            hour=local.hour, weekday=local.isoweekday(), site=self.site, open=is_open(self.open_hours, local.hour)
        )


def is_open(open_hours: tuple[int, int], hour: int) -> bool:
    """Tell whether ``hour`` (0 to 23) is inside ``open_hours``; hours that pass midnight start after they end."""
    start, end = open_hours
    return start <= hour < end if start < end else hour >= start or hour < end


def check_open_hours(open_hours: tuple[int, int]) -> tuple[int, int]:
    """Return ``open_hours`` if they mean one thing.

    Raises:
        UsageError: (OPEN_HOURS) as :class:`Premises`.
    """
    start, end = open_hours
    if not (0 <= start < _DAY and 0 <= end <= _DAY):
        raise UsageError(
            "open hours start at 0 to 23 and end at 0 to 24", hint="write [8, 18], or [22, 6]", code="OPEN_HOURS"
        )
    if start == end:
        raise UsageError(
            f"open hours from {start} to {end} could mean always or never", hint="always is [0, 24]", code="OPEN_HOURS"
        )
    return open_hours
