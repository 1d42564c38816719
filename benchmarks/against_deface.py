"""The whole ingest against PyPI ``deface``, which finds every face with CenterFace and blurs it."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from benchmarks.clips import Shelf
from benchmarks.harness import Goal, Result, SkippedError, interleaved
from benchmarks.speed import Copies, what_is_looked_at
from benchmarks.vaults import build_home, take_in

FRAMES, ROUNDS = 300, 3
_HERE = Path(__file__).parent
_PINS = _HERE / "deface.txt"
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")


def ingest_vs_deface(shelf: Shelf) -> Result:
    """Seconds of deface with its output discarded ÷ seconds of the whole ingest of the same file; a thread each."""
    python = deface_python()
    home = build_home(shelf.folder / "deface")
    clip, copies = shelf.clip(FRAMES), Copies(shelf, FRAMES)
    with home.opened() as site:
        ours, theirs = interleaved(
            lambda turn: take_in(site, home.consent_id, [copies.of(turn)]),
            lambda turn: run_deface(python, copies.of(turn)),
            rounds=ROUNDS,
        )
    return Result(
        value=FRAMES / ours,
        unit="frames/s",
        ratio=theirs / ours,
        baseline=f"{_version()} (CenterFace at the full 640x360, OpenCV back end), output discarded",
        goals=(Goal(least=8),),
        fields={
            "baseline_value": round(FRAMES / theirs, 1),
            **what_is_looked_at(home, clip),
            "frames": FRAMES,
            "threads": 1,
        },
    )


def run_deface(python: Path, clip: Path) -> float:
    """Send one file through deface on one thread and return the seconds that it says."""
    environment = dict(os.environ) | dict.fromkeys(_ONE_THREAD, "1")
    script: list[str | Path] = [python, "-P", _HERE / "deface_child.py", clip]
    done = subprocess.run(script, check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout.splitlines()[-1])


def deface_python() -> Path:
    """Return the interpreter of deface's own environment, which is made the first time.

    Raises:
        SkippedError: it cannot be installed here.
    """
    folder = Path(sys.prefix) / "deface-venv"
    python, mark = folder / "bin" / "python", folder / ".ready"
    pins = sha256(_PINS.read_bytes()).hexdigest()
    if mark.exists() and mark.read_text("utf-8") == pins:
        return python
    if sys.prefix == sys.base_prefix:
        raise SkippedError("deface is installed beside a virtual environment only, and there is none: use 'make bench'")
    print("installing deface in an environment of its own, once …", file=sys.stderr, flush=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([*pip, "--no-deps", "-r", _PINS], check=True, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SkippedError(f"deface could not be installed with pip ({error})") from error
    mark.write_text(pins, "utf-8")
    return python


def _version() -> str:
    return next(line for line in _PINS.read_text("utf-8").splitlines() if line.startswith("deface=="))
