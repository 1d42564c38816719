"""Narrowing a question: days in UTC, and the places that were recorded."""

from datetime import UTC, datetime

import pytest

from fabnet_secure.errors import UsageError
from fabnet_secure.pipeline.filters import Filters, chosen_tracks, period_of
from fabnet_secure.store import tracks, videos


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_both_days_are_included():
    """From the first moment of one day to the last of the other."""
    period = period_of(Filters(since="2026-05-04", until="2026-05-05"))
    assert period.holds(at("2026-05-04T00:00:00"))
    assert period.holds(at("2026-05-05T23:59:59.999999"))
    assert not period.holds(at("2026-05-03T23:59:59.999999"))
    assert not period.holds(at("2026-05-06T00:00:00"))


def test_without_dates_everything_is_in_it():
    """An open period holds any moment."""
    assert period_of(Filters()).holds(at("1970-01-01T00:00:00"))


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-02-30", "2026-5-4", "20260504", "2026-05-04T00:00", "9999-12-31", "２０２６-05-04"]
)
def test_what_is_no_date_is_refused(text):
    """Never taken for no limit."""
    with pytest.raises(UsageError) as refused:
        period_of(Filters(since=text))
    assert refused.value.code == "DATE_INVALID"


def test_a_period_has_a_direction():
    """The start after the end is refused; one day is a period."""
    with pytest.raises(UsageError) as refused:
        period_of(Filters(since="2026-05-05", until="2026-05-04"))
    assert refused.value.code == "PERIOD_INVALID"
    assert period_of(Filters(since="2026-05-04", until="2026-05-04")).holds(at("2026-05-04T12:00:00"))


@pytest.fixture
def recorded(site, room):
    """Two tracks of one person, the second from camera «door» of site «north» a day later."""
    consent = room.consent(site)
    first = room.track(site, consent)
    room.clock.forward(days=1)
    second = room.track(site, consent)
    with site.work() as work:
        video_id = tracks.get_track(work.connection, second).video_id
        work.connection.execute(
            videos.update(videos.video)
            .where(videos.video.c.video_id == video_id)
            .values(evidence={"camera": "door", "site": "north"})
        )
        work.log("test.place", facts={})
    return first, second


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        (Filters(camera="door"), (False, True)),
        (Filters(site="north"), (False, True)),
        (Filters(until="2026-05-04"), (True, False)),
        (Filters(since="2026-05-05"), (False, True)),
        (Filters(since="2026-05-05", until="2026-05-05", camera="door", site="north"), (False, True)),
        (Filters(since="2027-01-01"), (False, False)),
    ],
    ids=["camera", "site", "until", "since", "all", "later"],
)
def test_tracks_are_chosen_by_day_and_place(site, recorded, filters, kept):
    """Each filter leaves exactly the tracks that it says."""
    with site.reading() as connection:
        chosen = chosen_tracks(site, connection, filters)
    assert tuple(one in chosen for one in recorded) == kept


def test_without_filters_nothing_is_read(site):
    """None stands for every track."""
    with site.reading() as connection:
        assert chosen_tracks(site, connection, Filters()) is None


@pytest.mark.parametrize(
    ("filters", "code"),
    [
        (Filters(camera="roof"), "CAMERA_UNKNOWN"),
        (Filters(camera=""), "CAMERA_UNKNOWN"),
        (Filters(site="moon"), "SITE_UNKNOWN"),
    ],
    ids=["camera", "empty", "site"],
)
def test_an_unknown_place_is_refused(site, recorded, filters, code):
    """Neither recorded nor in the settings: a mistake, not an empty answer."""
    with site.reading() as connection, pytest.raises(UsageError) as refused:
        chosen_tracks(site, connection, filters)
    assert refused.value.code == code
