"""Makes tracks of labelled frames and whole video files of made-up people.

Guarantees: everything follows from the seeds; the files hold synthetic people only. Does not promise the same bytes
from another build of OpenCV's encoder.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fabnet_secure.errors import StorageFailed, UsageError
from fabnet_secure.synth.head import HeadModel, load_head
from fabnet_secure.synth.motion import Motion, wander
from fabnet_secure.synth.person import Person
from fabnet_secure.synth.raster import Floats, Pixels
from fabnet_secure.synth.render import LabelledFrame, draw_cutout, render, to_pixels
from fabnet_secure.synth.scene import Camera, Light, draw_background
from fabnet_secure.synth.surface import pose_surface

_CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
_MOST_PEOPLE = 3
# Camera distances for 1, 2, 3 people side by side, and how far they turn: detectors lose small profiles first.
_DISTANCES = {1: 1.12, 2: 1.3, 3: 1.65}
_REACH = 0.8
# Half the height of what the camera sees at distance 1, in decimetres.
_HALF_VIEW = 1.45


def track(head: HeadModel, seed: int, n: int, *, track_seed: int = 0, size: int = 128) -> Iterator[LabelledFrame]:
    """Yield ``n`` frames of the person of ``seed``: one light, one background, moving pose and expression.

    Args:
        head: the common mesh.
        seed: who; ``track_seed`` which occasion.
        n: how many frames, at 25 a second.
        track_seed: another number gives another motion, light and background of the same person.
        size: the side of the square frames in pixels.
    """
    person = Person.build(head, seed)
    rng = np.random.default_rng([seed, track_seed, 2])
    motion = Motion.draw(rng, n, units=head.units)
    light, background = Light.draw(rng), draw_background(rng, size, size)
    distance, right, up = rng.uniform(0.95, 1.2), rng.normal(0, 0.06), rng.normal(0, 0.06)
    sway, bob = wander(rng, n, 0.06, period=3.0), wander(rng, n, 0.05, period=3.0)
    for k in range(n):
        camera = Camera(distance=distance, right=right + float(sway[k]), up=up + float(bob[k]))
        yield render(
            head,
            person,
            motion.pose[k],
            motion.expression[k],
            motion.gaze[k],
            light,
            camera=camera,
            background=background,
            grain=rng,
        )


def write_clip(
    path: Path,
    people: Sequence[int],
    *,
    frames: int = 75,
    width: int = 320,
    height: int = 240,
    fps: int = 25,
    track_seed: int = 0,
    stamp: Pixels | None = None,
) -> None:
    """Write a video file of one to three made-up people side by side.

    Args:
        path: ``.mp4`` (MPEG-4 part 2) or ``.avi`` (Motion JPEG); overwritten.
        people: the persons' seeds, from left to right.
        frames: how many frames.
        width: of the picture in pixels; ``height`` likewise.
        height: of the picture in pixels.
        fps: frames a second that the file states; motion is drawn for 25.
        track_seed: another number gives another occasion.
        stamp: (h, w, 3) uint8 BGR, pasted into the top left corner of every frame (codecs are lossy).

    Raises:
        UsageError: the suffix, the number of people or a size cannot be used (``SYNTH_CLIP``).
        StorageFailed: the file cannot be written.
        UsageError: the head's data is not installed (``SYNTH_DATA_MISSING``).
    """
    _check(path, people, frames, width, height, stamp)
    head = load_head()
    rng = np.random.default_rng([track_seed, frames, 3])
    scene = _Scene(
        head=head,
        cast=tuple(_Role.draw(head, seed, frames, track_seed, len(people)) for seed in people),
        light=Light.draw(rng),
        background=draw_background(rng, width, height),
    )
    with _open_writer(path, width, height, fps) as writer:
        for k in range(frames):
            picture = to_pixels(scene.draw(k), rng)
            if stamp is not None:
                picture[: stamp.shape[0], : stamp.shape[1]] = stamp
            writer.write(picture)


def _check(path: Path, people: Sequence[int], frames: int, width: int, height: int, stamp: Pixels | None) -> None:
    """Refuse what cannot be drawn or encoded."""
    problem = ""
    if path.suffix.lower() not in _CODECS:
        problem = "a clip's name must end in .mp4 or .avi"
    elif not 1 <= len(people) <= _MOST_PEOPLE:
        problem = f"a clip shows one to three people, not {len(people)}"
    elif frames < 1 or width < 32 or height < 32 or width % 2 or height % 2:
        problem = "a clip needs a frame, and an even width and height of at least 32 pixels"
    elif stamp is not None and (stamp.shape[0] > height or stamp.shape[1] > width):
        problem = "the stamp is larger than the picture"
    if problem:
        raise UsageError(problem, hint="change the argument", code="SYNTH_CLIP")


@contextmanager
def _open_writer(path: Path, width: int, height: int, fps: int) -> Iterator[cv2.VideoWriter]:
    """Open the encoder and close it in any case."""
    codec = cv2.VideoWriter.fourcc(*_CODECS[path.suffix.lower()])
    writer = cv2.VideoWriter(str(path), codec, fps, (width, height))
    if not writer.isOpened():
        raise StorageFailed("the clip cannot be written", hint="check the folder and the free space")
    try:
        yield writer
    finally:
        writer.release()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Role:
    """One person in a clip: who, how they move, and how they sway about their place."""

    person: Person
    motion: Motion
    sway: Floats
    bob: Floats
    distance: float

    @classmethod
    def draw(cls, head: HeadModel, seed: int, frames: int, track_seed: int, company: int) -> "_Role":
        """Draw what the person of ``seed`` does on this occasion among ``company`` people."""
        rng = np.random.default_rng([seed, track_seed, 4])
        return cls(
            person=Person.build(head, seed),
            motion=Motion.draw(rng, frames, units=head.units, reach=_REACH),
            sway=wander(rng, frames, 0.07, period=3.0),
            bob=wander(rng, frames, 0.05, period=3.0),
            distance=_DISTANCES[company] * float(rng.uniform(0.96, 1.06)),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Scene:
    """A clip's people before one background under one light."""

    head: HeadModel
    cast: tuple[_Role, ...]
    light: Light
    background: Floats

    def draw(self, k: int) -> Floats:
        """Return frame ``k``: (H, W, 3) RGB within [0, 1]."""
        picture = self.background.copy()
        height, width = picture.shape[:2]
        column = width / len(self.cast)
        for place, role in enumerate(self.cast):
            self._paste(picture, role, k, centre=(place + 0.5) * column, height=height, column=column)
        return picture

    def _paste(self, picture: Floats, role: _Role, k: int, *, centre: float, height: int, column: float) -> None:
        """Draw one person over the picture, about the pixel column ``centre``."""
        motion = role.motion
        surface = pose_surface(self.head, role.person, motion.pose[k], motion.expression[k], motion.gaze[k], self.light)
        # A picture taller than its columns: step back until the head fits the column.
        distance = role.distance * max(1.0, 0.62 * height / column / role.distance)
        camera = Camera(distance=distance, right=float(role.sway[k]), up=float(role.bob[k]))
        wide = _even(min(picture.shape[1], 2.6 / (_HALF_VIEW * distance) * height))
        cutout = draw_cutout(role.person, surface, self.light, camera, width=wide, height=height)
        left = round(centre - wide / 2)
        first, last = max(left, 0), min(left + wide, picture.shape[1])
        inside = np.s_[:, first - left : last - left]
        picture[:, first:last] *= 1 - cutout.cover[inside]
        picture[:, first:last] += cutout.colour[inside]


def _even(length: float) -> int:
    """Round up to an even number of pixels."""
    return int(np.ceil(length / 2)) * 2
