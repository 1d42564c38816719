"""Open a video file and look at its frames, one at a time, in one buffer.

Guarantees: only a regular file is opened, once, and what was checked is what is decoded; every picture lies in one
buffer (a turned video: in two), locked into RAM where the kernel allows, overwritten whole by the next picture and
zeroed at the end, at every failure and on exit; a :class:`Frame` refuses to be copied or pickled; no decoder of sound
is ever opened; one thread decodes; times rise from frame to frame and start at 0 or above; every failure is an
:class:`UnreadableSource` with a stable code. Does not guarantee: that the copies FFmpeg and OpenCV keep while they
decode are locked, or zeroed when they are freed; nor that a damaged picture inside a whole file is told (FFmpeg
conceals it; up to eight in a row that it cannot decode at all are stepped over).

The buffer is not zeroed between two pictures: OpenCV converts each into memory of its own and then copies all of it
over the buffer, so zeroing would hide nothing that the copy does not, and would cost about 2 % of the decoder's time.
"""

import errno
import math
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol, Self

import cv2
import numpy as np
import numpy.typing as npt

from fabnet_secure.errors import UnreadableSource
from fabnet_secure.memory import locked_zeros
from fabnet_secure.video import LOCAL, av1, container, decoder, sizes
from fabnet_secure.video.container import Kind
from fabnet_secure.video.decoder import MAX_PIXELS, has_ffmpeg
from fabnet_secure.video.sizes import SizeWatch

__all__ = ["MAX_PIXELS", "Frame", "Pixels", "VideoStream", "has_ffmpeg", "open_video"]

Pixels = npt.NDArray[np.uint8]
Capture = cv2.VideoCapture | av1.Av1Capture

_FASTEST = 1000.0  # frames a second
_COMMON_FPS = 25.0
_MOST_FRAMES = 1e12
_LATEST_MS = 1e12  # thirty years
_DAMAGED = 8  # pictures in a row
_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
_MISSING_SHARE = 0.10
_MISSING_FRAMES = 5
_COUNTED = frozenset({Kind.MP4, Kind.AVI})  # only these write down how many frames they hold


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One picture, valid only until the next one is asked for.

    Attributes:
        pixels: (height, width, 3) uint8, BGR: a read-only view of the reader's buffer.
        index: number of the frame, from 0.
        time_ms: presentation time in milliseconds.
    """

    pixels: Pixels
    index: int
    time_ms: float

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse: raw frames never leave the process (docs/adr/0002)."""
        raise TypeError("a raw frame cannot be copied or pickled (docs/adr/0002)")


class _Watch(Protocol):
    """Sees the size of pictures that are not converted."""

    def changes(self) -> bool: ...


class VideoStream:
    """Frames of an open video, in order, once. Made by :func:`open_video` and ``live.open_live``.

    Attributes:
        width: of every frame, in pixels, after turning it as its metadata says.
        height: of every frame, in pixels, likewise.
        fps: frames per second as the container says; 0.0 when it does not.
        expected: number of frames as the container says or FFmpeg estimates; None where that is not plausible, or
            proved wrong.
        frames_read: frames that went by so far, converted or not.
        locked: every buffer of this stream is locked into RAM.
        live: pictures come as they happen and cannot be read twice.
        descriptor: of the open file; None for a live stream.
    """

    live = False
    descriptor: int | None = None

    def __init__(
        self,
        capture: Capture,
        *,
        counted: Kind | None = None,
        size: int | None = None,
        watch: _Watch | None = None,
    ) -> None:
        self._capture = capture
        self._watch = watch
        self._counted = counted
        self.fps = _rate(capture.get(cv2.CAP_PROP_FPS))
        self._declared = _count(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.expected = self._declared if size is None or (self._declared or 0) <= size else None
        self.frames_read = 0
        self._time_ms = -1.0
        self._grabbed = False
        width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        _require_small(width * height)
        if not self._decode():
            raise _refusal("SOURCE_NO_FRAMES", "the video holds no picture that can be decoded")
        self._primed = True
        self._stored, self.locked = self._first_buffer(round(height), round(width))
        self._shown, self._turn = self._stored, _turn(capture)
        if self._turn is not None:
            self._shown, shown_locked = locked_zeros(_turned(self._stored.shape, self._turn))
            self.locked = self.locked and shown_locked
        self.height, self.width = self._shown.shape[:2]

    @property
    def time_ms(self) -> float:
        """Presentation time of the picture grabbed last, in milliseconds; it never falls."""
        return self._time_ms

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Frame:
        if not self.grab():
            raise StopIteration
        return self.frame()

    def grab(self) -> bool:
        """Go to the next picture without converting it.

        Returns:
            False at the end; then the buffer is zeroed, and the number of frames was found plausible.

        Raises:
            UnreadableSource: the stream ended before its time.
        """
        if self._watch is not None and self._watch.changes():
            self._finish()
            raise _size_changes()
        if not self._primed and not self._decode():
            self._finish()
            self._check_end()
            return False
        self._primed = False
        self._grabbed = True
        self._time_ms = self._next_time()
        self.frames_read += 1
        if self.expected is not None and self.frames_read > self.expected:
            self.expected = None
        return True

    def frame(self) -> Frame:
        """Convert the grabbed picture into the one buffer; at most once a :meth:`grab`.

        Raises:
            UnreadableSource: with code SOURCE_SIZE_CHANGES, or SOURCE_TRUNCATED where it cannot be converted.
            RuntimeError: no picture was grabbed since the last call.
        """
        if not self._grabbed:
            raise RuntimeError("frame() without grab()")
        self._grabbed = False
        if not self._convert():
            self.wipe()
            raise self._broken()
        pixels = self._shown.view()
        pixels.flags.writeable = False
        return Frame(pixels=pixels, index=self.frames_read - 1, time_ms=self._time_ms)

    def _finish(self) -> None:
        self._grabbed = False
        self.wipe()

    def wipe(self) -> None:
        """Overwrite the buffers with zeros."""
        self._stored.fill(0)
        self._shown.fill(0)

    def _decode(self) -> bool:
        """Decode the next picture; step over a few damaged ones."""
        return self._capture.grab() or any(self._capture.grab() for _ in range(_DAMAGED))

    def _convert(self) -> bool:
        read, pixels = self._capture.retrieve(self._stored)
        if not read:
            return False
        if not np.shares_memory(pixels, self._stored):
            fits = pixels.shape == self._stored.shape
            if fits:
                np.copyto(self._stored, pixels)
            np.asarray(pixels).fill(0)
            if not fits:
                self.wipe()
                raise _size_changes()
        if self._turn is not None:
            cv2.rotate(self._stored, self._turn, self._shown)
        return True

    def _first_buffer(self, height: int, width: int) -> tuple[Pixels, bool]:
        """Make the buffer that the first picture, already decoded, fits exactly; tell whether it is locked."""
        buffer, locked = locked_zeros((max(1, height), max(1, width), 3))
        read, pixels = self._capture.retrieve(buffer)
        if not read or pixels is None:
            raise _refusal("SOURCE_NO_FRAMES", "the video holds no picture that can be decoded")
        if np.shares_memory(pixels, buffer):
            return buffer, locked
        shape = pixels.shape
        np.asarray(pixels).fill(0)
        _require_small(shape[0] * shape[1])
        return locked_zeros(shape)

    def _next_time(self) -> float:
        """Return the picture's time; where the stream tells none, or goes back, one frame after the last."""
        told = self._told_time()
        if self._time_ms < 0:
            return told if math.isfinite(told) and 0 <= told < _LATEST_MS else 0.0
        if math.isfinite(told) and self._time_ms < told < _LATEST_MS:
            return told
        return self._time_ms + 1000 / (self.fps or _COMMON_FPS)

    def _told_time(self) -> float:
        return float(self._capture.get(cv2.CAP_PROP_POS_MSEC))

    def _check_end(self) -> None:
        declared = self._declared or 0
        # An AVI counts the empty frames, too, that repeat a picture: its times tell how far it was read.
        reached = max(self.frames_read, round(self._time_ms * self.fps / 1000) + 1)
        missing = declared - (reached if self._counted is Kind.AVI else self.frames_read)
        if self._counted is not None and missing > max(_MISSING_FRAMES, _MISSING_SHARE * declared):
            raise self._broken()

    def _broken(self) -> UnreadableSource:
        of = f" of {self._declared}" if self._declared else ""
        return _refusal(
            "SOURCE_TRUNCATED", f"the video stopped after {self.frames_read}{of} frames", "copy the whole file again"
        )


@contextmanager
def open_video(path: Path) -> Iterator[VideoStream]:
    """Open the video at ``path`` for one reading; the buffer is zeroed on exit.

    Raises:
        UnreadableSource: on entry with code SOURCE_MISSING, SOURCE_NOT_FILE (a folder, FIFO or device),
            SOURCE_UNREADABLE (no permission), SOURCE_EMPTY, SOURCE_NOT_VIDEO, SOURCE_AUDIO_ONLY,
            SOURCE_CODEC (AV1 without its decoder), SOURCE_NO_FRAMES, SOURCE_TOO_LARGE or SOURCE_TRUNCATED (the
            file is shorter than it declares);
            while iterating with SOURCE_TRUNCATED (the decoder stopped well before the declared count) or
            SOURCE_SIZE_CHANGES.
    """
    with ExitStack() as stack:
        descriptor = _open_regular(path)
        stack.callback(os.close, descriptor)
        kind = _check_container(descriptor)
        # The descriptor, not the path: FFmpeg reads what was checked, and no name is taken as a protocol.
        name = f"/dev/fd/{descriptor}"
        capture = _open_capture(name)
        stack.callback(capture.release)
        if not capture.isOpened():
            raise _explain_refusal(descriptor, kind)
        watch: _Watch | None = capture if isinstance(capture, av1.Av1Capture) else None
        if (codec := decoder.fourcc(capture)) in sizes.CODECS:
            watch = ahead = SizeWatch(decoder.open_packets(name, LOCAL), codec)
            stack.callback(ahead.release)
        size = os.fstat(descriptor).st_size
        stream = VideoStream(capture, counted=kind if kind in _COUNTED else None, size=size, watch=watch)
        stream.descriptor = descriptor
        stack.callback(stream.wipe)
        yield stream


def _open_capture(name: str) -> Capture:
    capture = decoder.open_capture(name, LOCAL)
    if not capture.isOpened() or decoder.fourcc(capture) != av1.FOURCC:
        return capture
    angle = capture.get(cv2.CAP_PROP_ORIENTATION_META)
    capture.release()
    replacement = av1.Av1Capture(decoder.open_packets(name, LOCAL), angle)
    if not replacement.isOpened():
        replacement.release()
        raise _refusal("SOURCE_CODEC", "the video is AV1, which this OpenCV cannot decode", "convert it to H.264")
    return replacement


def _open_regular(path: Path) -> int:
    """Open ``path`` for reading if it is a regular file; never waits for a FIFO's other end."""
    try:
        _require_regular(path.stat())  # before opening: to open some devices is to act on them
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # a name with a zero byte names no file
        raise _refusal("SOURCE_MISSING", "no file is at the path given", "check the path") from error
    except OSError as error:
        raise _os_refusal(error) from error
    try:
        _require_regular(os.fstat(descriptor))  # again: the name may have changed hands in between
    except UnreadableSource:
        os.close(descriptor)
        raise
    return descriptor


def _require_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _refusal("SOURCE_NOT_FILE", "the source is a folder, a pipe or a device, not a file")
    if status.st_size == 0:
        raise _refusal("SOURCE_EMPTY", "the video file is empty", "copy the file again")


def _check_container(descriptor: int) -> Kind:
    try:
        head = os.pread(descriptor, container.HEAD_BYTES, 0)
    except OSError as error:
        raise _os_refusal(error) from error
    size = os.fstat(descriptor).st_size
    kind = container.sniff(head)
    if kind is None:
        raise _refusal("SOURCE_NOT_VIDEO", "the file is not a video", _FORMATS)
    if kind is Kind.SOUND:
        raise _refusal("SOURCE_AUDIO_ONLY", "the file holds sound only")
    if container.is_cut(descriptor, kind, size):
        raise _refusal("SOURCE_TRUNCATED", "the video file is incomplete", "copy the whole file again")
    return kind


_FORMATS = "give an MP4, MOV, Matroska, WebM, AVI, MPEG, Ogg, FLV, ASF or GIF file"


def _explain_refusal(descriptor: int, kind: Kind) -> UnreadableSource:
    """Say why FFmpeg opened no stream of pictures."""
    size = os.fstat(descriptor).st_size
    if container.holds_only_sound(descriptor, kind, size):
        return _refusal("SOURCE_AUDIO_ONLY", "the file holds sound only")
    if container.holds_no_pictures(descriptor, kind, size):
        return _refusal("SOURCE_NO_FRAMES", "the file holds no pictures")
    return _refusal("SOURCE_NOT_VIDEO", "the file cannot be decoded as a video", _FORMATS)


def _os_refusal(error: OSError) -> UnreadableSource:
    if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
        return _refusal("SOURCE_MISSING", "no file is at the path given", "check the path")
    if error.errno in {errno.EACCES, errno.EPERM}:
        return _refusal("SOURCE_UNREADABLE", "the video file may not be read", "check its permissions")
    return _refusal("SOURCE_UNREADABLE", f"the video file cannot be read ({error.strerror})")


def _refusal(code: str, message: str, hint: str = "give a file that holds a video") -> UnreadableSource:
    return UnreadableSource(message, hint=hint, code=code)


def _require_small(pixels: float) -> None:
    if pixels > MAX_PIXELS:
        raise _refusal("SOURCE_TOO_LARGE", "the video's pictures are too large", "make them 8K or smaller")


def _size_changes() -> UnreadableSource:
    return _refusal("SOURCE_SIZE_CHANGES", "the video's pictures change their size midway", "split it where they do")


def _turn(capture: Capture) -> int | None:
    """Return how the stored pictures must be turned to be seen upright; other angles than these are ignored."""
    return _TURNS.get(round(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360)


def _turned(shape: tuple[int, ...], turn: int) -> tuple[int, ...]:
    """Return the shape of a picture after turning it."""
    return shape if turn == cv2.ROTATE_180 else (shape[1], shape[0], *shape[2:])


def _rate(value: Any) -> float:
    """Return a header's frame rate; 0.0 where it cannot be one."""
    figure = float(value)
    return figure if math.isfinite(figure) and 0 < figure <= _FASTEST else 0.0


def _count(value: Any) -> int | None:
    """Return a header's number of frames; None where it cannot be one."""
    figure = float(value)
    return int(figure) if math.isfinite(figure) and 1 <= figure < _MOST_FRAMES else None
