"""A live source is read for its time, over TCP, without sound; and every way of losing it is told."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import imageio_ffmpeg
import numpy as np
import pytest

from fabnet_secure.errors import UnreadableSource
from fabnet_secure.video import LOCAL, decoder, live
from fabnet_secure.video.live import is_live, open_live, without_secrets

_SPEC = importlib.util.spec_from_file_location("rtsp_server", Path(__file__).with_name("rtsp_server.py"))
rtsp = importlib.util.module_from_spec(_SPEC)
sys.modules["rtsp_server"] = rtsp
_SPEC.loader.exec_module(rtsp)


@pytest.fixture(scope="session")
def stream():
    """A second of H.264, 160 by 120, whose brightness rises with every frame."""
    source = "color=c=black:s=160x120:r=25:d=1,geq=lum=40+5*N:cb=128:cr=128"
    options = ["-bf", "0", "-g", "5", "-x264-params", "aud=1:slices=1:repeat-headers=1", "-pix_fmt", "yuv420p"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", source, "-c:v", "libx264"]
    return subprocess.run([*command, *options, "-f", "h264", "-"], capture_output=True, check=True).stdout


@pytest.fixture
def serve(stream):
    """Start a camera; all of them are stopped at the end."""
    servers = []

    def start(**how):
        server = rtsp.RtspServer(rtsp.Camera(stream=stream, **how))
        servers.append(server)
        return server.__enter__()

    yield start
    for server in servers:
        server.__exit__()


def refusal(url, **how):
    """Return the error that reading a live source to its end raises, and how many frames came before."""
    seen = []
    with pytest.raises(UnreadableSource) as caught, open_live(url, **{"seconds": 30, **how}) as source:
        seen.extend(frame.index for frame in source)
    return caught.value, len(seen)


def test_frames_arrive_in_order_in_locked_memory(serve):
    """Pictures of a real RTSP stream come one after another, with rising times, in the one buffer."""
    with open_live(serve().url(), seconds=30) as source:
        seen = [
            (frame.index, frame.time_ms, int(frame.pixels.mean())) for frame, _ in zip(source, range(20), strict=False)
        ]
        assert (source.width, source.height, source.live, source.locked) == (160, 120, True, True)
    assert [index for index, _, _ in seen] == list(range(20))
    assert seen[0][1] == 0
    assert all(before[1] < after[1] for before, after in pairwise(seen))
    assert seen[5][2] > seen[0][2]


def test_the_time_limit_ends_it(serve):
    """After its seconds a stream ends as a file does: no error, the buffer zeroed."""
    began = time.monotonic()
    with open_live(serve().url(), seconds=0.5) as source:
        last = [frame.pixels for frame in source][-1]
        assert not last.any()
    assert 20 <= source.frames_read <= 80
    assert time.monotonic() - began < 5


def test_the_clock_that_was_passed_in_decides(serve):
    """The limit is counted on the clock given, from the first picture on."""
    ticks = iter(range(1000))
    with open_live(serve().url(), seconds=30, clock=lambda: float(next(ticks))) as source:
        assert 5 <= sum(1 for _ in source) <= 15


def test_a_camera_that_stops_sending_is_lost(serve, monkeypatch):
    """A stream that stalls ends within the read limit with LIVE_LOST, after the frames that came."""
    monkeypatch.setattr(live, "READ_TIMEOUT_MS", 700)
    began = time.monotonic()
    error, frames = refusal(serve(stall_after=80).url())
    assert error.code == "LIVE_LOST"
    assert str(frames) in error.message
    assert 60 <= frames <= 80
    assert time.monotonic() - began < 5


def test_a_camera_that_hangs_up_is_lost(serve):
    """A connection closed before the time is up: LIVE_LOST, at once."""
    began = time.monotonic()
    error, frames = refusal(serve(close_after=12).url())
    assert error.code == "LIVE_LOST"
    assert 5 <= frames <= 12
    assert time.monotonic() - began < 5


def test_a_loss_is_a_loss_even_when_the_time_is_up_meanwhile(serve, monkeypatch):
    """A camera that stalls shortly before the end is lost, not finished: pictures are missing."""
    monkeypatch.setattr(live, "READ_TIMEOUT_MS", 700)
    error, frames = refusal(serve(stall_after=80).url(), seconds=1)
    assert (error.code, frames > 50) == ("LIVE_LOST", True)


def test_the_picture_is_zeroed_when_it_is_lost(serve):
    """No picture stays in the buffer of a lost stream."""
    held = []
    with pytest.raises(UnreadableSource), open_live(serve(close_after=8).url(), seconds=30) as source:
        held.extend(frame.pixels for frame in source)
    assert not any(pixels.any() for pixels in held)


def test_a_refused_connection_is_told(capfd):
    """Nobody listens: LIVE_REFUSED; neither the message nor the terminal holds the password."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    error, _ = refusal(f"rtsp://admin:hunter2@127.0.0.1:{port}/cam")
    assert error.code == "LIVE_REFUSED"
    assert "hunter2" not in repr(error) + error.message + error.hint + str(error.fields) + str(error.__cause__)
    assert capfd.readouterr() == ("", "")


def test_a_server_that_never_answers_is_refused_in_time(serve, monkeypatch):
    """A connection that is accepted and then ignored: LIVE_REFUSED within the limit for opening."""
    monkeypatch.setattr(live, "OPEN_TIMEOUT_MS", 500)
    began = time.monotonic()
    assert refusal(serve(mute=True).url())[0].code == "LIVE_REFUSED"
    assert time.monotonic() - began < 4


def test_a_camera_without_pictures_is_told(serve, monkeypatch):
    """An RTSP stream in which no picture ever comes: LIVE_NO_FRAMES (or no stream at all: LIVE_REFUSED)."""
    monkeypatch.setattr(live, "OPEN_TIMEOUT_MS", 700)
    monkeypatch.setattr(live, "READ_TIMEOUT_MS", 700)
    assert refusal(serve(stall_after=0).url())[0].code in {"LIVE_NO_FRAMES", "LIVE_REFUSED"}


def test_only_pictures_are_asked_for(serve):
    """A camera that offers sound first is asked for its pictures alone, interleaved in the one connection."""
    server = serve(sound=True)
    with open_live(server.url(), seconds=30) as source:
        assert next(source).pixels.shape == (120, 160, 3)
    setups = [line for line in server.camera.requests if line.startswith("SETUP")]
    assert len(setups) == 1
    assert setups[0].endswith("pictures")


def test_the_password_opens_the_camera_and_a_wrong_one_does_not(serve, capfd):
    """Basic authentication works; a wrong password is LIVE_REFUSED and is told to nobody."""
    url = serve(account="eve:s3cret").url
    with open_live(url("eve:s3cret"), seconds=30) as source:
        assert source.grab()
    error, _ = refusal(url("eve:wr0ng"))
    assert error.code == "LIVE_REFUSED"
    assert "wr0ng" not in error.message + error.hint + repr(error)
    assert capfd.readouterr() == ("", "")


def test_other_captures_do_not_inherit_the_network(serve):
    """Outside the opening, FFmpeg's options are those for local files: a URL cannot be opened by the way."""
    with open_live(serve().url(), seconds=30) as source:
        assert source.grab()
        assert "rtsp" not in os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"]
        assert "protocol_whitelist;file" in os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"]


def test_the_local_options_open_no_url(serve):
    """A capture with the options for files does not even connect."""
    server = serve()
    assert not decoder.open_capture(server.url(), LOCAL).isOpened()
    assert server.camera.requests == []


def test_a_missing_device_is_refused():
    """There is no such V4L device: LIVE_REFUSED. No machine of these tests has a camera to read."""
    for url in ("/dev/video9876", "v4l:/dev/video9876"):
        assert refusal(url)[0].code == "LIVE_REFUSED"


def test_what_is_no_camera_is_refused_before_it_is_opened(monkeypatch):
    """A device that is no video device is never opened, whatever its name."""
    null = Path("/dev/null").stat()
    monkeypatch.setattr(live, "Path", lambda _: SimpleNamespace(stat=lambda: null))
    error, _ = refusal("/dev/video0")
    assert (error.code, error.message) == ("LIVE_REFUSED", "this is not a video device")


def test_a_device_without_permission_is_refused(monkeypatch):
    """A camera of another group: LIVE_REFUSED with a hint at the group."""
    camera = os.stat_result((0o20660, 0, 0, 0, 0, 0, 0, 0, 0, 0), {"st_rdev": os.makedev(81, 0)})
    monkeypatch.setattr(live, "Path", lambda _: SimpleNamespace(stat=lambda: camera))
    monkeypatch.setattr(live.os, "access", lambda *_: False)
    assert "group" in refusal("/dev/video0")[0].hint


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/a.mp4", "rtsp://host/a\r\nTEARDOWN: x", "rtsp://host/a b", "file:///etc/passwd", ""]
)
def test_other_addresses_are_refused_unopened(url):
    """Only RTSP URLs without blanks and line breaks, and V4L devices, are ever opened."""
    assert refusal(url)[0].code == "LIVE_REFUSED"


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
def test_a_live_source_needs_a_limit(seconds):
    """Without a positive, finite number of seconds nothing is opened."""
    with pytest.raises(ValueError, match="seconds"), open_live("rtsp://127.0.0.1/cam", seconds=seconds):
        pass


@pytest.mark.parametrize(
    ("text", "live_one"),
    [
        ("rtsp://cam/1", True),
        ("RTSPS://cam/1", True),
        ("/dev/video0", True),
        ("v4l:/dev/video12", True),
        ("/dev/video0/../../etc/passwd", False),
        ("/dev/zero", False),
        ("rtsp", False),
        ("http://cam/1", False),
        ("clip.mp4", False),
    ],
)
def test_live_sources_are_told_from_files(text, live_one):
    """An RTSP URL or a V4L device is live, everything else is a path."""
    assert is_live(text) is live_one


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("rtsp://admin:hunter2@cam.example:8554/main", "rtsp://cam.example:8554/main"),
        ("rtsps://admin@cam.example/main?user=a&password=hunter2#x", "rtsps://cam.example/main"),
        ("rtsp://10.0.0.7/user=admin_password=hunter2_channel=1.sdp/live", "rtsp://10.0.0.7/…/live"),
        ("rtsp://a:hunter2@[::1]:554/x", "rtsp://[::1]:554/x"),
        ("rtsp://a:hunter2@cam:port/x", "rtsp://…"),
        ("rtsp://a:hunter2@x@cam/x", "rtsp://cam/x"),
        ("rtsp://a:hunter2/3@cam/x", "rtsp://…"),
        ("v4l:/dev/video3", "/dev/video3"),
    ],
)
def test_names_hold_no_secret(url, name):
    """What people and the log see of a URL is host, port and path, without account, password or query."""
    assert without_secrets(url) == name
    assert "hunter2" not in without_secrets(url)


def test_frames_are_read_only(serve):
    """Nobody can draw into the buffer of a live source."""
    with open_live(serve().url(), seconds=30) as source, pytest.raises(ValueError, match="read-only"):
        next(source).pixels[0, 0] = np.uint8(1)
