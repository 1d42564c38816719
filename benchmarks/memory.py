"""How much memory one ingest holds beside the libraries, and whether it grows with the video's length.

The ingest runs in a process of its own (``memory_child.py``). Counted are resident pages, those locked included.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.clips import FPS, Shelf
from benchmarks.harness import Goal, Result, SkippedError
from benchmarks.vaults import Home, build_home

MOST_MB, MOST_GROWTH_MB = 400, 16
_CHILD = (sys.executable, "-P", "-m", "benchmarks.memory_child")
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")


def ingest_memory(shelf: Shelf) -> Result:
    """Peak of the resident memory while five minutes of video are ingested, less what the libraries and vault take."""
    return _held(shelf, 5 * 60)


def ingest_memory_hour(shelf: Shelf) -> Result:
    """The same over an hour of video; and every frame looked at, so that what is kept a look shows most."""
    return _held(shelf, 60 * 60, detector_interval=1)


def _held(shelf: Shelf, seconds: int, **policy: int) -> Result:
    if sys.platform != "linux":
        raise SkippedError("resident memory is read from /proc, which is Linux's")
    home = build_home(shelf.folder / f"memory-{seconds}", **policy)
    told = run_child(home, shelf.looped(seconds))
    held = told["peak_mb"] - told["before_mb"]
    return Result(
        value=held,
        unit="MB",
        ratio=told["peak_mb"] / told["before_mb"],
        baseline="the same process with its libraries imported and the vault open",
        goals=(Goal(figure="value", most=MOST_MB), Goal(figure="growth_mb", most=MOST_GROWTH_MB)),
        fields={
            "growth_mb": round(told["at_100_mb"] - told["at_10_mb"], 1),
            "from_to": "10 % to 100 % of the file",
            **{name: round(one, 1) for name, one in told.items()},
            "minutes": seconds / 60,
            "frames": seconds * FPS,
            "threads": 1,
        }
        | policy,
    )


def run_child(home: Home, clip: Path) -> dict[str, float]:
    """Ingest a clip in a process of its own and return what that tells of its memory, in MB."""
    root = str(Path(__file__).resolve().parents[1])
    environment = dict(os.environ) | dict.fromkeys(_ONE_THREAD, "1") | {"PYTHONPATH": root}
    script: list[str | Path] = [*_CHILD, home.folder, home.consent_id, clip]
    done = subprocess.run(script, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told
