"""Open a video file and look at its frames, one at a time, in one buffer.

Guarantees: only a regular file is opened, once, and what was checked is what is decoded; every picture lies
in one buffer, zeroed before the next picture and on exit; a :class:`Frame` refuses to be copied or pickled;
sound is never decoded; every failure is an :class:`UnreadableSource` with a stable code. Does not guarantee:
that the copies FFmpeg keeps while it decodes are zeroed when they are freed, nor that a damaged picture
inside a whole file is told (FFmpeg conceals it).
"""

import errno
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Self

import cv2
import numpy as np
import numpy.typing as npt

from fabnet_secure.errors import UnreadableSource
from fabnet_secure.video import container
from fabnet_secure.video.container import Kind

Pixels = npt.NDArray[np.uint8]

# Again here, for a program that imported cv2 before this package could set its environment.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)

MAX_PIXELS = 64_000_000  # beyond 8K (33 million): one such frame is 192 MB
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


class VideoStream:
    """Frames of an open video, in order, once. Made by :func:`open_video`.

    Attributes:
        width: of every frame, in pixels.
        height: of every frame, in pixels.
        fps: frames per second as the container says; 0.0 when it does not.
        expected: number of frames as the container says or FFmpeg estimates; None when unknown.
        frames_read: frames handed out so far.
    """

    def __init__(self, capture: cv2.VideoCapture, *, counted: bool) -> None:
        self._capture = capture
        self._counted = counted
        self.fps = _positive(capture.get(cv2.CAP_PROP_FPS)) or 0.0
        count = _positive(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.expected = None if count is None else int(count)
        self.frames_read = 0
        width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        if width * height > MAX_PIXELS:
            raise _refusal("SOURCE_TOO_LARGE", "the video's pictures are too large", "make them 8K or smaller")
        read, first = capture.read()
        if not read or first is None:
            raise _refusal("SOURCE_NO_FRAMES", "the video holds no picture that can be decoded")
        self._buffer: Pixels = np.asarray(first, dtype=np.uint8)
        self.height, self.width = self._buffer.shape[:2]

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Frame:
        if self.frames_read and not self._advance():
            self.wipe()
            self._check_count()
            raise StopIteration
        pixels = self._buffer.view()
        pixels.flags.writeable = False
        time_ms = float(self._capture.get(cv2.CAP_PROP_POS_MSEC))
        frame = Frame(pixels=pixels, index=self.frames_read, time_ms=time_ms)
        self.frames_read += 1
        return frame

    def _advance(self) -> bool:
        """Decode the next picture into the buffer; False at the end."""
        self._buffer.fill(0)
        if not self._capture.grab():
            return False
        read, pixels = self._capture.retrieve(self._buffer)
        if not read:
            return False
        if not np.shares_memory(pixels, self._buffer):
            np.asarray(pixels).fill(0)
            raise _refusal("SOURCE_SIZE_CHANGES", "the video's pictures change their size midway")
        return True

    def _check_count(self) -> None:
        missing = (self.expected or 0) - self.frames_read
        if self._counted and missing > _MISSING_FRAMES and missing > _MISSING_SHARE * (self.expected or 0):
            raise _refusal(
                "SOURCE_TRUNCATED",
                f"the video stopped after {self.frames_read} of {self.expected} frames",
                "copy the whole file again",
            )

    def wipe(self) -> None:
        """Overwrite the buffer with zeros."""
        self._buffer.fill(0)


@contextmanager
def open_video(path: Path) -> Iterator[VideoStream]:
    """Open the video at ``path`` for one reading; the buffer is zeroed on exit.

    Raises:
        UnreadableSource: on entry with code SOURCE_MISSING, SOURCE_NOT_FILE (a folder, FIFO or device),
            SOURCE_UNREADABLE (no permission), SOURCE_EMPTY, SOURCE_NOT_VIDEO, SOURCE_AUDIO_ONLY,
            SOURCE_NO_FRAMES, SOURCE_TOO_LARGE or SOURCE_TRUNCATED (the file is shorter than it declares);
            while iterating with SOURCE_TRUNCATED (the decoder stopped well before the declared count) or
            SOURCE_SIZE_CHANGES.
    """
    descriptor = _open_regular(path)
    try:
        kind = _check_container(descriptor)
        # The descriptor, not the path: FFmpeg reads what was checked, and no name is taken as a protocol.
        capture = cv2.VideoCapture(f"/dev/fd/{descriptor}", cv2.CAP_FFMPEG)
        try:
            if not capture.isOpened():
                raise _explain_refusal(descriptor, kind)
            stream = VideoStream(capture, counted=kind in _COUNTED)
            try:
                yield stream
            finally:
                stream.wipe()
        finally:
            capture.release()
    finally:
        os.close(descriptor)


def has_ffmpeg() -> bool:
    """Tell whether this OpenCV can read files through FFmpeg, the only back end used."""
    return cv2.CAP_FFMPEG in cv2.videoio_registry.getStreamBackends()


def _open_regular(path: Path) -> int:
    """Open ``path`` for reading if it is a regular file; never waits for a FIFO's other end."""
    try:
        _require_regular(path.stat())  # before opening: to open some devices is to act on them
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
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


def _positive(value: Any) -> float | None:
    """Return a header's figure as a float if it is finite and above 0."""
    figure = float(value)
    return figure if math.isfinite(figure) and figure > 0 else None
