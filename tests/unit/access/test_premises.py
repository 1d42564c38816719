"""The clock on the wall, and whether the door is open."""

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabnet_secure.access.premises import Moment, Premises, check_open_hours, is_open
from fabnet_secure.errors import UsageError


@pytest.mark.parametrize(
    ("hours", "open_ones"),
    [
        ((0, 24), set(range(24))),
        ((8, 18), set(range(8, 18))),
        ((22, 6), {22, 23, 0, 1, 2, 3, 4, 5}),
        ((18, 0), set(range(18, 24))),
        ((18, 24), set(range(18, 24))),
        ((0, 1), {0}),
        ((23, 0), {23}),
        ((5, 4), set(range(24)) - {4}),
    ],
)
def test_open_hours(hours, open_ones):
    """From the first hour up to, and without, the second; past midnight where the second is the smaller."""
    assert {hour for hour in range(24) if is_open(hours, hour)} == open_ones
    assert check_open_hours(hours) == hours


@pytest.mark.parametrize("hours", [(0, 0), (8, 8), (24, 24), (24, 6), (-1, 5), (5, 25), (25, 5)])
def test_hours_that_mean_two_things_or_none(hours):
    """A start that is the end, or an hour that no clock shows: refused, with the way to write it."""
    for refuse in (check_open_hours, lambda both: Premises(open_hours=both)):
        with pytest.raises(UsageError) as caught:
            refuse(hours)
        assert (caught.value.code, caught.value.exit_code) == ("OPEN_HOURS", 2)
        assert "[" in caught.value.hint


@given(
    start=st.integers(0, 23),
    length=st.integers(1, 23),
    hour=st.integers(0, 23),
)
def test_a_day_is_open_for_as_long_as_it_says(start, length, hour):
    """Hours that start at s and last n are open exactly n hours of the day, the first of them s."""
    hours = (start, (start + length) % 24)
    assert sum(is_open(hours, one) for one in range(24)) == length
    assert is_open(hours, hour) == ((hour - start) % 24 < length)


def test_the_zone_decides_the_hour_and_the_day():
    """The same moment is another hour, and another weekday, in another zone."""
    moment = datetime(2026, 11, 22, 20, 30, tzinfo=UTC)  # a Sunday
    place = Premises(site="Tokyo", open_hours=(8, 18), zone=timezone(timedelta(hours=9)))
    assert place.at(moment) == Moment(hour=5, weekday=1, site="Tokyo", open=False)
    assert Premises(zone=UTC).at(moment) == Moment(hour=20, weekday=7, site="", open=True)


def test_without_a_zone_the_machines_own_counts(monkeypatch):
    """The machine's time zone, summer time and all, is the one that hours are told in."""
    moment = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
    for zone, hour in (("UTC0", 12), ("CET-1CEST,M3.5.0,M10.5.0", 14), ("EST5EDT,M3.2.0,M11.1.0", 8)):
        with monkeypatch.context() as here:
            here.setenv("TZ", zone)
            time.tzset()
            assert Premises().at(moment).hour == hour
        time.tzset()
