"""Run every metric, or those named, and print a JSON line each; ``profile`` prints where an ingest's time goes.

``--full`` measures at full size what has a smaller one by default: a million vectors instead of 100,000.
Exit status: 0, whether goals are met or not (each line says so); 2 when a name is not known. What cannot be measured
on this machine is said on standard error and in its line, and the others go on.
"""

import sys
import tempfile
from pathlib import Path

from benchmarks import metrics
from benchmarks.clips import Shelf
from benchmarks.harness import SkippedError, line
from benchmarks.stages import print_profile

PROFILE = "profile"
FULL = "--full"


def main(arguments: list[str]) -> int:
    """Measure and print."""
    names = [one for one in arguments if one != FULL]
    unknown = [name for name in names if name not in {*metrics.ALL, PROFILE}]
    if unknown:
        known = ", ".join([*metrics.ALL, PROFILE])
        print(f"unknown metric: {', '.join(unknown)}; one of: {known}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="fabnet-bench-") as folder:
        shelf = Shelf(Path(folder), full=FULL in arguments)
        for name in names or [name for name in metrics.ALL if name not in metrics.ONLY_WHEN_NAMED]:
            if name == PROFILE:
                print_profile(shelf)
            else:
                measure(name, shelf)
    return 0


def measure(name: str, shelf: Shelf) -> None:
    """Print one metric's line."""
    try:
        body = metrics.ALL[name](shelf).to_json(name)
    except SkippedError as reason:
        print(f"SKIPPED {name}: {reason}", file=sys.stderr, flush=True)
        body = {"metric": name, "skipped": str(reason)}
    print(line(body), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
