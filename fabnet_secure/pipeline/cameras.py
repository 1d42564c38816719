"""Which camera a video is from, and who sits where before it.

Guarantees: a source is one camera's or none's, never a guess between two; regions that overlap or leave the picture
are refused before a track is bound by them; a region is bound to a person only through a consent that the settings or
the command line name for it. Does not check that the picture is that camera's: the source's place is what is known.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import combinations

from fabnet_secure.config import CameraTable, RegionTable
from fabnet_secure.errors import Gap, UsageError
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.source import Source
from fabnet_secure.types import SubjectId
from fabnet_secure.video.bind import NOBODY, Region
from fabnet_secure.video.live import without_secrets

_ROUNDING = 1e-9  # 0.1 + 0.2 is not 0.3: regions that touch do not overlap
_DEVICE = "v4l:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """A camera that the site's settings name, with its regions checked."""

    name: str
    regions: tuple[RegionTable, ...] = ()

    @property
    def consents(self) -> dict[str, str]:
        """Name of a region → the consent that the settings name for it; regions without one are left out."""
        return {region.name: region.consent for region in self.regions if region.consent}


def find_camera(site: Site, source: Source) -> Camera | None:
    """Find the camera that a source is from: the one named with it, or the one whose patterns fit its place.

    A pattern is compared with the file's absolute path, with and without its symbolic links followed, or with the
    URL without its password; ``*`` stands for anything, ``/`` included.

    Returns:
        None where no camera of the settings fits.

    Raises:
        UsageError: CAMERA_UNKNOWN: no camera has the name given, or seats are named and no camera is known;
            REGION_UNKNOWN: a seat is no region of the camera; REGION_TWICE, REGION_OUTSIDE, REGIONS_OVERLAP: the
            camera's regions cannot be told apart.
        Gap: CAMERA_AMBIGUOUS: the source may be several cameras'.
    """
    tables = site.settings.camera
    if source.camera:
        found = [table for table in tables if table.name == source.camera]
    else:
        places = _places(source)
        found = [table for table in tables if _fits(table, places)]
    if len(found) > 1:
        raise Gap(
            "the source may be several cameras'",
            hint=f"give --camera NAME, or narrow their sources in fabnet.toml: {_named(found)}",
            code="CAMERA_AMBIGUOUS",
        )
    if not found and (source.camera or source.seats):
        what = "no camera has that name" if source.camera else "seats are named, but no camera fits the source"
        raise UsageError(what, hint=f"the cameras of fabnet.toml are: {_named(tables)}", code="CAMERA_UNKNOWN")
    return _checked(found[0], source.seats) if found else None


def regions_of(
    camera: Camera | None, seats: Mapping[str, str], subject_of: Mapping[str, SubjectId]
) -> tuple[Region, ...]:
    """Turn a camera's regions into seats for binding, each with the person who consented to sit there.

    Args:
        camera: as found; None has no regions.
        seats: name of a region → consent id; for that region it counts before the settings'.
        subject_of: whose each of those consents is.

    Returns:
        Every region; one without a consent is :data:`~fabnet_secure.video.bind.NOBODY`'s.
    """
    if camera is None:
        return ()
    consents = camera.consents | dict(seats)
    return tuple(
        Region(
            name=region.name,
            box=region.box,
            person=subject_of[consents[region.name]] if consents.get(region.name) else NOBODY,
        )
        for region in camera.regions
    )


def _places(source: Source) -> frozenset[str]:
    """Return the names under which a source's place may be written in a pattern."""
    if source.path is not None:
        kept = os.path.abspath(source.path)  # noqa: PTH100  Path.absolute keeps "..", Path.resolve follows links
        return frozenset({kept, os.path.realpath(source.path)})
    plain = without_secrets(source.url)
    device = plain.removeprefix(_DEVICE)
    return frozenset({plain, device, _DEVICE + device} if device.startswith("/") else {plain})


def _fits(table: CameraTable, places: frozenset[str]) -> bool:
    return any(place == pattern or fnmatchcase(place, pattern) for pattern in table.sources for place in places)


def _checked(table: CameraTable, seats: Mapping[str, str]) -> Camera:
    regions = table.region
    names = [region.name for region in regions]
    if not set(seats) <= set(names):
        hint = f"the regions before camera {table.name} are: {', '.join(sorted(names)) or 'none'}"
        raise UsageError("a seat is no region of the camera", hint=hint, code="REGION_UNKNOWN")
    if len(set(names)) < len(names):
        raise UsageError("two regions have one name", hint=_look(table), code="REGION_TWICE")
    if any(low + extent > 1 + _ROUNDING for region in regions for low, extent in _sides(region)):
        what = "a region leaves the picture"
        hint = f"a box is [x, y, width, height] in shares of the picture; {_look(table)}"
        raise UsageError(what, hint=hint, code="REGION_OUTSIDE")
    for one, other in combinations(regions, 2):
        if _overlap(one, other):
            hint = f"'{one.name}' and '{other.name}' share a part of the picture; {_look(table)}"
            raise UsageError("two regions overlap", hint=hint, code="REGIONS_OVERLAP")
    return Camera(name=table.name, regions=regions)


def _sides(region: RegionTable) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return (left, width) and (top, height)."""
    x, y, width, height = region.box
    return (x, width), (y, height)


def _overlap(one: RegionTable, other: RegionTable) -> bool:
    pairs = zip(_sides(one), _sides(other), strict=True)
    return all(min(a + wide, b + broad) - max(a, b) > _ROUNDING for (a, wide), (b, broad) in pairs)


def _look(table: CameraTable) -> str:
    return f"see [[camera]] '{table.name}' in fabnet.toml"


def _named(tables: Sequence[CameraTable]) -> str:
    return ", ".join(sorted({table.name for table in tables})) or "none"
