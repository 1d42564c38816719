"""Files made to hurt: each is refused in words, at once, and before anything large is allocated."""

import errno
import os
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fabnet_secure.errors import UnreadableSource
from fabnet_secure.video import reader
from fabnet_secure.video.decoder import MAX_PIXELS, limit_allocations
from fabnet_secure.video.reader import open_video

MIB = 1024 * 1024


def read_all(path):
    """Read a video to its end; return how many frames it gave."""
    with open_video(path) as stream:
        return sum(1 for _ in stream)


def refusal(path):
    """Return the error that reading the whole of ``path`` raises."""
    with pytest.raises(UnreadableSource) as caught:
        read_all(path)
    return caught.value


# Reads a file in a process of its own; prints the code and by how many MiB the process's peak grew.
MEASURE = """
import re, sys
from pathlib import Path
from fabnet_secure.errors import UnreadableSource
from fabnet_secure.video.reader import open_video
def peak(): return int(re.search("VmHWM:\\\\s+(\\\\d+)", Path("/proc/self/status").read_text())[1]) // 1024
def read(path):
    try:
        with open_video(Path(path)) as stream:
            print(sum(1 for _ in stream), end=" ")
        return "ok"
    except UnreadableSource as error:
        return error.code
read(sys.argv[1])
before = peak()
code = read(sys.argv[2])
print(code, peak() - before)
"""


@pytest.fixture
def measure(tmp_path, whole):
    """Read a file in a process of its own that has read a harmless one before: (code, MiB that its peak grew by)."""
    harmless = tmp_path / "harmless.mp4"
    harmless.write_bytes(whole["h264.mp4"])

    def run(path):
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, harmless, path], capture_output=True, text=True, check=True, timeout=60
        )
        code, grown = done.stdout.split()[-2:]
        return code, int(grown)

    return run


def with_jpeg_size(avi, width, height):
    """Write another size into every picture of a Motion JPEG file, and into its headers."""
    data, at = bytearray(avi), 0
    while (at := data.find(b"\xff\xc0\x00\x11\x08", at)) > 0:
        struct.pack_into(">HH", data, at + 5, height, width)
        at += 5
    struct.pack_into("<II", data, data.index(b"avih") + 8 + 32, width, height)
    struct.pack_into("<II", data, data.index(b"strf") + 8 + 4, width, height)
    return bytes(data)


@pytest.mark.slow
def test_a_whole_16k_video_is_refused_unallocated(ffmpeg, tmp_path, measure):
    """A real 15360 by 8640 video: SOURCE_TOO_LARGE, with less memory than half of one plane of it."""
    path = tmp_path / "16k.mp4"
    small = "ref=1:threads=1:lookahead-threads=1:rc-lookahead=0:sync-lookahead=0"
    ffmpeg(
        "-f", "lavfi", "-i", "color=s=15360x8640:r=25", "-frames:v", 1, "-c:v", "libx264", "-preset", "ultrafast",
        "-x264-params", small, "-pix_fmt", "yuv420p", path,
    )  # fmt: skip
    code, grown = measure(path)
    assert code == "SOURCE_TOO_LARGE"
    assert grown < 15360 * 8640 / 2 / MIB


@pytest.mark.parametrize(("width", "height"), [(16384, 8640), (65000, 65000)])
def test_headers_that_claim_giant_pictures_allocate_nothing(whole, tmp_path, measure, width, height):
    """Small pictures whose headers claim giant ones: refused, and the memory for them is never taken."""
    path = tmp_path / "giant.avi"
    path.write_bytes(with_jpeg_size(whole["mjpeg.avi"], width, height))
    code, grown = measure(path)
    assert code in {"SOURCE_TOO_LARGE", "SOURCE_NO_FRAMES"}
    assert grown < 64


def test_pictures_that_are_giant_beneath_a_modest_header(whole, tmp_path, measure):
    """The container says 128 by 96, the VP9 stream in it 16384 by 8640: refused, and never allocated."""
    data = bytearray(whole["vp9.webm"])
    at = data.index(b"\x49\x83\x42") + 3  # after the frame's sync code: four bits, then width - 1 and height - 1
    first = int.from_bytes(data[at : at + 5])
    kept = first >> 36 << 36 | first & 0xF
    data[at : at + 5] = (kept | 16383 << 20 | 8639 << 4).to_bytes(5)
    path = tmp_path / "beneath.webm"
    path.write_bytes(data)
    code, grown = measure(path)
    assert code in {"SOURCE_TOO_LARGE", "SOURCE_NO_FRAMES"}
    assert grown < 64


@pytest.mark.parametrize("size", [(65535, 65535), (16384, 8640)])
def test_a_gif_with_a_giant_screen_is_refused(whole, tmp_path, measure, size):
    """A GIF whose screen is giant and whose pictures are small: refused without that memory."""
    data = bytearray(whole["animated.gif"])
    struct.pack_into("<HH", data, 6, *size)
    path = tmp_path / "giant.gif"
    path.write_bytes(data)
    code, grown = measure(path)
    assert code in {"SOURCE_TOO_LARGE", "SOURCE_NO_FRAMES"}
    assert grown < 64


def test_ffmpeg_may_not_allocate_more_than_a_picture_needs():
    """The cap on single allocations holds in this build of OpenCV, and leaves room for an 8K picture."""
    assert limit_allocations()
    assert 7680 * 4320 < MAX_PIXELS < 15360 * 8640


def test_a_picture_of_one_pixel_is_read(ffmpeg, tmp_path):
    """One pixel is a picture; its video is read like any other."""
    path = tmp_path / "one.mkv"
    ffmpeg("-f", "lavfi", "-i", "color=c=white:s=1x1:r=25:d=0.2", "-c:v", "ffv1", path)
    with open_video(path) as stream:
        assert [frame.pixels.shape for frame in stream] == [(1, 1, 3)] * 5
    path = tmp_path / "one.gif"
    ffmpeg("-f", "lavfi", "-i", "color=c=white:s=1x1:r=25:d=0.2", path)
    with open_video(path) as stream:
        assert all(frame.pixels.shape == (1, 1, 3) and frame.pixels.min() > 200 for frame in stream)


def test_a_million_declared_frames_in_an_avi(whole, tmp_path, measure):
    """A header of a million frames over a dozen: no forecast, no memory for it, SOURCE_TRUNCATED."""
    data = bytearray(whole["mjpeg.avi"])
    struct.pack_into("<I", data, data.index(b"avih") + 8 + 16, 1_000_000)
    struct.pack_into("<I", data, data.index(b"strh") + 8 + 32, 1_000_000)
    path = tmp_path / "million.avi"
    path.write_bytes(data)
    with open_video(path) as stream:
        assert stream.expected is None
        assert stream.grab()
    code, grown = measure(path)
    assert code == "SOURCE_TRUNCATED"
    assert grown < 32


@pytest.mark.parametrize("count", [1_000_000, 2_000_000_000])
@pytest.mark.parametrize("table", ["stts", "stsz", "stsz-constant", "stsc"])
def test_a_million_declared_frames_in_an_mp4(whole, tmp_path, measure, table, count):
    """The same in each table of an MP4: refused, with no memory for what is not there."""
    data = bytearray(whole["h264.mp4"])
    at = data.index(table[:4].encode()) + 4
    if table == "stts":
        struct.pack_into(">I", data, at + 8, count)
    elif table == "stsc":
        struct.pack_into(">I", data, at + 12, count)
    else:
        struct.pack_into(">II", data, at + 4, 1 if table == "stsz-constant" else 0, count)
    path = tmp_path / "million.mp4"
    path.write_bytes(data)
    code, grown = measure(path)
    assert code in {"SOURCE_TRUNCATED", "SOURCE_NO_FRAMES", "SOURCE_NOT_VIDEO"} or (table, code) == ("stsc", "ok")
    assert (table, code) != ("stts", "ok")
    assert grown < 64


def test_a_fragment_that_claims_a_billion_samples(whole, tmp_path, measure):
    """A movie fragment's sample count without samples: refused or read, with no memory for the claim."""
    data = bytearray(whole["h264-fragments.mp4"])
    at = data.index(b"trun") + 4
    struct.pack_into(">I", data, at, 1)  # version 0, only a data offset: nothing stands for each sample
    struct.pack_into(">I", data, at + 4, 1_000_000_000)
    path = tmp_path / "fragment.mp4"
    path.write_bytes(data)
    began = time.monotonic()
    code, grown = measure(path)
    assert code == "ok" or code.startswith("SOURCE_")
    assert grown < 256
    assert time.monotonic() - began < 20


def test_a_fifo_and_devices_are_refused_at_once(tmp_path):
    """A FIFO, /dev/zero, /dev/null and a link to them: SOURCE_NOT_FILE, without waiting."""
    fifo, link = tmp_path / "fifo.mp4", tmp_path / "link.mp4"
    os.mkfifo(fifo)
    link.symlink_to("/dev/zero")
    began = time.monotonic()
    for path in (fifo, link, Path("/dev/zero"), Path("/dev/null"), tmp_path):
        assert refusal(path).code == "SOURCE_NOT_FILE"
    assert time.monotonic() - began < 2


def test_loops_of_links_are_missing_files(tmp_path):
    """Links that lead to themselves, or round in a ring: SOURCE_MISSING."""
    ring = [tmp_path / f"{number}.mp4" for number in range(3)]
    for number, path in enumerate(ring):
        path.symlink_to(ring[(number + 1) % 3])
    assert {refusal(path).code for path in ring} == {"SOURCE_MISSING"}


@pytest.mark.parametrize("code", [errno.ENAMETOOLONG, errno.EIO, errno.ESTALE, errno.ENXIO, errno.EBUSY])
def test_whatever_the_system_says_is_an_error_for_people(tmp_path, monkeypatch, code):
    """Any refusal of the system becomes SOURCE_UNREADABLE with a hint, never a bare OSError."""

    def fail(*_, **__):
        raise OSError(code, os.strerror(code), "/secret/name")

    (tmp_path / "clip.mp4").write_bytes(b"x")
    monkeypatch.setattr(reader.os, "open", fail)
    error = refusal(tmp_path / "clip.mp4")
    assert error.code == "SOURCE_UNREADABLE"
    assert error.hint
    assert "secret" not in error.message + error.hint


def test_names_that_are_no_names(tmp_path):
    """A name that is too long, and one with a zero byte: refused as missing or unreadable files."""
    assert refusal(tmp_path / ("x" * 300)).code == "SOURCE_UNREADABLE"
    assert refusal(tmp_path / "a\0b.mp4").code == "SOURCE_MISSING"


def test_a_folder_without_permission(whole, tmp_path):
    """A video in a folder that may not be entered: SOURCE_UNREADABLE, asked as an ordinary account."""
    folder = tmp_path / "closed"
    folder.mkdir()
    (folder / "clip.mp4").write_bytes(whole["h264.mp4"])
    folder.chmod(0)
    script = (
        "import os, sys; from pathlib import Path; from fabnet_secure.errors import UnreadableSource\n"
        "from fabnet_secure.video.reader import open_video\n"
        "if os.geteuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        "try:\n"
        "    with open_video(Path(sys.argv[1])): pass\n"
        "except UnreadableSource as error: print(error.code)"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", script, folder / "clip.mp4"], capture_output=True, text=True, check=True, timeout=60
        )
    finally:
        folder.chmod(0o700)
    assert done.stdout.strip() == "SOURCE_UNREADABLE"


def test_names_that_are_not_utf_8_are_read(whole, tmp_path):
    """A file name of any bytes is only a name."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/clip-\xff\xfe\n\xe9.mp4"))
    path.write_bytes(whole["h264.mp4"])
    with open_video(path) as stream:
        assert sum(1 for _ in stream) == 12


def test_a_file_that_grows_while_it_is_read(whole, tmp_path):
    """A video that another process goes on writing ends, in frames or in words; it is never read for ever."""
    path = tmp_path / "growing.ts"
    path.write_bytes(whole["h264.ts"])
    stop = threading.Event()

    def grow():
        with path.open("ab", buffering=0) as file:
            while not stop.wait(0.002):
                file.write(whole["h264.ts"])

    writer = threading.Thread(target=grow)
    frames = 0
    with open_video(path) as stream:
        writer.start()
        try:
            for frames in range(1, 400):
                if not stream.grab():
                    break
                if frames == 40:
                    stop.set()
        finally:
            stop.set()
            writer.join()
    assert frames >= 12


def test_a_file_that_shrinks_while_it_is_read(ffmpeg, tmp_path):
    """A video cut while it is read ends in words, and the process lives."""
    path = tmp_path / "shrinking.avi"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=4", "-c:v", "mjpeg", path)
    with open_video(path) as stream:
        assert stream.grab()
        os.truncate(path, 200_000)
        with pytest.raises(UnreadableSource) as caught:
            list(stream)
    assert caught.value.code == "SOURCE_TRUNCATED"


def test_a_file_that_is_replaced_after_the_check_is_not_read(whole, tmp_path, monkeypatch):
    """What was opened and checked is what is decoded, even if the name is given to another file meanwhile."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(whole["h264.mp4"])
    check = reader._check_container

    def swap(descriptor):
        kind = check(descriptor)
        path.unlink()
        path.write_bytes(b"something else")
        return kind

    monkeypatch.setattr(reader, "_check_container", swap)
    with open_video(path) as stream:
        assert sum(1 for _ in stream) == 12


@pytest.mark.parametrize(
    "content",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n/etc/passwd\n",
        b"ffconcat version 1.0\nfile '/etc/passwd'\n",
        b"<?xml version='1.0'?><MPD><Period><AdaptationSet/></Period></MPD>",
        b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nm=video 5004 RTP/AVP 96\r\n",
        b"\x1f\x8b\x08" + bytes(400),
        b"PK\x03\x04" + bytes(400),
        b"\x7fELF" + bytes(400),
        b"\x89PNG\r\n\x1a\n" + bytes(400),
        b"\xff\xd8\xff\xe0" + bytes(400),
    ],
    ids=["hls", "concat", "dash", "sdp", "gzip", "zip", "elf", "png", "jpeg"],
)
def test_other_formats_open_nothing(tmp_path, content):
    """Playlists, scripts of demuxers, archives, programs and still pictures are no videos."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    assert refusal(path).code == "SOURCE_NOT_VIDEO"


def test_a_mov_that_refers_to_another_file_opens_only_itself(whole, tmp_path):
    """A reference to outside data in a MOV is not followed."""
    data = bytearray(whole["mpeg4.mov"])
    at = data.index(b"url ")
    data[at : at + 12] = b"url \x00\x00\x00\x00" + b"file"
    path = tmp_path / "refers.mov"
    path.write_bytes(data)
    try:
        with open_video(path) as stream:
            assert sum(1 for _ in stream) <= 12
    except UnreadableSource as error:
        assert error.code.startswith("SOURCE_")  # noqa: PT017  either end is right
