"""Several videos at once: worker processes that each read one video, and one parent that tells and collects.

Guarantees: no frame and no pickle crosses a process boundary (JSON lines over pipes, ``worker.py``); a key that
somebody was asked for goes to a worker by its pipe, never by its arguments, environment or a disk; a worker that dies
or hangs costs the one video it was reading, which is refused, and is replaced; outcomes come back in the order of the
sources; leaving ends every worker. Each video is one transaction and a known one is skipped, so a run that was killed
anywhere and is run again ends in the same state as one that was not. Does not guarantee which of two equal videos is
ingested and which is skipped.
"""

import contextlib
import json
import logging
import os
import selectors
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fabnet_secure.config import Settings
from fabnet_secure.errors import FabnetError, UnreadableSource
from fabnet_secure.logs import LOGGER
from fabnet_secure.pipeline.context import Place, Site
from fabnet_secure.pipeline.source import Outcome, Source, error_from_json
from fabnet_secure.progress import Progress

WORKER = (sys.executable, "-P", "-m", "fabnet_secure.pipeline.worker")
SILENCE_S = 900.0
"""A worker that tells nothing for so long is taken to hang; hashing a huge file is silent, too."""
_PATIENCE_S = 3.0
_MOST_STARTS = 3
_LONGEST_LINE = 1 << 22
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")


class Overall:
    """How far all videos are together: what is told of each, added up; also a ``Progress`` for one after the other.

    Tells stage ``videos`` with the figures ``frames`` (read so far, of all) and ``underway`` (how much of the videos
    now being read is done, as a number of videos).
    """

    def __init__(self, progress: Progress, total: int | None) -> None:
        self._progress = progress
        self._total = total
        self._done = 0
        self._frames = 0
        self._under_way: dict[int, tuple[int, int | None]] = {}

    def advance(self, stage: str, done: int, total: int | None = None, **figures: float) -> None:
        """Take the news of a run that reads one video after the other (``pipeline.ingest.ingest``)."""
        del figures
        if stage == "videos":
            self.finished(0)
        else:
            self.news(0, done, total)

    def news(self, number: int, done: int, total: int | None) -> None:
        """Take the news of one video: frames read, and how many it should have."""
        self._under_way[number] = (done, total)
        self._tell()

    def finished(self, number: int) -> None:
        """Count a video as done."""
        self._done += 1
        self._frames += self._under_way.pop(number, (0, None))[0]
        self._tell()

    def _tell(self) -> None:
        frames = self._frames + sum(done for done, _ in self._under_way.values())
        shares = (min(1.0, done / total) for done, total in self._under_way.values() if total)
        self._progress.advance("videos", self._done, self._total, frames=frames, underway=sum(shares))


@dataclass(slots=True, kw_only=True, eq=False)
class _Child:
    """A worker process: what it reads now, and when it was last heard of."""

    process: subprocess.Popen[bytes]
    output: int
    heard: float
    heap: bytearray = field(default_factory=bytearray)
    ready: bool = False
    number: int | None = None
    hung: bool = False


class Pool:
    """Worker processes under one parent; a context manager that leaves none behind.

    Args:
        place: the vault, its key and databases.
        settings: in force for the whole run.
        jobs: how many workers at most.
        overall: told of progress.
        dry_run: look, bind and count, but store nothing.
        lost: told the refusal of each video whose worker died or hung, to log it.
        command: what to start as a worker.
        silence_s: how long a worker may tell nothing.
    """

    def __init__(
        self,
        place: Place,
        settings: Settings,
        *,
        jobs: int,
        overall: Overall,
        dry_run: bool = False,
        lost: Callable[[FabnetError], None] | None = None,
        command: Sequence[str] = WORKER,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._place = place
        self._hello = {
            "root": str(place.root),
            "key_file": str(place.key_file),
            "settings": settings.model_dump(mode="json"),
            "dry_run": dry_run,
            "debug": LOGGER.isEnabledFor(logging.DEBUG),
            "parent": os.getpid(),
        }
        self._jobs = jobs
        self._overall = overall
        self._lost = lost
        self._command = list(command)
        self._silence_s = silence_s
        self._selector = selectors.DefaultSelector()
        self._children: list[_Child] = []
        self._sources: dict[int, Source] = {}
        self._waiting: deque[int] = deque()
        self._finished: list[tuple[int, Outcome]] = []
        self._submitted = 0
        self._failed_starts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def unfinished(self) -> int:
        """How many sources have no outcome yet."""
        return len(self._sources)

    def submit(self, source: Source) -> int:
        """Put a source into the line; return its number, counted from 0."""
        number = self._submitted
        self._submitted += 1
        self._sources[number] = source
        self._waiting.append(number)
        return number

    def poll(self, timeout_s: float) -> list[tuple[int, Outcome]]:
        """Wait for news at most so long; return (number, outcome) of every source that is finished.

        Raises:
            FabnetError: what a worker met is nobody's video's fault (the vault is locked, the disk full, access
                denied, the lineage broken): nothing more is begun. Code ``WORKER_NOT_STARTED``: none could be started.
        """
        self._staff()
        for key, _ in self._selector.select(timeout_s):
            self._hear(key.data)
        now = time.monotonic()
        for child in [one for one in self._children if now - one.heard > self._silence_s]:
            if child.ready and child.number is None:
                continue  # idle: it has nothing to tell
            child.hung = True
            child.process.kill()
            self._bury(child)
        finished, self._finished = self._finished, []
        return finished

    def close(self) -> None:
        """End every worker: by its own unwinding, or else at once."""
        for child in self._children:
            self._selector.unregister(child.output)
            _close(child.process.stdin)
            child.process.terminate()
        deadline = time.monotonic() + _PATIENCE_S
        for child in self._children:
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
            _close(child.process.stdout)
        self._children.clear()
        self._selector.close()

    def _staff(self) -> None:
        """Start workers for what waits, and hand it to those that are idle."""
        starting = sum(not child.ready for child in self._children)
        idle = [child for child in self._children if child.ready and child.number is None]
        while len(self._children) < self._jobs and starting + len(idle) < len(self._waiting):
            self._start()
            starting += 1
        for child in idle:
            if self._waiting:
                child.number = self._waiting.popleft()
                child.heard = time.monotonic()
                self._tell(child, {"source": self._sources[child.number].to_json()})

    def _start(self) -> None:
        process = subprocess.Popen(  # noqa: S603  our own interpreter and module
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=_surroundings(self._place),
            process_group=0,  # the terminal's Ctrl-C is the parent's to hear
        )
        output = process.stdout.fileno() if process.stdout else -1
        child = _Child(process=process, output=output, heard=time.monotonic())
        self._children.append(child)
        self._selector.register(output, selectors.EVENT_READ, child)
        key = self._place.unlocked.remembered  # nobody is asked for a passphrase twice
        self._tell(child, self._hello | {"unlocked": key is not None})
        if key is not None:
            self._write(child, key.reveal())
            key.wipe()

    def _tell(self, child: _Child, message: dict[str, Any]) -> None:
        self._write(child, json.dumps(message).encode("ascii") + b"\n")

    @staticmethod
    def _write(child: _Child, octets: bytes) -> None:
        rest = memoryview(octets)
        try:
            while rest and child.process.stdin is not None:
                rest = rest[child.process.stdin.write(rest) or 0 :]
        except BrokenPipeError:
            pass  # it died; its output ends, and that is heard

    def _hear(self, child: _Child) -> None:
        data = os.read(child.output, 1 << 16)
        child.heap += data
        child.heard = time.monotonic()
        *lines, rest = child.heap.split(b"\n")
        child.heap = bytearray(rest)
        try:
            for line in lines:
                self._take(child, json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError):  # what it says makes no sense: a broken worker
            data = b""
        if not data or len(rest) > _LONGEST_LINE:
            child.process.kill()
            self._bury(child)

    def _take(self, child: _Child, message: dict[str, Any]) -> None:
        if "progress" in message and child.number is not None:
            _, done, total = message["progress"]
            self._overall.news(child.number, int(done), total)
        elif "outcome" in message and child.number is not None:
            self._finish(child, Outcome.from_json(message["outcome"]))
        elif "ready" in message:
            child.ready = True
            self._failed_starts = 0
        elif "failed" in message:
            raise error_from_json(message["failed"])

    def _finish(self, child: _Child, outcome: Outcome) -> None:
        number, child.number = child.number, None
        if number is not None:
            del self._sources[number]
            self._overall.finished(number)
            self._finished.append((number, outcome))
            self._staff()

    def _bury(self, child: _Child) -> None:
        """Take a dead worker out; the video that it was reading is refused."""
        self._selector.unregister(child.output)
        self._children.remove(child)
        _close(child.process.stdin)
        _close(child.process.stdout)
        child.process.wait()
        if child.number is not None:
            error = _hung() if child.hung else _died()
            if self._lost is not None:
                self._lost(error)
            self._finish(child, Outcome(source=self._sources[child.number], status="refused", error=error))
        elif not child.ready:
            self._failed_starts += 1
            if self._failed_starts >= _MOST_STARTS:
                hint = "add --debug for the details; there may be too little memory: try fewer --jobs"
                raise FabnetError("no worker process can be started", hint=hint, code="WORKER_NOT_STARTED")


def run_pool(
    site: Site,
    sources: Sequence[Source],
    *,
    jobs: int,
    progress: Progress,
    dry_run: bool = False,
    command: Sequence[str] = WORKER,
    silence_s: float = SILENCE_S,
) -> Iterator[Outcome]:
    """Ingest several videos at once; call :func:`fabnet_secure.pipeline.ingest.prepare` before.

    Args:
        site: the open vault; each worker opens it for itself.
        sources: the videos.
        jobs: how many worker processes at most.
        progress: told of all videos together (:class:`Overall`).
        dry_run: look, bind and count, but store and log nothing.
        command: what to start as a worker.
        silence_s: how long a worker may tell nothing.

    Yields:
        One outcome a source, in the order of the sources.

    Raises:
        FabnetError: as :meth:`Pool.poll`.
    """
    pool = Pool(
        site.place,
        site.settings,
        jobs=min(jobs, len(sources)),
        overall=Overall(progress, len(sources)),
        dry_run=dry_run,
        lost=None if dry_run else lambda error: record_lost(site, error),
        command=command,
        silence_s=silence_s,
    )
    finished: dict[int, Outcome] = {}
    with pool:
        for source in sources:
            pool.submit(source)
        for number in range(len(sources)):
            while number not in finished:
                finished.update(pool.poll(1.0))
            yield finished.pop(number)


def record_lost(site: Site, error: FabnetError) -> None:
    """Log the refusal of a video whose worker could not do it itself any more."""
    with site.work() as work:
        work.log("ingest.refused", facts={"code": error.code})


def _surroundings(place: Place) -> dict[str, str]:
    """Return the environment of a worker: one thread, this very package, and the databases' URLs."""
    environment = dict(os.environ) | dict.fromkeys(_ONE_THREAD, "1")
    package = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (package, environment.get("PYTHONPATH", ""))))
    for name, where in (
        ("FABNET_DATABASE_URL", place.database_url),
        ("FABNET_KEYSTORE_URL", place.keystore_url),
        ("FABNET_ANCHOR", str(place.anchor.absolute()) if place.anchor else None),
    ):
        environment.pop(name, None)
        if where is not None:
            environment[name] = where
    return environment


def _died() -> UnreadableSource:
    return UnreadableSource(
        "the process that read this video died",
        hint="a damaged video or too little memory; run it again with --jobs 1, what was kept is skipped",
        code="WORKER_DIED",
    )


def _hung() -> UnreadableSource:
    return UnreadableSource(
        "the process that read this video told nothing for too long and was ended",
        hint="copy the video again and check that it plays to its end; what was kept is skipped",
        code="WORKER_HUNG",
    )


def _close(pipe: Any) -> None:
    with contextlib.suppress(OSError):
        pipe.close()
