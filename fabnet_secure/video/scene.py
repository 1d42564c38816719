"""What is known of a video beside its tracks, and how strictly the site binds.

Persons are opaque labels here: nothing in this module says who they are. Guarantees that a policy holds no value out
of range; does not check that regions keep apart (``pipeline/cameras.py`` does, where they are read).
"""

from dataclasses import dataclass
from typing import Literal

from fabnet_secure.errors import UsageError
from fabnet_secure.video.detect import Box

NOBODY = ""
"""The person of an assignment or a region in which nobody is bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The operator's word about one track.

    Attributes:
        person: whose the track is; :data:`NOBODY` when the operator looked and bound it to nobody.
        track: number of the track; None when it is named by a box.
        frame: index of the frame that ``box`` lies in.
        box: (x, y, width, height) in pixels around the face.
    """

    person: str
    track: int | None = None
    frame: int = -1
    box: Box | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A seat: a fixed part of the picture in which one person is.

    Attributes:
        name: what the site calls it.
        box: (x, y, width, height) in shares of the frame, 0 to 1.
        person: who sits there; :data:`NOBODY` when nobody may be bound there.
    """

    name: str
    box: Box
    person: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What is known of a video beside its tracks.

    Attributes:
        persons: everybody that it was declared to show.
        assignments: the operator's word; when there is any, nothing else is bound.
        regions: the camera's seats.
        width: of the frames, in pixels.
        height: of the frames, in pixels.
        known_camera: whether the site's settings name the camera.
    """

    persons: tuple[str, ...]
    assignments: tuple[Assignment, ...] = ()
    regions: tuple[Region, ...] = ()
    width: int
    height: int
    known_camera: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingPolicy:
    """How strictly tracks are bound.

    Attributes:
        min_track_frames: tracks that cover fewer frames are dropped, and are no second face by themselves.
        min_face_px: tracks of a smaller median size (longer side of the box) are dropped.
        primary_track: with one person and several faces, ``quarantine`` the video or bind the ``largest`` track.
        max_faces: more faces than this at one time quarantine the video whatever ``primary_track`` says.
        max_bystander_share: where ``largest`` or seats tell several faces apart, a larger share of all face time
            that is bound to nobody quarantines the video.
        unknown_camera: ``quarantine`` what comes from a camera that the site does not name, or ``allow`` it.
        max_flicker_share: a second face seen again and again, each time too shortly to count, counts when it
            is there in more than this share of the frames (and in more than ``min_track_frames`` of them).
        max_absence_frames: after a longer absence the face is not taken to be the same person's.
        max_jump: a face that comes back farther away than this many face sizes is not taken to be the same.
        across_cuts: whether a face in another scene is taken to be the same person's.
    """

    min_track_frames: int = 5
    min_face_px: float = 48.0
    primary_track: Literal["quarantine", "largest"] = "quarantine"
    max_faces: int = 4
    max_bystander_share: float = 0.5
    unknown_camera: Literal["allow", "quarantine"] = "allow"
    max_flicker_share: float = 0.05
    max_absence_frames: int = 75
    max_jump: float = 2.0
    across_cuts: bool = False

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing.

        Raises:
            UsageError: code POLICY_INVALID.
        """
        known = self.primary_track in {"quarantine", "largest"} and self.unknown_camera in {"allow", "quarantine"}
        least = min(self.min_track_frames, self.max_faces) >= 1 and self.max_bystander_share <= 1
        rest = (self.min_face_px, self.max_bystander_share, self.max_flicker_share, self.max_absence_frames)
        if not (known and least and all(value >= 0 for value in (*rest, self.max_jump))):
            raise UsageError(
                "the binding policy holds a value out of range",
                hint="primary_track is quarantine or largest; the numbers are positive, the shares at most 1",
                code="POLICY_INVALID",
            )
