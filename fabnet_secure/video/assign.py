"""The operator's word: which track is whose, by its number or by a box drawn in a frame.

Guarantees: a track gets a person only if exactly that track was meant; a box that fits no face or several, one face
given to two people and one person given two faces at a time bind nothing at all. Does not judge whether the operator
is right.
"""

from bisect import bisect_left
from collections.abc import Collection, Sequence

from fabnet_secure.errors import UsageError
from fabnet_secure.video.detect import Box
from fabnet_secure.video.presence import centre, holds, most_at_once
from fabnet_secure.video.scene import NOBODY, Assignment, Scene
from fabnet_secure.video.track import Track


def assigned(tracks: Sequence[Track], scene: Scene, too_little: Collection[int] = ()) -> dict[int, str]:
    """Map the numbers of the tracks that the operator assigned to their persons.

    Args:
        tracks: those that are long and large enough to be bound.
        scene: with the assignments.
        too_little: numbers of the other tracks; one that is named by its number stays dropped for what it is.

    Raises:
        UsageError: BOX_UNMATCHED, BOX_CONFLICT or PERSON_UNDECLARED.
    """
    said: dict[int, str] = {}
    for one in scene.assignments:
        if one.person != NOBODY and one.person not in scene.persons:
            raise UsageError(
                "a face is assigned to a person whom the video was not declared to show",
                hint="name the person's consent with --consent, too",
                code="PERSON_UNDECLARED",
            )
        if one.box is None and one.track in too_little:
            continue
        number = _meant(one, tracks)
        if said.setdefault(number, one.person) != one.person:
            raise UsageError(
                "one face is assigned to two people",
                hint="two of the boxes lie on the same track; give each face once",
                code="BOX_CONFLICT",
            )
    bound = {number: person for number, person in said.items() if person != NOBODY}
    for person in set(bound.values()):
        if most_at_once([track for track in tracks if bound.get(track.number) == person]) > 1:
            raise UsageError(
                "one person is assigned two faces that are seen at the same time",
                hint="one of the two boxes is somebody else's",
                code="BOX_CONFLICT",
            )
    return bound


def _meant(assignment: Assignment, tracks: Sequence[Track]) -> int:
    """Return the number of the one track that is meant."""
    if assignment.box is None:
        what, fitting = f"track {assignment.track}", [one for one in tracks if one.number == assignment.track]
    else:
        what = f"the box in frame {assignment.frame}"
        fitting = [one for one in tracks if _fits(one, assignment.frame, assignment.box)]
    if len(fitting) != 1:
        count = "more than one face" if fitting else "no face that is long and large enough"
        raise UsageError(
            f"{what} fits {count}",
            hint="the same command with --dry-run and no --box lists every face with its frames and boxes",
            code="BOX_UNMATCHED",
        )
    return fitting[0].number


def _fits(track: Track, frame: int, drawn: Box) -> bool:
    """Tell whether each box holds the other's centre: people draw heads where a detector draws faces."""
    face = box_at(track, frame)
    return face is not None and holds(face, centre(drawn)) and holds(drawn, centre(face))


def box_at(track: Track, frame: int) -> Box | None:
    """Return where the face was in ``frame`` (x, y, width, height in pixels), or None where it was not there.

    In a frame that the detector did not look at, that is on the straight line between the boxes around it.
    """
    if not track.first <= frame <= track.last:
        return None
    place = bisect_left(track.boxes, frame, key=lambda box: box.index)
    after = track.boxes[place]
    if after.index == frame:
        return after.detection.box
    before = track.boxes[place - 1]
    share = (frame - before.index) / (after.index - before.index)
    pairs = zip(before.detection.box, after.detection.box, strict=True)
    x, y, width, height = (old + share * (new - old) for old, new in pairs)
    return x, y, width, height


def key_frames(track: Track) -> tuple[int, int, int]:
    """Return the frames at a track's start, middle and end."""
    middle = (track.first + track.last) // 2
    return track.first, middle, track.last
