"""Where an ingest's time goes: ``python -m benchmarks profile``.

The functions that do each stage's work are wrapped by a clock while a clip is ingested; what a stage calls of another
stage counts for that one alone, so the shares add up to one. The clock costs under a microsecond a call.
"""

import functools
import importlib
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.clips import Shelf
from benchmarks.harness import line
from benchmarks.speed import FRAMES, PORTRAIT_PX, what_is_looked_at
from benchmarks.vaults import build_home, take_in

STAGES: Mapping[str, tuple[str, ...]] = {
    "decode (grab)": ("fabnet_secure.video.reader:VideoStream._decode",),
    "colour conversion (retrieve)": ("fabnet_secure.video.reader:VideoStream._convert",),
    "resize": ("fabnet_secure.video.detect:Detector._shrink",),
    "detector": ("fabnet_secure.video.detect:Detector.look",),
    "association": (
        "fabnet_secure.video.track:Tracker.update",
        "fabnet_secure.video.track:Tracker.steady",
        "fabnet_secure.video.track:Tracker.cut",
        "fabnet_secure.pipeline.ingest:bind",
    ),
    "candidate crop": (
        "fabnet_secure.video.crop:Cutter.cut",
        "fabnet_secure.video.crop:Cutter.measure",
        "fabnet_secure.video.candidates:Store.offer",
        "fabnet_secure.video.observe:Observation.crops",
    ),
    "hash": ("fabnet_secure.pipeline.prints:sha256_file",),
    "encode, seal": ("fabnet_secure.pipeline.keep:seal_to", "fabnet_secure.pipeline.keep:seal_page"),
    "commit": ("fabnet_secure.pipeline.keep:keep", "fabnet_secure.pipeline.ingest:keep"),
    "consents, log, expiry": (
        "fabnet_secure.pipeline.ingest:prepare",
        "fabnet_secure.pipeline.ingest:declare",
        "fabnet_secure.pipeline.ingest:_log_start",
    ),
    "detector loading": ("fabnet_secure.pipeline.ingest:load_detector",),
}
"""Stage → the functions that do its work, as ``module:name`` or ``module:Class.method``."""
REST = "rest"
POLICIES: Mapping[str, Mapping[str, int]] = {
    "default": {},
    "every frame": {"detector_interval": 1},
    "portrait": {"min_face_px": PORTRAIT_PX},
    "every frame, portrait": {"detector_interval": 1, "min_face_px": PORTRAIT_PX},
}
_ROUNDS = 3


@dataclass(slots=True)
class Clock:
    """Seconds spent in each stage, and in nothing else that is clocked."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _under_way: list[str] = field(default_factory=list)
    _since: float = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what is done inside for ``name``."""
        self._change(name)
        try:
            yield
        finally:
            self._change(None)

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, clocked."""

        @functools.wraps(function)
        def clocked(*arguments: Any, **named: Any) -> Any:
            self._change(name)
            try:
                return function(*arguments, **named)
            finally:
                self._change(None)

        return clocked

    def _change(self, name: str | None) -> None:
        """Charge the time since the last change to what was under way; begin ``name``, or end it."""
        now = time.perf_counter()
        if self._under_way:
            self.seconds[self._under_way[-1]] += now - self._since
        if name is None:
            self._under_way.pop()
        else:
            self._under_way.append(name)
        self._since = now


def find(target: str) -> tuple[Any, str]:
    """Return where a target's function is kept and under what name.

    Raises:
        AttributeError: there is no such function any more.
    """
    module, _, path = target.partition(":")
    *owners, name = path.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(module))
    getattr(owner, name)
    return owner, name


@contextmanager
def clocked() -> Iterator[Clock]:
    """Clock every stage inside the block."""
    clock = Clock()
    with ExitStack() as undo:
        for stage, targets in STAGES.items():
            for target in targets:
                owner, name = find(target)
                original = getattr(owner, name)
                setattr(owner, name, clock.wrap(stage, original))
                undo.callback(setattr, owner, name, original)
        yield clock


def print_profile(shelf: Shelf) -> None:
    """Print a JSON line for each policy, then a table of all in Markdown."""
    columns: dict[str, dict[str, float]] = {}
    for title, policy in POLICIES.items():
        milliseconds, looked = profile(shelf, f"profile-{len(columns)}", policy)
        total = sum(milliseconds.values())
        shares = {stage: round(one / total, 4) for stage, one in milliseconds.items()}
        body = {"profile": title, "ms_per_frame": round(total, 4), "shares": shares, **looked, "frames": FRAMES}
        print(line(body), flush=True)
        columns[title] = milliseconds
    print(table(columns), flush=True)


def profile(shelf: Shelf, name: str, policy: Mapping[str, int]) -> tuple[dict[str, float], dict[str, object]]:
    """Return the median milliseconds a frame of every stage under a policy, and what was looked at."""
    home, clip = build_home(shelf.folder / name, **policy), shelf.clip(FRAMES)
    rounds = []
    with home.opened() as site:
        take_in(site, home.consent_id, [shelf.relabelled(clip)])
        for _ in range(_ROUNDS):
            copy = shelf.relabelled(clip)
            with clocked() as clock, clock.stage(REST):
                take_in(site, home.consent_id, [copy])
            rounds.append(clock.seconds)
    stages = [*STAGES, REST]
    medians = {stage: statistics.median(one[stage] for one in rounds) * 1000 / FRAMES for stage in stages}
    return medians, what_is_looked_at(home, clip)


def table(columns: Mapping[str, Mapping[str, float]]) -> str:
    """Lay out milliseconds a frame, and shares, of every stage (rows) under every policy (columns)."""
    totals = {title: sum(stages.values()) for title, stages in columns.items()}
    rows = ["| stage, ms a frame (share) | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for stage in next(iter(columns.values())):
        cells = (f"{one[stage]:.3f} ({one[stage] / totals[title]:.1%})" for title, one in columns.items())
        rows.append(f"| {stage} | " + " | ".join(cells) + " |")
    rows.append("| **all** | " + " | ".join(f"**{total:.3f}**" for total in totals.values()) + " |")
    return "\n".join(rows)
