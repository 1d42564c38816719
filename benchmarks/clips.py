"""Made-up people on H.264, as a camera would write them, kept for one run of the benchmarks.

Guarantees: everything shown is drawn by ``fabnet_secure.synth`` and filmed with grain at about 1 Mbit/s, 640×360, 25
frames a second, so that decoding costs what a camera's video costs; :func:`relabelled` gives the same pictures under
other bytes, since a vault knows a video by its bytes. Does not guarantee real faces: a fresh machine has none.
"""

import shutil
import struct
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import imageio_ffmpeg  # type: ignore[import-untyped]

from fabnet_secure.synth.clip import write_clip

WIDTH, HEIGHT, FPS = 640, 360, 25
DRAWN = 250
"""Frames that are drawn (60 ms each): played there and back they make 20 seconds without a jump."""
_GRAIN = 4
_BITRATE = "1M"


@dataclass(slots=True)
class Shelf:
    """The run's folder of clips; each is made when it is first asked for. ``full``: at the goal's full size."""

    folder: Path
    full: bool = False
    _made: dict[str, Path] = field(default_factory=dict)
    _copies: int = 0

    def clip(self, frames: int) -> Path:
        """Return an H.264 clip of one person, the same at every call."""
        name = f"clip-{frames}.mp4"
        if name not in self._made:
            self._made[name] = encode(self._drawn(), self.folder / name, frames)
        return self._made[name]

    def looped(self, seconds: int) -> Path:
        """Return a clip of so many seconds: a minute of video, repeated without another encoding."""
        name = f"looped-{seconds}.mp4"
        if name not in self._made:
            self._made[name] = repeat(self.clip(60 * FPS), self.folder / name, seconds)
        return self._made[name]

    def relabelled(self, clip: Path) -> Path:
        """Return a copy of ``clip`` that shows the same and is another file, never the same twice."""
        self._copies += 1
        return relabel(clip, self.folder / f"copy-{self._copies}.mp4", self._copies)

    def _drawn(self) -> Path:
        if "drawn" not in self._made:
            path = self.folder / "drawn.avi"
            write_clip(path, [1], frames=DRAWN, width=WIDTH, height=HEIGHT, fps=FPS, track_seed=1)
            self._made["drawn"] = path
        return self._made["drawn"]


def encode(drawn: Path, path: Path, frames: int) -> Path:
    """Write ``drawn``, there and back again and again with fresh grain, as ``frames`` frames of H.264."""
    there_and_back = f"[0]split[a][b];[b]reverse[r];[a][r]concat,loop=-1:{2 * DRAWN}:0,setpts=N/{FPS}/TB"
    filters = f"{there_and_back},noise=alls={_GRAIN}:allf=t+u,format=yuv420p"
    rate = ["-b:v", _BITRATE, "-maxrate", "2M", "-bufsize", "2M", "-g", str(2 * FPS)]
    encoder = ["-c:v", "libx264", "-preset", "veryfast", *rate]
    run_ffmpeg("-i", drawn, "-filter_complex", filters, "-frames:v", frames, "-r", FPS, *encoder, path)
    return path


def repeat(clip: Path, path: Path, seconds: int) -> Path:
    """Write ``clip`` over and over until it lasts ``seconds``; its packets are copied as they are."""
    run_ffmpeg("-stream_loop", -1, "-i", clip, "-t", seconds, "-c", "copy", path)
    return path


def relabel(clip: Path, path: Path, number: int) -> Path:
    """Copy an MP4 file and append a ``free`` box (ISO/IEC 14496-12, 8.1.2) that holds a number."""
    shutil.copyfile(clip, path)
    with path.open("ab") as stream:
        stream.write(free_box(number))
    return path


def free_box(number: int) -> bytes:
    """Return an MP4 box that every reader skips: size (4 bytes), the word ``free``, and the number (8 bytes)."""
    return struct.pack(">I4sQ", 16, b"free", number)


def megabits(clip: Path, frames: int) -> float:
    """Return the clip's rate in Mbit/s."""
    return round(clip.stat().st_size * 8 / (frames / FPS) / 1e6, 2)


def run_ffmpeg(*arguments: object) -> None:
    """Run the FFmpeg of ``imageio-ffmpeg`` and overwrite what it writes to."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
