"""The two passes over a video: find and follow faces, then cut out the bound ones.

Guarantees: the first pass keeps boxes only, no pixels of any frame; the second crops no track but those
asked for, and paints over every other track's face. Does not guarantee that the file is the same in both
passes; when frames are missing the second time, nothing is returned (SOURCE_CHANGED).
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from fabnet_secure.errors import UnreadableSource
from fabnet_secure.progress import Progress, Silent
from fabnet_secure.video.crop import MARGIN, crop
from fabnet_secure.video.detect import Box, Detector
from fabnet_secure.video.reader import Pixels, open_video
from fabnet_secure.video.track import Track, Tracker, TrackerSettings, iou

CUT_DIFFERENCE = 10.0  # one take of the clips tried: at most 7.0; another talker before the same wall: 12.5
_THUMBNAIL = (32, 18)
_LINGER = 5
_SAME_PLACE = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What the first pass saw.

    Attributes:
        tracks: every track, by number.
        frames_read: number of frames decoded.
        width: of the frames, in pixels.
        height: of the frames, in pixels.
        fps: frames per second as the container says; 0.0 when it does not.
        scenes: number of scenes (cuts + 1).
    """

    tracks: tuple[Track, ...]
    frames_read: int
    width: int
    height: int
    fps: float
    scenes: int


def observe(
    path: Path,
    detector: Detector,
    settings: TrackerSettings | None = None,
    progress: Progress | None = None,
) -> Observation:
    """Find and follow every face of the video at ``path``.

    Raises:
        UnreadableSource: as :func:`fabnet_secure.video.reader.open_video`.
    """
    news = progress or Silent()
    tracker = Tracker(settings)
    before: npt.NDArray[np.int16] | None = None
    scenes = 1
    with open_video(path) as stream:
        for frame in stream:
            now = _thumbnail(frame.pixels)
            if before is not None and float(np.abs(now - before).mean()) > CUT_DIFFERENCE:
                tracker.cut()
                scenes += 1
            before = now
            tracker.update(frame.index, detector.detect(frame.pixels))
            news.advance("detect", frame.index + 1, stream.expected)
        return Observation(
            tracks=tracker.finish(),
            frames_read=stream.frames_read,
            width=stream.width,
            height=stream.height,
            fps=stream.fps,
            scenes=scenes,
        )


def crop_tracks(
    path: Path,
    wanted: Mapping[int, Sequence[int]],
    size: int,
    tracks: Sequence[Track],
    *,
    margin: float = MARGIN,
    progress: Progress | None = None,
) -> dict[int, Pixels]:
    """Read the video again and cut out the tracks that were bound.

    Args:
        path: the video that :func:`observe` saw.
        wanted: number of each bound track → indices of frames in rising order (``crop.select``).
        size: side of a crop in pixels.
        tracks: every track of the video: the boxes of those wanted, and of all others to paint over.
        margin: as in :func:`fabnet_secure.video.crop.crop`.
        progress: told of each frame as stage "crop".

    Returns:
        Number of track → (n, size, size, 3) uint8 RGB, in the order of ``wanted``'s frames.

    Raises:
        UnreadableSource: as ``open_video``; or code SOURCE_CHANGED: the file no longer holds the frames.
        ValueError: a frame is wanted in which the track has no box.
    """
    news = progress or Silent()
    jobs = _plan_crops(wanted, tracks)
    crops: dict[int, Pixels] = {
        number: np.zeros((len(indices), size, size, 3), np.uint8) for number, indices in wanted.items()
    }
    last = max(jobs, default=-1)
    if last < 0:
        return crops
    done = 0
    with open_video(path) as stream:
        for frame in stream:
            for job in jobs.get(frame.index, ()):
                crops[job.number][job.place] = crop(frame.pixels, job.box, size, margin, job.others)
            done = frame.index
            news.advance("crop", done + 1, last + 1)
            if done >= last:
                break
    if done < last:
        raise UnreadableSource(
            "the video changed while it was read",
            hint="ingest a file that nothing else writes to",
            code="SOURCE_CHANGED",
        )
    return crops


@dataclass(frozen=True, slots=True, kw_only=True)
class _CropJob:
    """One crop to cut from one frame."""

    number: int
    place: int
    box: Box
    others: tuple[Box, ...]


def _plan_crops(wanted: Mapping[int, Sequence[int]], tracks: Sequence[Track]) -> dict[int, list[_CropJob]]:
    """List the crops by frame, each with the boxes to paint over."""
    boxes = {track.number: {box.index: box.detection.box for box in track.boxes} for track in tracks}
    jobs: dict[int, list[_CropJob]] = defaultdict(list)
    for number, indices in wanted.items():
        for place, index in enumerate(indices):
            if index not in boxes.get(number, {}):
                raise ValueError(f"track {number} has no box in frame {index}")
            own = boxes[number][index]
            others = [box for track in tracks if track.number != number for box in boxes_near(track, index, own)]
            jobs[index].append(_CropJob(number=number, place=place, box=own, others=tuple(others)))
    return dict(jobs)


def boxes_near(track: Track, index: int, own: Box) -> tuple[Box, ...]:
    """Return where a neighbour's face is, or must be thought to be, in frame ``index``.

    That is its box. Where it has none, the detector may have missed it: then the boxes on both sides of the
    gap, or for a few frames before its first and after its last box that box; but not where ``own``, the face
    to be cropped, is seen in that very place (it is then most likely the same face under another number).
    """
    if not track.first - _LINGER <= index <= track.last + _LINGER:
        return ()
    after = bisect_left(track.boxes, index, key=lambda box: box.index)
    if after < track.frames and track.boxes[after].index == index:
        return (track.boxes[after].detection.box,)
    sides = [box.detection.box for box in track.boxes[max(0, after - 1) : after + 1]]
    return tuple(box for box in sides if iou(box, own) < _SAME_PLACE)


def _thumbnail(pixels: Pixels) -> npt.NDArray[np.int16]:
    """Shrink a frame to 32 by 18: enough to see a cut, too little to see a face."""
    return np.asarray(cv2.resize(pixels, _THUMBNAIL, interpolation=cv2.INTER_AREA)).astype(np.int16)
