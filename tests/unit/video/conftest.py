"""Small clips and tracks for the tests of video/."""

import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from fabnet_secure.video.detect import Detection
from fabnet_secure.video.track import Track, TrackedBox

REAL_CLIPS = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "clips"


@pytest.fixture(scope="session")
def clips_folder() -> Path:
    """The folder of real clips; skips where there is none."""
    if not REAL_CLIPS.is_dir():
        pytest.skip("no folder of real clips here")
    return REAL_CLIPS


@pytest.fixture
def write_clip(tmp_path: Path) -> Callable[..., Path]:
    """Write a clip whose frame i is grey of brightness 40 + 5 i (or what ``paint(frame, i)`` draws)."""

    def write(name="clip.avi", frames=30, width=96, height=64, fps=25.0, paint=None):
        path = tmp_path / name
        code = "MJPG" if path.suffix == ".avi" else "mp4v"
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*code), fps, (width, height))
        assert writer.isOpened()
        for index in range(frames):
            frame = np.full((height, width, 3), min(250, 40 + 5 * index), np.uint8)
            if paint is not None:
                paint(frame, index)
            writer.write(frame)
        writer.release()
        return path

    return write


@pytest.fixture
def noisy_mp4(write_clip) -> Path:
    """An MP4 of 40 noisy frames (large enough to be cut), with its index (moov) at the end."""
    noise = np.random.default_rng(0).integers(0, 255, (40, 64, 96, 3), np.uint8)

    def paint(frame, index):
        frame[:] = noise[index]

    return write_clip("noisy.mp4", frames=40, paint=paint)


def boxes_of(data: bytes) -> dict[bytes, bytes]:
    """Split an MP4 into its top-level boxes."""
    found, at = {}, 0
    while at < len(data):
        length = struct.unpack(">I", data[at : at + 4])[0]
        found[data[at + 4 : at + 8]] = data[at : at + length]
        at += length
    return found


@pytest.fixture
def fast_start() -> Callable[[bytes], bytes]:
    """Move an MP4's index before its pictures, as ``-movflags faststart`` does."""

    def move(data: bytes) -> bytes:
        parts = boxes_of(data)
        moov = bytearray(parts[b"moov"])
        at = moov.index(b"stco") + 8
        count = struct.unpack_from(">I", moov, at)[0]
        for entry in range(count):
            place = at + 4 + 4 * entry
            struct.pack_into(">I", moov, place, struct.unpack_from(">I", moov, place)[0] + len(moov))
        return parts[b"ftyp"] + bytes(moov) + parts.get(b"free", b"") + parts[b"mdat"]

    return move


@pytest.fixture
def make_detection() -> Callable[..., Detection]:
    """Make a detection of a square face that looks straight ahead."""
    frontal = np.array([(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)], np.float32)

    def make(x=10.0, y=10.0, size=50.0, score=0.9):
        landmarks = frontal * np.float32(size) + np.array((x, y), np.float32)
        return Detection(box=(x, y, size, size), score=score, landmarks=landmarks)

    return make


@pytest.fixture
def make_track(make_detection) -> Callable[..., Track]:
    """Make a track of a square face that stays in its place for the frames first..last."""

    def make(number, first, last, x=10.0, y=10.0, size=50.0, scene=0):
        boxes = tuple(TrackedBox(index=index, detection=make_detection(x, y, size)) for index in range(first, last + 1))
        return Track(number=number, boxes=boxes, scene=scene)

    return make
