"""How OpenCV's FFmpeg is opened: what it may open, how much it may allocate, how long it may take.

Guarantees: a capture opened here decodes on one thread, in software, and sees only the options given here, which no
other capture inherits; once :func:`limit_allocations` says True, no single allocation of FFmpeg exceeds what one
picture of ``MAX_PIXELS`` needs. Does not guarantee that FFmpeg is free of faults.

OpenCV passes options to FFmpeg only through an environment variable that it reads while it opens. It is set for the
length of the opening, under a lock, and put back; outside it stays as ``fabnet_secure.video`` set it: local files only.
"""

import ctypes
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Protocol

import cv2

# Again here, for a program that imported cv2 before this package could set its environment.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)

MAX_PIXELS = 36_000_000  # 8K is 33 million (7680 x 4320), 16K four times that
_MAX_BYTES = MAX_PIXELS * 13 // 4  # BGR, with the padding that FFmpeg adds at the edges
_QUIET = -8  # AV_LOG_QUIET
_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_opening = threading.Lock()


def open_capture(
    name: str, options: Mapping[str, str], parameters: Mapping[int, int] | None = None
) -> cv2.VideoCapture:
    """Open ``name`` through FFmpeg, with ``options`` for it and no other capture, to decode on one thread.

    Args:
        name: a file or a URL.
        options: FFmpeg's own options; no ``;`` and no ``|`` in them.
        parameters: OpenCV's, beside the number of threads.

    Returns:
        The capture, open or not: ask ``isOpened``. Its pictures are as stored: whoever reads it turns them.
    """
    return _open(name, options, {cv2.CAP_PROP_N_THREADS: 1, **(parameters or {})})


def open_packets(name: str, options: Mapping[str, str]) -> cv2.VideoCapture:
    """Open ``name`` to take its container apart only: ``retrieve`` gives packets, no decoder is opened at all."""
    return _open(name, {**options, "codec_whitelist": "none"}, {cv2.CAP_PROP_FORMAT: -1})


def _open(name: str, options: Mapping[str, str], parameters: Mapping[int, int]) -> cv2.VideoCapture:
    limit_allocations()
    flat = [figure for pair in parameters.items() for figure in pair]
    with _options(options):
        capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG, flat)
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)  # turning is done in locked memory, by the reader
    return capture


class _Properties(Protocol):
    def get(self, name: int, /) -> float: ...


def fourcc(capture: _Properties) -> str:
    """Return the four letters of the codec, in lower case."""
    return (int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF).to_bytes(4, "little").decode("latin-1").lower()


@contextmanager
def _options(options: Mapping[str, str]) -> Iterator[None]:
    """Set the variable that OpenCV reads, for one opening."""
    with _opening:
        before = os.environ.get(_VARIABLE)
        os.environ[_VARIABLE] = "|".join(f"{name};{value}" for name, value in options.items())
        try:
            yield
        finally:
            if before is None:
                del os.environ[_VARIABLE]
            else:
                os.environ[_VARIABLE] = before


@cache
def limit_allocations() -> bool:
    """Cap every single allocation of the FFmpeg inside OpenCV, so that no header can ask for gigabytes.

    Returns:
        False where that library cannot be found (another build of OpenCV); then only the reader's own checks hold.
    """
    try:
        maps = Path("/proc/self/maps").read_text()
        names = set(re.findall(r"/\S*opencv\S*/libavutil\S*", maps))
        for name in names:
            library = ctypes.CDLL(name)
            library.av_max_alloc(ctypes.c_size_t(_MAX_BYTES))
            library.av_log_set_level(_QUIET)  # again: a program that wrote a video before this one read has set it
    except (OSError, AttributeError):
        return False
    return bool(names)


def has_ffmpeg() -> bool:
    """Tell whether this OpenCV can read through FFmpeg, the only back end used for files and streams."""
    return cv2.CAP_FFMPEG in cv2.videoio_registry.getStreamBackends()
