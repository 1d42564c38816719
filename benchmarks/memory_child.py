"""Ingest one clip and print what memory that took: ``python -m benchmarks.memory_child HOME CONSENT CLIP``."""

import gc
import json
import os
import sys
from pathlib import Path

from benchmarks.vaults import Home, take_in

_PAGE = os.sysconf("SC_PAGE_SIZE")
_MB = 1024 * 1024


class Gauge:
    """The ingest's progress, listened to for how much memory is resident when a tenth is read and when all is."""

    def __init__(self) -> None:
        self.at_10 = 0.0
        self.at_100 = 0.0

    def advance(self, stage: str, done: int, total: int | None = None, **figures: float) -> None:
        """Take a sample where one is due."""
        del figures
        if stage == "videos" or not total or done < total / 10:
            return
        self.at_10 = self.at_10 or resident_mb()
        if done >= 0.99 * total:
            self.at_100 = resident_mb()


def resident_mb() -> float:
    """Return the resident pages of this process, in MB."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * _PAGE / _MB


def peak_mb() -> float:
    """Return the most pages that were resident since :func:`forget_peak`, in MB."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024


def forget_peak() -> None:
    """Let the kernel count the peak anew (proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5", "ascii")


def main(folder: str, consent_id: str, clip: str) -> None:
    """Measure and print."""
    home, gauge = Home(folder=Path(folder), consent_id=consent_id), Gauge()
    with home.opened() as site:
        gc.collect()
        before = resident_mb()
        forget_peak()
        take_in(site, home.consent_id, [Path(clip)], gauge)
        peak = peak_mb()
    print(json.dumps({"before_mb": before, "peak_mb": peak, "at_10_mb": gauge.at_10, "at_100_mb": gauge.at_100}))


if __name__ == "__main__":
    main(*sys.argv[1:])
