"""What was drawn is what is read, in every format, upright and at its time; sound is left alone."""

import os
import re
import subprocess
import sys
from itertools import pairwise

import imageio_ffmpeg
import numpy as np
import pytest

from fabnet_secure.errors import UnreadableSource
from fabnet_secure.video import av1, reader
from fabnet_secure.video.reader import open_video

WIDTH, HEIGHT, FRAMES = 96, 64, 12
COLOURS = {"top left": (0, 0, 220), "top right": (0, 200, 0), "bottom left": (220, 0, 0)}  # BGR
YUV = ["-pix_fmt", "yuv420p"]
FORMATS = {
    "h264.mp4": ["-c:v", "libx264", *YUV],
    "h264-b-frames.mkv": ["-c:v", "libx264", "-bf", "3", *YUV],
    "h264-444.mkv": ["-c:v", "libx264", "-pix_fmt", "yuv444p"],
    "h264.ts": ["-c:v", "libx264", *YUV],
    "h264.m2ts": ["-c:v", "libx264", "-mpegts_m2ts_mode", "1", *YUV],
    "h264.flv": ["-c:v", "libx264", *YUV],
    "h265.mp4": ["-c:v", "libx265", "-x265-params", "log-level=none", *YUV],
    "h265-10-bit.mkv": ["-c:v", "libx265", "-x265-params", "log-level=none", "-pix_fmt", "yuv420p10"],
    "vp8.webm": ["-c:v", "libvpx", "-b:v", "1M", *YUV],
    "vp9.webm": ["-c:v", "libvpx-vp9", "-deadline", "realtime", *YUV],
    "av1.mp4": ["-c:v", "libsvtav1", "-preset", "10", *YUV],
    "av1.mkv": ["-c:v", "libsvtav1", "-preset", "10", *YUV],
    "av1-10-bit.webm": ["-c:v", "libsvtav1", "-preset", "10", "-pix_fmt", "yuv420p10"],
    "mjpeg.avi": ["-c:v", "mjpeg", "-q:v", "3"],
    "mjpeg.mov": ["-c:v", "mjpeg", "-q:v", "3"],
    "mpeg1.mpg": ["-c:v", "mpeg1video", "-q:v", "3"],
    "mpeg1-raw.m1v": ["-c:v", "mpeg1video", "-q:v", "3", "-f", "mpeg1video"],
    "mpeg2.mpg": ["-c:v", "mpeg2video", "-q:v", "3"],
    "mpeg4.mp4": ["-c:v", "mpeg4", "-q:v", "3"],
    "mpeg4.avi": ["-c:v", "mpeg4", "-q:v", "3"],
    "mpeg4-raw.bin": ["-c:v", "mpeg4", "-q:v", "3", "-f", "m4v"],
    "wmv2.wmv": ["-c:v", "wmv2", "-q:v", "3"],
    "animated.gif": [],
}
UNCOUNTED_TIMES = {"mpeg1-raw.m1v"}  # an elementary stream holds no times: FFmpeg guesses them


def draw(index):
    """Draw frame ``index``: red, green, blue, and a grey that grows brighter."""
    picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    picture[: HEIGHT // 2, : WIDTH // 2] = COLOURS["top left"]
    picture[: HEIGHT // 2, WIDTH // 2 :] = COLOURS["top right"]
    picture[HEIGHT // 2 :, : WIDTH // 2] = COLOURS["bottom left"]
    picture[HEIGHT // 2 :, WIDTH // 2 :] = grey(index)
    return picture


def grey(index):
    """Return the brightness of the grey corner."""
    return 60 + 10 * index


def corners(pixels):
    """Return the mean colour of each quarter, away from its edges."""
    height, width = pixels.shape[:2]
    parts = {}
    for row, name_row in enumerate(("top", "bottom")):
        for column, name_column in enumerate(("left", "right")):
            y, x = row * height // 2, column * width // 2
            part = pixels[y + height // 8 : y + 3 * height // 8, x + width // 8 : x + 3 * width // 8]
            parts[f"{name_row} {name_column}"] = part.reshape(-1, 3).mean(axis=0)
    return parts


def assert_drawn(pixels, index, where=None):
    """Check that a frame shows the drawing ``index``; ``where`` tells to which quarter each quarter was turned."""
    seen = corners(pixels)
    for name, colour in {**COLOURS, "bottom right": (grey(index),) * 3}.items():
        place = name if where is None else where[name]
        assert np.abs(seen[place] - colour).max() < 30, (name, place, seen[place], colour)


@pytest.fixture(scope="session")
def ffmpeg():
    """Run FFmpeg quietly with the given arguments."""

    def run(*arguments, data=None):
        environment = {**os.environ, "SVT_LOG": "0"}
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
        subprocess.run(command, input=data, check=True, env=environment, capture_output=True, timeout=60)

    return run


@pytest.fixture(scope="session")
def raw():
    """The drawn frames as FFmpeg's input."""
    arguments = ["-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{WIDTH}x{HEIGHT}", "-r", "25", "-i", "-"]
    return arguments, b"".join(draw(index).tobytes() for index in range(FRAMES))


@pytest.fixture(scope="session")
def made(tmp_path_factory, ffmpeg, raw):
    """Make a file of each format once."""
    folder = tmp_path_factory.mktemp("formats")

    def make(name, *options):
        path = folder / name
        if not path.exists():
            ffmpeg(*raw[0], *(options or FORMATS[name]), path, data=raw[1])
        return path

    return make


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_shows_what_was_drawn(made, name):
    """Each frame is there, once, in order, with its colours, its time and in the locked buffer."""
    with open_video(made(name)) as stream:
        times = []
        for frame in stream:
            assert_drawn(frame.pixels, frame.index)
            times.append(round(frame.time_ms))
        assert (stream.width, stream.height, stream.frames_read) == (WIDTH, HEIGHT, FRAMES)
        assert abs(stream.fps - 25) < 0.1
        assert stream.expected is None or abs(stream.expected - FRAMES) <= 2
    assert times[0] == 0
    assert all(before < after for before, after in pairwise(times))
    if name not in UNCOUNTED_TIMES:
        assert times == [40 * index for index in range(FRAMES)]


@pytest.mark.parametrize("name", ["av1.mkv", "vp9.webm"])
def test_what_was_drawn_is_read_after_frames_passed_by(made, name):
    """Frames that were only grabbed are decoded: the next one shown is right."""
    with open_video(made(name)) as stream:
        for _ in range(8):
            assert stream.grab()
        assert_drawn(stream.frame().pixels, 7)


TURNS = {
    # The display matrix turns counter-clockwise. Where each drawn quarter is then seen:
    90: dict(
        zip(
            ("top left", "top right", "bottom left", "bottom right"),
            ("bottom left", "top left", "bottom right", "top right"),
            strict=True,
        )
    ),
    180: dict(
        zip(
            ("top left", "top right", "bottom left", "bottom right"),
            ("bottom right", "bottom left", "top right", "top left"),
            strict=True,
        )
    ),
    270: dict(
        zip(
            ("top left", "top right", "bottom left", "bottom right"),
            ("top right", "bottom right", "top left", "bottom left"),
            strict=True,
        )
    ),
}


@pytest.mark.parametrize("angle", TURNS)
@pytest.mark.parametrize("name", ["h264.mp4", "av1.mp4"])
def test_a_turned_video_is_seen_upright(made, ffmpeg, tmp_path, angle, name):
    """Rotation metadata turns the picture, its width and height and the buffer, all of it in locked memory."""
    path = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", angle, "-i", made(name), "-c", "copy", path)
    size = (WIDTH, HEIGHT) if angle == 180 else (HEIGHT, WIDTH)
    with open_video(path) as stream:
        assert (stream.width, stream.height) == size
        views = []
        for frame in stream:
            assert frame.pixels.shape == (size[1], size[0], 3)
            assert_drawn(frame.pixels, frame.index, TURNS[angle])
            views.append(frame.pixels)
        assert stream.frames_read == FRAMES
        assert not stream._stored.any()
    assert not any(view.any() for view in views)


def test_a_variable_frame_rate_keeps_its_times(made, ffmpeg, raw, tmp_path):
    """Frames shown for unequal times come with the times at which they are shown."""
    path = tmp_path / "variable.mkv"
    ffmpeg(
        *raw[0],
        "-vf",
        "settb=1/1000,setpts=N*N*10",
        "-fps_mode",
        "passthrough",
        "-enc_time_base",
        "1:1000",
        "-c:v",
        "libx264",
        *YUV,
        path,
        data=raw[1],
    )
    with open_video(path) as stream:
        assert [round(frame.time_ms) for frame in stream] == [10 * index * index for index in range(FRAMES)]


def test_negative_time_stamps_start_at_zero(made, ffmpeg, tmp_path):
    """A stream whose stamps begin before zero is read from its first frame on, at rising times."""
    path = tmp_path / "negative.mkv"
    ffmpeg(
        "-itsoffset", "-3", "-i", made("h264-b-frames.mkv"), "-c", "copy", "-copyts", "-avoid_negative_ts", "0", path
    )
    with open_video(path) as stream:
        times = [frame.time_ms for frame in stream]
    assert len(times) == FRAMES
    assert times[0] >= 0
    assert all(before < after for before, after in pairwise(times))


@pytest.mark.parametrize("name", ["both.mp4", "both.mkv", "both.mpg", "both.avi"])
def test_sound_is_never_decoded(made, ffmpeg, tmp_path, name):
    """In a video with leading sound the pictures are read, and FFmpeg is refused every decoder of sound."""
    path = tmp_path / name
    codec = ["-c:v", "mpeg2video", "-q:v", "3"] if name.endswith("mpg") else ["-c:v", "mpeg4", "-q:v", "3"]
    ffmpeg(
        "-f", "lavfi", "-i", "sine=d=3", "-itsoffset", "1", "-i", made("h264.mp4"),
        "-map", "0:a", "-map", "1:v", *codec, "-fps_mode", "passthrough", "-c:a", "mp2", path,
    )  # fmt: skip
    with open_video(path) as stream:
        for frame in stream:
            assert_drawn(frame.pixels, frame.index)
        assert stream.frames_read == FRAMES
    script = (
        "import os, sys; from pathlib import Path; import fabnet_secure.video\n"
        "os.environ['OPENCV_FFMPEG_LOGLEVEL'] = '24'\n"
        "from fabnet_secure.video.reader import open_video\n"
        "with open_video(Path(sys.argv[1])) as stream: print(sum(1 for _ in stream))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert str(FRAMES) in done.stdout.splitlines()
    assert re.search(r"Codec \(mp[23]\w*\) not on whitelist", done.stdout)


@pytest.mark.parametrize("name", ["h264.ts", "mpeg2.mpg", "vp9.webm", "mjpeg.avi", "h265.ts", "av1.mkv", "vp8.webm"])
@pytest.mark.parametrize("factor", [2, 0.5], ids=["larger", "smaller"])
def test_a_size_that_changes_midway_is_refused(made, ffmpeg, raw, tmp_path, name, factor):
    """Pictures of another size after the first ones: SOURCE_SIZE_CHANGES, never a stretched picture."""
    options = FORMATS.get(name) or FORMATS["h265.mp4"]
    size = f"{int(WIDTH * factor)}:{int(HEIGHT * factor)}"
    kind = name.rsplit(".", 1)[1]
    first, second = tmp_path / f"a.{kind}", tmp_path / f"b.{kind}"
    ffmpeg(*raw[0], *options, first, data=raw[1])
    ffmpeg(*raw[0], "-vf", f"scale={size}", *options, second, data=raw[1])
    both = tmp_path / f"both.{kind}"
    if kind in {"ts", "mpg"}:
        both.write_bytes(first.read_bytes() + second.read_bytes())
    else:
        (tmp_path / "list").write_text(f"file {first}\nfile {second}\n")
        ffmpeg("-f", "concat", "-safe", "0", "-i", tmp_path / "list", "-c", "copy", both)
    seen = []
    with pytest.raises(UnreadableSource) as caught, open_video(both) as stream:
        seen.extend(assert_drawn(frame.pixels, frame.index) for frame in stream)
    assert caught.value.code == "SOURCE_SIZE_CHANGES"
    assert len(seen) <= FRAMES


def test_av1_without_its_decoder_is_told(made, monkeypatch):
    """An OpenCV without libaom, or with another interface of it: SOURCE_CODEC, and how to get around it."""
    with monkeypatch.context() as patch:
        patch.setattr(av1, "_library", lambda: None)
        with pytest.raises(UnreadableSource) as caught, open_video(made("av1.mp4")):
            pass
        assert caught.value.code == "SOURCE_CODEC"
    monkeypatch.setattr(av1, "_INTERFACE", 21)
    with pytest.raises(UnreadableSource) as caught, open_video(made("av1.mp4")):
        pass
    assert caught.value.code == "SOURCE_CODEC"


def test_av1_pictures_that_are_too_large_are_not_decoded(made, monkeypatch):
    """A size over the limit in the AV1 headers alone is refused before libaom allocates it."""
    monkeypatch.setattr(av1, "MAX_PIXELS", WIDTH * HEIGHT - 1)
    with pytest.raises(UnreadableSource) as caught, open_video(made("av1.mkv")):
        pass
    assert caught.value.code == "SOURCE_NO_FRAMES"


@pytest.mark.real_clips
def test_real_clips_are_read_whole(clips_folder):
    """Every real clip is read to its end, its times rise, and the forecast of frames is nearly right."""
    for path in sorted(path for path in clips_folder.glob("*/*.*") if path.suffix in {".mp4", ".mkv", ".mpg", ".gif"}):
        with open_video(path) as stream:
            times = []
            while stream.grab():
                times.append(stream._time_ms)
        assert all(before < after for before, after in pairwise(times)), path.name
        assert stream.expected is None or abs(stream.expected - len(times)) <= max(3, 0.05 * len(times)), path.name
    assert reader.has_ffmpeg()
