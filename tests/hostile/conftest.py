"""Small real videos to be damaged, and a child process with limits that tries to read them."""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import imageio_ffmpeg
import pytest

from fabnet_secure.errors import UsageError
from fabnet_secure.synth.clip import write_clip

REPOSITORY = Path(__file__).resolve().parents[2]
REAL_CLIPS = REPOSITORY / ".." / "shared" / "data" / "clips"
MEMORY = 2 * 1024**3
CPU_SECONDS = 120
WAIT_SECONDS = 20
YUV = ["-pix_fmt", "yuv420p"]
FORMATS = {
    "h264.mp4": ["-c:v", "libx264", *YUV],
    "h264-fragments.mp4": ["-c:v", "libx264", "-movflags", "frag_keyframe+empty_moov", "-g", "4", *YUV],
    "h264.mkv": ["-c:v", "libx264", *YUV],
    "h264.ts": ["-c:v", "libx264", *YUV],
    "h265.mp4": ["-c:v", "libx265", "-x265-params", "log-level=none", *YUV],
    "vp9.webm": ["-c:v", "libvpx-vp9", "-deadline", "realtime", *YUV],
    "av1.mkv": ["-c:v", "libsvtav1", "-preset", "10", *YUV],
    "mjpeg.avi": ["-c:v", "mjpeg"],
    "mpeg1.mpg": ["-c:v", "mpeg1video"],
    "mpeg2.m2v": ["-c:v", "mpeg2video", "-f", "mpeg2video"],
    "mpeg4.mov": ["-c:v", "mpeg4"],
    "flv.flv": ["-c:v", "flv"],
    "wmv.wmv": ["-c:v", "wmv2"],
    "animated.gif": [],
}

# One line in, a path; one line out, what became of it. Any other end of this process is a finding.
READER = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[2]),) * 2)
from pathlib import Path
from fabnet_secure.errors import UnreadableSource
from fabnet_secure.memory import harden
from fabnet_secure.video.reader import open_video
harden()
for line in sys.stdin:
    frames = 0
    try:
        with open_video(Path(json.loads(line))) as stream:
            while stream.grab():
                frames += 1
                if frames % 3:
                    assert stream.frame().pixels.shape == (stream.height, stream.width, 3)
        told = "ok"
    except UnreadableSource as error:
        told = error.code if error.message and error.hint else "SILENT"
    print(json.dumps([told, frames]), flush=True)
"""


def run_ffmpeg(*arguments: object) -> None:
    """Run FFmpeg quietly."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, timeout=60, env={**os.environ, "SVT_LOG": "0"})


@pytest.fixture(scope="session")
def ffmpeg() -> Callable[..., None]:
    """Run FFmpeg with the given arguments."""
    return run_ffmpeg


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A small whole video of every format, and of made-up people where the renderer's data is installed."""
    folder = tmp_path_factory.mktemp("whole")
    found = {}
    for name, options in FORMATS.items():
        run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=128x96:r=25:d=0.48", *options, folder / name)
        found[name] = (folder / name).read_bytes()
    try:
        for name in ("people.mp4", "people.avi"):
            write_clip(folder / name, [1, 2], frames=8, width=128, height=96)
            found[name] = (folder / name).read_bytes()
    except UsageError:
        pass  # another machine may lack the head's data: those two are left out
    return found


@pytest.fixture(scope="session")
def real() -> dict[str, bytes]:
    """Real clips, by name; skips where there are none."""
    if not REAL_CLIPS.is_dir():
        pytest.skip("no folder of real clips here")
    paths = sorted(path for path in REAL_CLIPS.glob("*/*.*") if path.suffix in {".mp4", ".mkv", ".mpg", ".gif"})
    return {path.name: path.read_bytes() for path in paths if path.stat().st_size < 1_500_000}


class ReadingChild:
    """A process that reads one file after another, with limits on memory, processor and time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", READER, str(MEMORY), str(CPU_SECONDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def read(self, path: Path) -> tuple[str, int]:
        """Return what the child says of ``path``, or how it died of it."""
        try:
            self._process.stdin.write(json.dumps(os.fsdecode(path)) + "\n")
            self._process.stdin.flush()
            told, frames = json.loads(self._lines.get(timeout=WAIT_SECONDS))
        except queue.Empty:
            self._process.kill()
            self.close()
            return "HANG", 0
        except (ValueError, BrokenPipeError):
            self.close()
            return f"DIED({self._process.returncode}): {self._process.stderr.read()[-600:]}", 0
        return told, frames

    @property
    def alive(self) -> bool:
        """Whether it can take another file."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the process."""
        try:
            self._process.stdin.close()
            self._process.wait(2)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self._process.kill()
            self._process.wait(10)

    def _listen(self) -> None:
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")  # not JSON: it is over


@pytest.fixture
def read_in_child() -> Iterator[Callable[[Sequence[Path]], dict[str, tuple[str, int]]]]:
    """Read files in a child process; a new one takes over where one dies."""
    children = [ReadingChild()]

    def read(paths: Sequence[Path]) -> dict[str, tuple[str, int]]:
        found = {}
        for path in paths:
            if not children[-1].alive:
                children.append(ReadingChild())
            found[path.name] = children[-1].read(path)
        return found

    yield read
    for child in children:
        child.close()
