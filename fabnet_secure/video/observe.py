"""The one pass over a video: find and follow faces, and hold a bounded number of face squares meanwhile.

Guarantees: each frame is shown to the detector, or follows by less than ``interval`` frames one in which every
face was being followed without doubt; squares are cut only from frames that the detector saw, other faces are
painted over before anything is computed from a square, and nothing but its quality is; squares lie in locked
memory where the system allows, within the budgets, and are zeroed when they are let go. Does not guarantee that a
face shown for less than ``interval`` frames is counted; nothing of it is held either.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fabnet_secure.errors import UsageError
from fabnet_secure.progress import Progress, Silent
from fabnet_secure.video.candidates import LEAST, Candidate, Store, no_store, slots_of
from fabnet_secure.video.crop import Cutter, paint_over, square_of
from fabnet_secure.video.cuts import NO_CHANGE, compare
from fabnet_secure.video.detect import Box, Detection, Eye
from fabnet_secure.video.reader import Frame, Pixels, VideoStream
from fabnet_secure.video.select import Quality, motion_of
from fabnet_secure.video.track import Track, Tracker, TrackerSettings, iou

_LINGER = 5
_SAME_PLACE = 0.3
_UNSEEN_MS = 250.0  # however low the frame rate, the detector is not left out for longer
_USUAL_FPS = 25.0
_LONGEST_MS = 86_400_000.0  # no two frames of a video are a day apart


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserveSettings:
    """How often to look, and how much to hold.

    Attributes:
        interval: while every face is followed without doubt, the detector looks at every interval-th frame.
        steady_after: looks in a row without doubt after which that begins.
        crop_size: side of a candidate in pixels.
        crops_per_second: candidates taken of one track, at most, by presentation time.
        tracklet_bytes: of one track's candidates together.
        frames_per_tracklet: number of one track's candidates.
        video_bytes: of all candidates of a video together.
        min_track_frames: a track that ends after covering fewer frames gives up its candidates at once.
        smallest_face: longer side in frame pixels; smaller faces are followed, but no candidate is taken.
    """

    interval: int = 1
    steady_after: int = 3
    crop_size: int = 128
    crops_per_second: float = 5.0
    tracklet_bytes: int = 1_572_864
    frames_per_tracklet: int = 32
    video_bytes: int = 67_108_864
    min_track_frames: int = 5
    smallest_face: float = 0.0

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing.

        Raises:
            UsageError: code POLICY_INVALID.
        """
        counts = min(self.interval, self.steady_after, self.crop_size)
        if counts < 1 or not self.crops_per_second > 0 or self.per_track < LEAST or self.slots < LEAST:
            raise UsageError(
                "the policy for candidates holds a value out of range",
                hint=f"the budgets have to hold {LEAST} crops; the other numbers are positive",
                code="POLICY_INVALID",
            )

    @property
    def per_track(self) -> int:
        """Number of candidates that one track may hold."""
        return min(self.frames_per_tracklet, slots_of(self.tracklet_bytes, self.crop_size))

    @property
    def slots(self) -> int:
        """Number of candidates that all tracks together may hold."""
        return slots_of(self.video_bytes, self.crop_size)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observation:
    """What one pass saw; it holds pixels until :meth:`wipe`.

    Attributes:
        tracks: every track, by number.
        frames_read: number of frames that went by.
        frames_detected: number of frames that the detector was shown.
        width: of the frames, in pixels.
        height: of the frames, in pixels.
        fps: frames per second as the container says; 0.0 when it does not.
        scenes: number of scenes (cuts + 1).
        locked: whether the reader's buffer and every candidate were in locked memory.
        store: the candidates' pixels.
        linger: frames before its first and after its last box in which a neighbour is thought to be there still.
    """

    tracks: tuple[Track, ...]
    frames_read: int
    frames_detected: int
    width: int
    height: int
    fps: float
    scenes: int
    locked: bool = False
    store: Store = field(default_factory=no_store, repr=False)
    linger: int = _LINGER

    def candidates(self, number: int) -> tuple[Candidate, ...]:
        """Return the candidates held of a track, in order of frames; none once it was released."""
        return tuple(candidate for candidate, _ in self.store.candidates(number))

    def crops(self, number: int) -> tuple[tuple[int, ...], Pixels]:
        """Return a track's crops with every other face that is known by now painted over.

        Returns:
            The frames' indices in rising order, and (n, size, size, 3) uint8 RGB in locked memory where the
            system allows. The array is zeroed by :meth:`release`.
        """
        held = self.store.candidates(number)
        crops = self.store.copies(number, len(held))
        if not held:
            return (), crops
        first, last = held[0][0].index - self.linger, held[-1][0].index + self.linger
        others = [
            track for track in self.tracks if track.number != number and first <= track.last and track.first <= last
        ]
        for crop, (candidate, picture) in zip(crops, held, strict=True):
            np.copyto(crop, picture)
            square = square_of(candidate.box)
            near = [box for track in others for box in boxes_near(track, candidate.index, candidate.box, self.linger)]
            paint_over(crop, [square.place(box, self.store.size / square.side) for box in near if square.meets(box)])
        return tuple(candidate.index for candidate, _ in held), crops

    def release(self, number: int) -> None:
        """Zero the candidates of one track, and the crops made of them; again does nothing."""
        self.store.release(number)

    def wipe(self) -> None:
        """Zero the candidates and crops of every track; again does nothing."""
        self.store.wipe()


def observe(
    stream: VideoStream,
    detector: Eye,
    settings: ObserveSettings | None = None,
    *,
    tracker: TrackerSettings | None = None,
    progress: Progress | None = None,
) -> Observation:
    """Find and follow every face of a video, and hold candidates of each.

    Raises:
        UnreadableSource: as the stream. No candidate is left in memory then.
    """
    watch = _Watch(stream, detector, settings or ObserveSettings(), tracker or TrackerSettings())
    news = progress or Silent()
    try:
        while stream.grab():
            if watch.is_due(stream.frames_read - 1, stream.time_ms):
                watch.look(stream.frame())
                news.advance("detect", stream.frames_read, stream.expected)
        news.advance("detect", stream.frames_read, stream.expected)
        return watch.finish()
    except BaseException:
        watch.store.wipe()
        raise
    finally:
        watch.cutter.wipe()


class _Watch:
    """The state of one pass."""

    def __init__(self, stream: VideoStream, detector: Eye, settings: ObserveSettings, tracker: TrackerSettings) -> None:
        self._stream = stream
        self._detector = detector
        self._settings = settings
        self._ahead = _frames_ahead(settings.interval, stream.fps)
        self._ahead_ms = self._ahead * 1000 / (stream.fps or _USUAL_FPS)
        self._tracker = Tracker(replace(tracker, max_skip=self._ahead - 1))
        self._linger = max(_LINGER, self._ahead)
        self._next = 0
        self._looks = 0
        self._scenes = 1
        self._index = 0
        self._time_ms = -math.inf
        self._before: Pixels | None = None
        self._taken: dict[int, int] = {}
        self._places: dict[int, tuple[int, Box]] = {}
        self.cutter = Cutter(settings.crop_size)
        self.store = Store(size=settings.crop_size, per_track=settings.per_track, slots=settings.slots)

    def is_due(self, index: int, time_ms: float) -> bool:
        """Tell whether the detector has to see frame ``index``: by its number, or since it looked away for too long.

        The container's rate is an average; where frames come slower than it says, their own times count.
        """
        return index >= self._next or time_ms - self._time_ms >= _UNSEEN_MS

    def look(self, frame: Frame) -> None:
        """Show a frame to the detector, follow its faces, and take candidates."""
        seen = self._detector.look(frame.pixels)
        change = NO_CHANGE
        if self._before is not None:
            change = compare(self._before, seen.thumbnail, frame.index - self._index)
        if change.cut:
            self._close(self._tracker.cut())
            self._places.clear()
        self._scenes += change.cut
        self._time_ms = self._time_of(frame)
        self._index, self._before = frame.index, seen.thumbnail
        self._looks += 1
        self._follow(frame, seen.detections)
        if change.restless:
            self._tracker.unsettle()
        steady = self._tracker.steady(
            self._settings.steady_after, self._ahead * 1000 / (self._stream.fps or _USUAL_FPS)
        )
        self._next = frame.index + (self._ahead if steady else 1)

    def finish(self) -> Observation:
        """End every track and hand over."""
        tracks = self._tracker.finish()
        self._close([track for track in tracks if track.split == "end"])
        stream = self._stream
        return Observation(
            tracks=tracks,
            frames_read=stream.frames_read,
            frames_detected=self._looks,
            width=stream.width,
            height=stream.height,
            fps=stream.fps,
            scenes=self._scenes,
            locked=self.store.locked and self.cutter.locked and stream.locked,
            store=self.store,
            linger=self._linger,
        )

    def _time_of(self, frame: Frame) -> float:
        """Return the frame's time; where what is stated makes no sense, count on from the last at the stated rate."""
        if self._time_ms < frame.time_ms < max(self._time_ms, 0.0) + _LONGEST_MS:
            return frame.time_ms
        return max(self._time_ms, 0.0) + (frame.index - self._index) * 1000 / (self._stream.fps or _USUAL_FPS)

    def _follow(self, frame: Frame, seen: Sequence[Detection]) -> None:
        """Give the faces to the tracker, and take what candidates are due."""
        step = self._tracker.update(frame.index, seen, self._time_ms)
        self._close(step.ended)
        for number in step.numbers:
            self._places.pop(number, None)
        lingering = [box for index, box in self._places.values() if frame.index - index <= self._linger]
        for number, detection in zip(step.numbers, seen, strict=True):
            if self._is_time(number) and max(detection.box[2:]) >= self._settings.smallest_face:
                others = [other.box for other in seen if other is not detection]
                others += [box for box in lingering if iou(box, detection.box) < _SAME_PLACE]
                self._take(frame, number, detection, others)
        for number, detection in zip(step.numbers, seen, strict=True):
            self._places[number] = (frame.index, detection.box)
        if len(self._places) > len(seen):
            self._places = {
                number: place for number, place in self._places.items() if frame.index - place[0] <= self._linger
            }

    def _is_time(self, number: int) -> bool:
        """Tell whether a candidate of the track is due, and count it: one in each 1/crops_per_second of a second."""
        turn = math.floor(self._time_ms * self._settings.crops_per_second / 1000 + 1e-6)
        if self._taken.get(number) == turn:
            return False
        self._taken[number] = turn
        return True

    def _take(self, frame: Frame, number: int, detection: Detection, others: Sequence[Box]) -> None:
        """Cut a face out and offer it to the store."""
        picture = self.cutter.cut(frame.pixels, square_of(detection.box), others)
        figures = self.cutter.measure()
        quality = Quality(
            size_px=max(detection.box[2:]),
            score=detection.score,
            sharpness=figures.sharpness,
            exposure=figures.exposure,
        )
        candidate = Candidate(index=frame.index, time_ms=self._time_ms, box=detection.box, quality=quality)
        self.store.offer(number, candidate, picture, motion_of(detection))

    def _close(self, ended: Sequence[Track]) -> None:
        """Free what too short a track holds; from now on the others can only lose candidates."""
        for track in ended:
            self._taken.pop(track.number, None)
            if track.frames < self._settings.min_track_frames:
                self.store.release(track.number)
            else:
                self.store.end(track.number, track.frames)


def boxes_near(track: Track, index: int, own: Box, linger: int = _LINGER) -> tuple[Box, ...]:
    """Return where a neighbour's face is, or must be thought to be, in frame ``index``.

    That is its box. Where it has none, the detector may have missed it: then the boxes on both sides of the
    gap, or for a few frames before its first and after its last box that box; but not where ``own``, the face
    to be cropped, is seen in that very place (it is then most likely the same face under another number).
    """
    if not track.first - linger <= index <= track.last + linger:
        return ()
    after = bisect_left(track.boxes, index, key=lambda box: box.index)
    if after < track.seen and track.boxes[after].index == index:
        return (track.boxes[after].detection.box,)
    sides = [box.detection.box for box in track.boxes[max(0, after - 1) : after + 1]]
    return tuple(box for box in sides if iou(box, own) < _SAME_PLACE)


def _frames_ahead(interval: int, fps: float) -> int:
    """Return the interval, less where the frame rate is so low, or unknown, that too much could happen in it."""
    return max(1, min(interval, int(fps * _UNSEEN_MS / 1000)))
