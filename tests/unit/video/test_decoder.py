"""FFmpeg is opened with its options for one opening only, and may not allocate what no picture needs."""

import ctypes
import os
import re
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest

from fabnet_secure.video import LOCAL, decoder
from fabnet_secure.video.decoder import MAX_PIXELS, fourcc, limit_allocations, open_capture, open_packets

VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"


@pytest.fixture
def options_seen(monkeypatch):
    """Record the options that OpenCV would see in each opening."""
    seen = []

    def capture(name, back_end, parameters):
        seen.append((os.environ.get(VARIABLE), dict(zip(parameters[::2], parameters[1::2], strict=True))))
        if name == "fail":
            raise cv2.error("no")
        return SimpleNamespace(set=lambda *_: True)

    monkeypatch.setattr(decoder.cv2, "VideoCapture", capture)
    return seen


def test_options_are_set_for_the_opening_only(options_seen, monkeypatch):
    """During the opening the variable holds the options given, afterwards what it held before."""
    monkeypatch.setenv(VARIABLE, "before")
    open_capture("a", {"rtsp_transport": "tcp", "timeout": "5"}, {cv2.CAP_PROP_READ_TIMEOUT_MSEC: 7})
    assert options_seen == [
        ("rtsp_transport;tcp|timeout;5", {cv2.CAP_PROP_N_THREADS: 1, cv2.CAP_PROP_READ_TIMEOUT_MSEC: 7})
    ]
    assert os.environ[VARIABLE] == "before"


def test_a_variable_that_was_not_set_is_not_set_afterwards(options_seen, monkeypatch):
    """An environment without the variable is left without it, even when the opening fails."""
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(cv2.error):
        open_capture("fail", LOCAL)
    assert VARIABLE not in os.environ


def test_packets_are_not_decoded(options_seen):
    """A capture of packets asks OpenCV for raw packets and nothing else."""
    open_packets("a", LOCAL)
    assert options_seen[0][1] == {cv2.CAP_PROP_FORMAT: -1}


def test_local_files_may_open_files_only():
    """For files: one protocol, the containers of container.py and no decoder of sound."""
    assert LOCAL["protocol_whitelist"] == "file"
    assert not {"hls", "concat", "image2", "rtsp", "dash", "sdp"} & set(LOCAL["format_whitelist"].split(","))
    assert not {"aac", "mp3", "mp2", "opus", "vorbis", "pcm_s16le"} & set(LOCAL["codec_whitelist"].split(","))


def test_large_allocations_are_refused():
    """Inside OpenCV's FFmpeg a block larger than the largest picture cannot be had; one that fits it can."""
    assert limit_allocations()
    name = re.search(r"/\S*opencv\S*/libavutil\S*", Path("/proc/self/maps").read_text())[0]
    library = ctypes.CDLL(name)
    library.av_malloc.restype, library.av_malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.av_free.argtypes = [ctypes.c_void_p]
    fits = library.av_malloc(3 * MAX_PIXELS)
    assert fits
    library.av_free(fits)
    assert not library.av_malloc(4 * MAX_PIXELS)


def test_another_build_of_opencv_is_told(monkeypatch):
    """Where FFmpeg's library cannot be found, or lacks the function, nothing is claimed."""
    monkeypatch.setattr(decoder, "Path", lambda _: SimpleNamespace(read_text=lambda: "no such library"))
    assert not limit_allocations.__wrapped__()
    monkeypatch.setattr(decoder, "Path", lambda _: SimpleNamespace(read_text=lambda: "/x/opencv/libavutil-1.so"))
    assert not limit_allocations.__wrapped__()


@pytest.mark.parametrize(("value", "name"), [(875967080.0, "h264"), (-1.0, "ÿÿÿÿ"), (0.0, "\0\0\0\0")])
def test_the_four_letters_of_a_codec(value, name):
    """The codec's letters in lower case; nonsense stays nonsense and is no error."""
    assert fourcc(SimpleNamespace(get=lambda _: value)) == name
