"""Open a live source, an RTSP camera or a V4L device, and look at it for a limited time.

Guarantees: a live stream ends by itself after ``seconds``, and within the time limits below when nothing comes; what
was asked for is one stream of pictures over TCP, never sound; a lost stream is an error and is not reconnected, so
whoever reads it drops what was read; no message holds the URL, so none holds its password. Does not guarantee: that
``rtsps`` proves who the camera is (FFmpeg checks no certificate here: use a network of the camera's own); that the
network or the camera stores nothing; nor that a camera which changes its picture size midway is noticed (OpenCV
scales such pictures to the first size).

A password is handed to FFmpeg within the URL, in memory. Whoever writes it on a command line shows it to every
process of the machine for as long as the command runs.

Sources: RFC 2326 (RTSP 1.0), section 10.12 (interleaving over TCP).
"""

import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import cv2

from fabnet_secure.errors import UnreadableSource
from fabnet_secure.video import CODECS, decoder
from fabnet_secure.video.reader import VideoStream

OPEN_TIMEOUT_MS = 10_000
READ_TIMEOUT_MS = 10_000
_SCHEMES = ("rtsp", "rtsps")
_DEVICE = re.compile(r"(?:v4l2?:)?(/dev/video\d{1,4})\Z")
_PRINTABLE = re.compile(r"[!-~]+\Z")  # no space and no line break may slip into a request
_V4L_MAJOR = 81
_ATTEMPTS = 64  # damaged pictures in a row, as when joining in midway
_OPTIONS = {
    "rtsp_transport": "tcp",
    "allowed_media_types": "video",
    "protocol_whitelist": "rtsp,rtsps,tcp,tls",
    "format_whitelist": "rtsp",
    "codec_whitelist": CODECS,
}


class LiveStream(VideoStream):
    """Pictures of a live source, as they come. Made by :func:`open_live`."""

    live = True

    def __init__(self, capture: cv2.VideoCapture, *, seconds: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._first_ms: float | None = None
        try:
            super().__init__(capture)
        except UnreadableSource as error:
            if error.code != "SOURCE_NO_FRAMES":
                raise
            raise _refusal("LIVE_NO_FRAMES", "the live source sends no pictures that can be decoded") from None
        self.expected = round(seconds * self.fps) or None
        self._ends = clock() + seconds

    def grab(self) -> bool:
        """Go to the next picture; False when the time is up.

        Raises:
            UnreadableSource: with code LIVE_LOST: nothing came any more.
        """
        if self._clock() < self._ends:
            return super().grab()
        self._finish()
        return False

    def _decode(self) -> bool:
        deadline = self._clock() + READ_TIMEOUT_MS / 1000
        for _ in range(_ATTEMPTS):
            grabbed = self._capture.grab()
            if self._clock() >= deadline:
                return False  # even with a picture: after its time limit FFmpeg gives out what was left inside
            if grabbed:
                return True
        return False

    def _told_time(self) -> float:
        """Return the time since the first picture: cameras count from anywhere."""
        told = super()._told_time()
        if self._first_ms is None:
            self._first_ms = told
        return told - self._first_ms

    def _check_end(self) -> None:
        raise self._broken()  # the regular end is the time limit, and that comes first

    def _broken(self) -> UnreadableSource:
        return _refusal("LIVE_LOST", f"the live source was lost after {self.frames_read} frames")


@contextmanager
def open_live(url: str, *, seconds: float, clock: Callable[[], float] = time.monotonic) -> Iterator[VideoStream]:
    """Open a camera and read it for ``seconds``; the buffer is zeroed on exit.

    Args:
        url: ``rtsp://…`` or ``rtsps://…`` (with ``user:password@`` where the camera asks for it), ``/dev/videoN`` or
            ``v4l:/dev/videoN``.
        seconds: after which the stream ends, from the first picture on.
        clock: seconds that never go back.

    Raises:
        UnreadableSource: on entry with code LIVE_REFUSED (no such source, no connection, not allowed),
            LIVE_NO_FRAMES or SOURCE_TOO_LARGE; while iterating with LIVE_LOST: nothing came for
            ``READ_TIMEOUT_MS``, or the other side ended the stream. What was read then must be dropped.
        ValueError: ``seconds`` is not a positive number.
    """
    if not 0 < seconds < float("inf"):
        raise ValueError("seconds must be positive")
    device = _DEVICE.match(url)
    capture = _open_url(url) if device is None else _open_device(device[1])
    try:
        if not capture.isOpened():
            raise _refusal("LIVE_REFUSED", "the live source could not be opened")
        stream = LiveStream(capture, seconds=seconds, clock=clock)
        try:
            yield stream
        finally:
            stream.wipe()
    finally:
        capture.release()


def is_live(text: str) -> bool:
    """Tell whether ``text`` names a live source (an RTSP URL or a V4L device), not a file."""
    return _DEVICE.match(text) is not None or text.lower().startswith(tuple(f"{one}://" for one in _SCHEMES))


def without_secrets(url: str) -> str:
    """Return a live source's name for people and for the log: no account, no password, no query.

    Some cameras want the password inside the path (``/user=a_password=b``): a part that holds a ``=`` is left out.
    """
    device = _DEVICE.match(url)
    if device is not None:
        return device[1]
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "rtsp://…"
    if ":" in host:
        host = f"[{host}]"
    path = "/".join("…" if "=" in part or "@" in part else part for part in parts.path.split("/"))
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{path}"


def _open_url(url: str) -> cv2.VideoCapture:
    if not is_live(url) or _PRINTABLE.match(url) is None:
        raise _refusal("LIVE_REFUSED", "this is no address of a live source", "give rtsp://… or /dev/videoN")
    parameters = {
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: OPEN_TIMEOUT_MS,
        cv2.CAP_PROP_READ_TIMEOUT_MSEC: READ_TIMEOUT_MS,
    }
    return decoder.open_capture(url, _OPTIONS, parameters)


def _open_device(path: str) -> cv2.VideoCapture:
    try:
        status = Path(path).stat()
    except OSError as error:
        raise _refusal("LIVE_REFUSED", "no such video device can be reached", "check the device's name") from error
    if not stat.S_ISCHR(status.st_mode) or os.major(status.st_rdev) != _V4L_MAJOR:
        raise _refusal("LIVE_REFUSED", "this is not a video device", "give rtsp://… or /dev/videoN")
    if not os.access(path, os.R_OK | os.W_OK):
        raise _refusal("LIVE_REFUSED", "the video device may not be opened", "join the group that owns it (video)")
    return cv2.VideoCapture(path, cv2.CAP_V4L2)


def _refusal(code: str, message: str, hint: str = "check the address, the network and the camera") -> UnreadableSource:
    return UnreadableSource(message, hint=hint, code=code)
