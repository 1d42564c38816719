"""Run every metric, or the one that is named, and print a JSON line each.

Times are medians of interleaved rounds, metric and baseline in turn, so that a machine whose speed drifts drifts for
both alike.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable

from benchmarks import metrics

ROUNDS = 5


def main(names: list[str]) -> int:
    """Measure and print; 2 when a name is not known."""
    unknown = [name for name in names if name not in metrics.ALL]
    if unknown:
        print(f"unknown metric: {', '.join(unknown)}; one of: {', '.join(metrics.ALL)}", file=sys.stderr)
        return 2
    for name in names or list(metrics.ALL):
        metric = metrics.ALL[name]()
        ours, theirs = interleaved(metric.measured, metric.baseline)
        print(
            json.dumps(
                {
                    "metric": name,
                    "value": round(metric.units / ours, 3),
                    "unit": metric.unit,
                    "ratio": round(theirs / ours, 4),
                    "baseline": metric.baseline_name,
                    "goal": metric.goal,
                }
            ),
            flush=True,
        )
    return 0


def interleaved(measured: Callable[[], object], baseline: Callable[[], object]) -> tuple[float, float]:
    """Return the median seconds of both, run in turn after one warm-up each."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(ROUNDS + 1):
        for side, work in enumerate((measured, baseline)):
            start = time.perf_counter()
            work()
            if turn:
                times[side].append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
