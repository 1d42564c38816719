from datetime import UTC, datetime

import pytest

from fabnet_secure.consent.append import add_duration, parse_duration
from fabnet_secure.errors import UsageError


@pytest.mark.parametrize(
    ("start", "period", "end"),
    [
        ("2026-01-31", "P1M", "2026-02-28"),
        ("2024-02-29", "P1Y", "2025-02-28"),
        ("2026-10-01", "P1Y6M", "2028-04-01"),
        ("2026-10-01", "P2W", "2026-10-15"),
        ("2026-10-01", "P30DT24H", "2026-11-01"),
        ("2026-12-31", "P1D", "2027-01-01"),
    ],
)
def test_periods_follow_the_calendar(start, period, end):
    """Months and years are added on the calendar and end on its last day where the day is missing."""
    at = datetime.fromisoformat(start).replace(tzinfo=UTC)
    assert add_duration(at, period) == datetime.fromisoformat(end).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "P",
            "PT",
            "P1YT",
            "1Y",
            "P0D",
            "PT0S",
            "P0Y0M",
            "-P1Y",
            "+P1Y",
            "P-1Y",
            "P1.5Y",
            "P1,5D",
            "p1y",
        ),
        *("P1Y ", "P1Y\n", "P1D1Y", "forever", "P١Y", "P1H", "2026-10-01", "P0003-06-04"),
    ],
)
def test_what_is_no_positive_period_is_refused(text):
    """Zero, signs, fractions, dates, other alphabets and trailing text are refused."""
    with pytest.raises(UsageError) as caught:
        parse_duration(text)
    assert caught.value.code == "DURATION_INVALID"


@pytest.mark.parametrize("text", ["P9999Y", "P999999Y", "P999999W", "P999999M"])
def test_a_period_beyond_the_calendar_is_refused(text):
    """A period that leaves the calendar is a mistake of use, not a crash."""
    with pytest.raises(UsageError):
        add_duration(datetime(2026, 1, 1, tzinfo=UTC), text)


def test_the_result_is_utc():
    """A time in another zone is counted in UTC."""
    at = datetime.fromisoformat("2026-10-01T08:30:00+09:00")
    assert add_duration(at, "P1D").isoformat() == "2026-10-01T23:30:00+00:00"
