"""The reader hands out frames from one buffer, and refuses every hostile file in words and in time."""

import copy
import errno
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import wave
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from fabnet_secure.errors import UnreadableSource
from fabnet_secure.memory import locked_zeros
from fabnet_secure.video import reader
from fabnet_secure.video.reader import open_video


def locked_kib():
    """Return how much memory this process has locked, in KiB."""
    return int(re.search(r"VmLck:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def read_all(path):
    """Read a video to its end; return how many frames it gave."""
    with open_video(path) as stream:
        return sum(1 for _ in stream)


def refusal(path):
    """Return the error that reading the whole of ``path`` raises."""
    with pytest.raises(UnreadableSource) as caught:
        read_all(path)
    return caught.value


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv", "a.mov"])
def test_frames_come_in_order_with_their_times(write_clip, name):
    """Every frame is handed out once, numbered from 0, with its time and the written size."""
    with open_video(write_clip(name, frames=12, width=96, height=64)) as stream:
        seen = [(frame.index, round(frame.time_ms), int(frame.pixels.mean())) for frame in stream]
    assert [index for index, _, _ in seen] == list(range(12))
    assert [time for _, time, _ in seen] == [40 * index for index in range(12)]
    assert all(after > before for (_, _, before), (_, _, after) in pairwise(seen))
    assert (stream.width, stream.height, stream.fps, stream.frames_read) == (96, 64, 25.0, 12)


def test_the_name_does_not_matter(write_clip):
    """A video under a name that says nothing, or looks like a URL, is read by its contents."""
    path = write_clip("a.mp4", frames=7)
    odd = path.with_name("concat:http%03d.txt")
    path.rename(odd)
    assert read_all(odd) == 7


def test_a_link_to_a_video_is_followed(write_clip, tmp_path):
    """A symbolic link to a regular file is read as that file."""
    link = tmp_path / "link.avi"
    link.symlink_to(write_clip("a.avi", frames=6))
    assert read_all(link) == 6


def test_all_frames_share_one_buffer_zeroed_on_exit(write_clip):
    """A kept view shows the next picture, never an older one, and zeros after the video is closed."""
    with open_video(write_clip(frames=5)) as stream:
        first = next(stream).pixels
        before = int(first.mean())
        second = next(stream).pixels
        assert np.shares_memory(first, second)
        assert int(first.mean()) == int(second.mean()) > before
    assert not first.any()


def test_the_buffer_is_zeroed_when_the_caller_fails(write_clip):
    """An exception in the caller's loop leaves no picture behind."""
    held = []

    def fail():
        with open_video(write_clip(frames=5)) as stream:
            held.append(next(stream).pixels)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not held[0].any()


def test_the_buffer_is_zeroed_at_the_last_frame(write_clip):
    """When the frames run out the buffer is zeroed at once."""
    with open_video(write_clip(frames=3)) as stream:
        last = [frame.pixels for frame in stream][-1]
        assert not last.any()


@pytest.mark.parametrize("leave", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_frame_refuses_to_leave(write_clip, leave):
    """A frame cannot be copied or pickled."""
    with open_video(write_clip(frames=2)) as stream, pytest.raises(TypeError, match="raw frame"):
        leave(next(stream))


def test_frames_may_be_passed_by_unconverted(write_clip):
    """grab() goes on without converting: numbers and times count every frame, and the buffer is left alone."""
    with open_video(write_clip(frames=12)) as stream:
        first = next(stream)
        brightness = int(first.pixels.mean())
        for _ in range(4):
            assert stream.grab()
        assert int(first.pixels.mean()) == brightness
        later = stream.frame()
        assert (later.index, round(later.time_ms), stream.frames_read) == (4, 160, 5)
        assert int(later.pixels.mean()) > brightness
        assert [frame.index for frame in stream] == list(range(5, 12))
        assert not stream.grab()
    assert stream.frames_read == 12


def test_a_frame_is_converted_at_most_once(write_clip):
    """frame() needs a grab() of its own; none at all, and a second one, are mistakes of the caller."""
    with open_video(write_clip(frames=2)) as stream:
        with pytest.raises(RuntimeError, match="grab"):
            stream.frame()
        stream.grab()
        stream.frame()
        with pytest.raises(RuntimeError, match="grab"):
            stream.frame()
        assert stream.grab()
        assert not stream.grab()
        with pytest.raises(RuntimeError, match="grab"):
            stream.frame()


def test_the_buffer_is_locked(write_clip):
    """The one buffer is in locked memory, and says so; where the kernel refuses, it says that."""
    if not locked_zeros(8)[1]:
        pytest.skip("this account may lock no memory")
    with open_video(write_clip(frames=2, width=320, height=240)) as stream:
        assert stream.locked
        assert locked_kib() >= 320 * 240 * 3 // 1024


def test_a_buffer_that_cannot_be_locked_is_told(write_clip, monkeypatch):
    """Without the right to lock memory a video is still read, and ``locked`` is False."""
    monkeypatch.setattr(reader, "locked_zeros", lambda shape: (np.zeros(shape, np.uint8), False))
    with open_video(write_clip(frames=2)) as stream:
        assert not stream.locked
        assert not stream.live
        assert len(list(stream)) == 2


def test_pixels_are_read_only(write_clip):
    """Nobody can draw into the reader's buffer."""
    with open_video(write_clip(frames=2)) as stream, pytest.raises(ValueError, match="read-only"):
        next(stream).pixels[0, 0] = 1


def test_a_missing_file_is_named_missing(tmp_path):
    """No file: SOURCE_MISSING; so are a broken link, a loop of links and a file used as a folder."""
    broken, loop, used = tmp_path / "broken.mp4", tmp_path / "loop.mp4", tmp_path / "file"
    broken.symlink_to(tmp_path / "nowhere.mp4")
    loop.symlink_to(loop)
    used.write_bytes(b"x")
    for path in (tmp_path / "none.mp4", broken, loop, used / "a.mp4"):
        assert refusal(path).code == "SOURCE_MISSING"


def test_an_empty_file_is_named_empty(tmp_path):
    """Zero bytes: SOURCE_EMPTY."""
    path = tmp_path / "empty.mp4"
    path.touch()
    assert refusal(path).code == "SOURCE_EMPTY"


@pytest.mark.parametrize(
    "content",
    [
        b"Dear reader, this is no video.\n" * 400,
        np.random.default_rng(1).bytes(200_000),
        b"\x00",
        b"#EXTM3U\n#EXTINF:3,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"\x1a\x45\xdf\xa3" + np.random.default_rng(2).bytes(50_000),
        b"GIF89a" + np.random.default_rng(3).bytes(50_000),
        b"OggS" + bytes(50_000),
        b"\x00\x00\x01\xb3" + bytes(5_000),
    ],
    ids=["text", "random", "one-byte", "playlist", "concat", "fake-mkv", "fake-gif", "fake-ogg", "fake-mpeg"],
)
def test_what_is_no_video_is_refused(tmp_path, content):
    """Text, noise, playlists and a container's first bytes before noise are never read as pictures."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    assert refusal(path).code in {"SOURCE_NOT_VIDEO", "SOURCE_NO_FRAMES", "SOURCE_TRUNCATED"}


def test_text_named_mp4_is_not_a_video(tmp_path):
    """The message names the case and the hint what to give; neither repeats the contents."""
    path = tmp_path / "clip.mp4"
    path.write_text("secret words")
    error = refusal(path)
    assert (error.code, error.message) == ("SOURCE_NOT_VIDEO", "the file is not a video")
    assert "MP4" in error.hint
    assert "secret" not in error.message + error.hint


def test_a_half_cut_mp4_with_its_index_at_the_end_is_truncated(noisy_mp4):
    """Half of an MP4 whose moov box is lost: SOURCE_TRUNCATED, not "no video"."""
    data = noisy_mp4.read_bytes()
    noisy_mp4.write_bytes(data[: len(data) // 2])
    assert refusal(noisy_mp4).code == "SOURCE_TRUNCATED"


def test_a_half_cut_mp4_with_its_index_at_the_start_is_truncated(noisy_mp4, fast_start):
    """Half of an MP4 that a decoder would happily begin: refused before a frame is handed out."""
    data = fast_start(noisy_mp4.read_bytes())
    noisy_mp4.write_bytes(data)
    assert read_all(noisy_mp4) == 40
    noisy_mp4.write_bytes(data[: len(data) // 2])
    with pytest.raises(UnreadableSource) as caught, open_video(noisy_mp4):
        pytest.fail("a cut file was opened")
    assert caught.value.code == "SOURCE_TRUNCATED"


@pytest.mark.parametrize("name", ["a.mkv", "a.avi", "a.mov"])
def test_half_of_any_container_with_a_length_is_truncated(write_clip, name):
    """Matroska, AVI and MOV say how long they are, and are held to it."""
    path = write_clip(name, frames=40)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert refusal(path).code == "SOURCE_TRUNCATED"


def test_pictures_lost_inside_a_whole_file_are_truncation(noisy_mp4, fast_start):
    """The file has its full length, but its second half is zeros: the count of frames tells."""
    data = bytearray(fast_start(noisy_mp4.read_bytes()))
    half = len(data) // 2
    data[half:] = bytes(len(data) - half)
    noisy_mp4.write_bytes(data)
    assert refusal(noisy_mp4).code in {"SOURCE_TRUNCATED", "SOURCE_NO_FRAMES"}


def test_a_wave_file_is_sound_only(tmp_path):
    """A WAVE file, under whatever name: SOURCE_AUDIO_ONLY."""
    path = tmp_path / "voice.mp4"
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16_000))
    assert refusal(path).code == "SOURCE_AUDIO_ONLY"


def test_an_mp4_without_a_picture_stream_is_sound_only(noisy_mp4):
    """An MP4 whose only stream is declared to be sound: SOURCE_AUDIO_ONLY."""
    noisy_mp4.write_bytes(noisy_mp4.read_bytes().replace(b"vide", b"soun").replace(b"vmhd", b"smhd"))
    assert refusal(noisy_mp4).code == "SOURCE_AUDIO_ONLY"


def test_a_video_of_no_frames_holds_no_pictures(write_clip):
    """A well-formed file with zero frames: SOURCE_NO_FRAMES."""
    for name in ("none.mp4", "none.mov", "none.avi", "none.mkv"):
        assert refusal(write_clip(name, frames=0)).code == "SOURCE_NO_FRAMES"


def test_a_folder_and_a_device_are_not_files(tmp_path):
    """A folder, /dev/zero and /dev/null: SOURCE_NOT_FILE, at once."""
    for path in (tmp_path, Path("/dev/zero"), Path("/dev/null")):
        assert refusal(path).code == "SOURCE_NOT_FILE"


def test_a_fifo_does_not_hang(tmp_path):
    """A FIFO that nobody writes to is refused without waiting; so is one put in a file's place."""
    path = tmp_path / "pipe.mp4"
    os.mkfifo(path)
    script = (
        "import sys; from pathlib import Path; from fabnet_secure.video import reader\n"
        "if sys.argv[2] == 'raced': reader.Path.stat = lambda self: __import__('os').stat(sys.executable)\n"
        "try: reader._open_regular(Path(sys.argv[1]))\n"
        "except reader.UnreadableSource as error: print(error.code)"
    )
    for race in ("plain", "raced"):
        done = subprocess.run(
            [sys.executable, "-c", script, str(path), race],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        assert done.stdout.strip() == "SOURCE_NOT_FILE"


def test_a_file_without_permission_is_unreadable(write_clip):
    """A file that may not be opened: SOURCE_UNREADABLE."""
    folder = Path(tempfile.mkdtemp())
    path = folder / "clip.avi"
    shutil.copyfile(write_clip(frames=3), path)
    folder.chmod(0o755)
    path.chmod(0)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)
        assert refusal(path).code == "SOURCE_UNREADABLE"
    finally:
        if root:
            os.seteuid(0)
        shutil.rmtree(folder)


def test_a_giant_picture_is_refused(write_clip, monkeypatch):
    """A header that asks for more pixels than allowed is refused before a picture is decoded."""
    monkeypatch.setattr(reader, "MAX_PIXELS", 64 * 96 - 1)
    assert refusal(write_clip(frames=2)).code == "SOURCE_TOO_LARGE"


def test_nothing_is_left_open(write_clip, tmp_path):
    """After good and refused files alike, the process holds no more open files than before."""
    good, bad = write_clip(frames=3), tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    read_all(good)
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(5):
        read_all(good)
        refusal(bad)
        refusal(tmp_path)
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_ffmpeg_and_opencv_stay_silent(noisy_mp4, fast_start, capfd):
    """A damaged file writes nothing to stdout or stderr: the error says it all."""
    data = bytearray(fast_start(noisy_mp4.read_bytes()))
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    noisy_mp4.write_bytes(data)
    refusal(noisy_mp4)
    assert capfd.readouterr() == ("", "")


def test_a_failing_disk_is_unreadable(write_clip, monkeypatch):
    """An input/output error while the head is read: SOURCE_UNREADABLE, with the system's words."""

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    path = write_clip(frames=2)
    monkeypatch.setattr(reader.os, "pread", fail)
    error = refusal(path)
    assert error.code == "SOURCE_UNREADABLE"
    assert "Input/output error" in error.message
