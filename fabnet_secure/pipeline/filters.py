"""What a question is narrowed to: when a track's video was ingested, and where it was recorded.

Guarantees that a date or a place that cannot be meant is refused, never taken for «no limit». Dates are days in UTC,
both ends included. The place is what was recorded at ingest: the camera's and the site's names in the settings of
that time; a video that no camera of the settings fitted has none, and so has every video of an older version.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from fabnet_secure.errors import UsageError
from fabnet_secure.pipeline.context import Site
from fabnet_secure.store import tracks, videos
from fabnet_secure.store.database import Connection
from fabnet_secure.types import TrackId, VideoId


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What the caller types; None narrows nothing. Dates as ``2026-01-31``."""

    since: str | None = None
    until: str | None = None
    site: str | None = None
    camera: str | None = None

    @property
    def any(self) -> bool:
        """Whether they narrow anything."""
        return any(one is not None for one in (self.since, self.until, self.site, self.camera))


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """From ``start`` to just before ``end``; None is open."""

    start: datetime | None
    end: datetime | None

    def holds(self, moment: datetime) -> bool:
        """Tell whether a moment lies in it."""
        return (self.start is None or moment >= self.start) and (self.end is None or moment < self.end)


def period_of(filters: Filters) -> Period:
    """Read the two dates.

    Raises:
        UsageError: code ``DATE_INVALID`` or ``PERIOD_INVALID``.
    """
    start = None if filters.since is None else _day(filters.since)
    end = None if filters.until is None else _day(filters.until)
    if start is not None and end is not None and start > end:
        raise UsageError("--since lies after --until", hint="exchange them", code="PERIOD_INVALID")
    return Period(start=start, end=None if end is None else end + timedelta(days=1))


def _day(text: str) -> datetime:
    try:
        day = date.fromisoformat(text) if len(text) == len("2026-01-31") else None
    except ValueError:
        day = None
    if day is None or day == date.max:
        raise UsageError(f"not a date: {text[:40]!r}", hint="write it as 2026-01-31", code="DATE_INVALID")
    return datetime.combine(day, time(tzinfo=UTC))


def chosen_videos(connection: Connection, filters: Filters) -> frozenset[VideoId]:
    """Return the videos that the filters leave; a place that no camera or site has gives none.

    Raises:
        UsageError: code ``DATE_INVALID`` or ``PERIOD_INVALID``.
    """
    period = period_of(filters)
    return frozenset(
        row.video_id
        for row in videos.list_videos(connection)
        if period.holds(row.ingested_at)
        and filters.camera in (None, place_of(row, "camera"))
        and filters.site in (None, place_of(row, "site"))
    )


def require_known(site: Site, filters: Filters, recorded: Iterable[videos.VideoRow] = ()) -> None:
    """Refuse a place that neither the settings nor a recorded video names.

    Raises:
        UsageError: code ``CAMERA_UNKNOWN`` or ``SITE_UNKNOWN``.
    """
    rows = list(recorded)
    for what, name in (("camera", filters.camera), ("site", filters.site)):
        named = places_of(site, what)
        if name is not None and (not name or name not in {*named, *(place_of(row, what) for row in rows)}):
            raise UsageError(
                f"no video is from a {what} of that name, and fabnet.toml names none",
                hint=f"the settings name: {', '.join(named) or 'none'}",
                code=f"{what.upper()}_UNKNOWN",
            )


def places_of(site: Site, what: str) -> list[str]:
    """Return the names of the settings' cameras, or of their site (``what``), in order."""
    if what == "camera":
        return sorted({table.name for table in site.settings.camera})
    return sorted({site.settings.access.site} - {""})


def chosen_tracks(site: Site, connection: Connection, filters: Filters) -> frozenset[TrackId] | None:
    """Return the tracks that the filters leave; None where they narrow nothing.

    Raises:
        UsageError: code ``DATE_INVALID``, ``PERIOD_INVALID``, ``CAMERA_UNKNOWN`` or ``SITE_UNKNOWN``.
    """
    if not filters.any:
        return None
    require_known(site, filters, videos.list_videos(connection))
    kept = chosen_videos(connection, filters)
    return frozenset(row.track_id for row in tracks.list_tracks(connection) if row.video_id in kept)


def place_of(row: videos.VideoRow, what: str) -> str:
    """Return a video's ``camera`` or ``site``, "" where none was recorded."""
    found = row.evidence.get(what)
    return found if isinstance(found, str) else ""
