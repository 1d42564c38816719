"""Two worker processes against one: ``ingest --jobs 2`` ÷ ``ingest --jobs 1``, each in processes of its own."""

import os
import time
from pathlib import Path

from benchmarks.clips import FPS, Shelf
from benchmarks.harness import Goal, Result, SkippedError, interleaved
from benchmarks.vaults import build_home, require_taken
from fabnet_secure.pipeline.ingest import prepare
from fabnet_secure.pipeline.pool import run_pool
from fabnet_secure.pipeline.source import Source
from fabnet_secure.progress import Silent

VIDEOS, SECONDS, ROUNDS = 8, 120, 3


def ingest_scaling(shelf: Shelf) -> Result:
    """Seconds with one worker ÷ seconds with two, for the same videos into a new vault; start-up included in both."""
    cores = len(os.sched_getaffinity(0))
    if cores < 2:
        raise SkippedError("there is one core only")
    clip = shelf.looped(SECONDS)

    def side(jobs: int, turn: int) -> float:
        copies = [shelf.relabelled(clip) for _ in range(VIDEOS)]
        seconds = run_jobs(shelf.folder / f"jobs-{jobs}-{turn}", copies, jobs)
        for copy in copies:
            copy.unlink()
        return seconds

    two, one = interleaved(lambda turn: side(2, turn), lambda turn: side(1, turn), rounds=ROUNDS)
    start_up = run_jobs(shelf.folder / "jobs-start", [shelf.relabelled(shelf.clip(2 * FPS))], 1)
    return Result(
        value=VIDEOS * SECONDS * FPS / two,
        unit="frames/s",
        ratio=one / two,
        baseline="one worker process, start-up of the workers included on both sides",
        goals=(Goal(least=1.7),),
        fields={
            "baseline_value": round(VIDEOS * SECONDS * FPS / one, 1),
            "videos": VIDEOS,
            "frames_per_video": SECONDS * FPS,
            "start_up_s_at_most": round(start_up, 2),
            "start_up_share_at_most": round(start_up / two, 3),
            "cores": cores,
            "threads_per_process": 1,
        },
    )


def run_jobs(folder: Path, clips: list[Path], jobs: int) -> float:
    """Ingest the clips into a new vault with so many workers and return the seconds, from nothing to the end."""
    home = build_home(folder)
    sources = [Source(path=clip, consent_ids=(home.consent_id,)) for clip in clips]
    with home.opened() as site:
        start = time.perf_counter()
        prepare(site)
        outcomes = list(run_pool(site, sources, jobs=jobs, progress=Silent()))
        seconds = time.perf_counter() - start
    for outcome in outcomes:
        require_taken(outcome)
    return seconds
