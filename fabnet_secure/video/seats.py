"""Seats: fixed parts of a camera's picture in which one person is.

Guarantees: a track is a seat's person's only if its face never left that one seat, no other face was in the seat
meanwhile, not even in glimpses that add up, and the same person is not seen on another seat meanwhile. Does not
guarantee that the person named sits there: whoever takes the seat is taken for them.
"""

from collections.abc import Mapping, Sequence

from fabnet_secure.video.detect import Box
from fabnet_secure.video.presence import centre, flickers, holds, looks_of, meet, spans_within
from fabnet_secure.video.scene import NOBODY, BindingPolicy, Region, Scene
from fabnet_secure.video.track import Track


def seated(
    remaining: Sequence[Track], dropped: Sequence[Track], scene: Scene, policy: BindingPolicy
) -> tuple[dict[int, str], dict[int, str]]:
    """Map tracks to the persons of their seats, and others to the reason why they are nobody's.

    Args:
        remaining: tracks that are long and large enough.
        dropped: the others, whose glimpses may add up.
        scene: with the regions and the size of the frames.
        policy: from when on glimpses add up.

    Returns:
        Number of track → person; number of track → reason, ``unbound`` where there is neither.
    """
    looks = looks_of(remaining, dropped)
    seats = [(region, _in_pixels(region, scene)) for region in scene.regions]
    homes = {track.number: _seat_of(track, seats) for track in remaining}
    reasons = {number: "outside_regions" for number, home in homes.items() if home is None}
    persons: dict[int, str] = {}
    contested: set[int] = set()
    for region, box in seats:
        here = [track for track in remaining if homes[track.number] is region]
        contested |= meet({track.number: spans_within(track, box) for track in remaining})
        if flickers([track for track in dropped if spans_within(track, box)], here, looks, policy):
            contested |= {track.number for track in here}
        if region.person != NOBODY and region.person in scene.persons:
            persons |= {track.number: region.person for track in here}
    contested |= _twice(remaining, persons)
    reasons |= {number: "ambiguous" for number in contested if homes[number] is not None}
    return {number: person for number, person in persons.items() if number not in contested}, reasons


def _twice(tracks: Sequence[Track], persons: Mapping[int, str]) -> set[int]:
    """Return the tracks of people who would be in two places at once: one of the two is somebody else."""
    found: set[int] = set()
    for person in set(persons.values()):
        own = (track for track in tracks if persons.get(track.number) == person)
        found |= meet({track.number: [(track.first, track.last)] for track in own})
    return found


def _in_pixels(region: Region, scene: Scene) -> Box:
    """Return the region's (x, y, width, height) in pixels of the scene's frames."""
    x, y, width, height = region.box
    return x * scene.width, y * scene.height, width * scene.width, height * scene.height


def touches(track: Track, scene: Scene) -> bool:
    """Tell whether the track's face was ever in one of the regions."""
    return any(spans_within(track, _in_pixels(region, scene)) for region in scene.regions)


def _seat_of(track: Track, seats: Sequence[tuple[Region, Box]]) -> Region | None:
    """Return the one region that every box's centre lies in, or None."""
    centres = [centre(box.detection.box) for box in track.boxes]
    touched = [region for region, box in seats if any(holds(box, at) for at in centres)]
    kept = [region for region, box in seats if all(holds(box, at) for at in centres)]
    return kept[0] if len(kept) == len(touched) == 1 else None
