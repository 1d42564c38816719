"""The whole ingest against the decoder: the journey as people run it, into a real vault, on one thread.

A ratio is frames a second of ``pipeline.ingest.ingest`` (detector loaded, file hashed twice, faces found and followed,
candidates cut, sealed, committed) ÷ frames a second of reading the same file with the same reader and looking at no
frame. Both sides of a round read the same bytes; no two rounds do, since a vault skips a video that it knows.
"""

import statistics
import time
from pathlib import Path

from benchmarks.clips import HEIGHT, WIDTH, Shelf, megabits
from benchmarks.harness import Goal, Result, interleaved
from benchmarks.vaults import Home, build_home, take_in
from fabnet_secure.pipeline.ingest import load_detector
from fabnet_secure.video.observe import ObserveSettings, observe
from fabnet_secure.video.reader import open_video

FRAMES = 1500
PORTRAIT_PX = 96
"""The smallest face of a site that films portraits: one person before the camera, a third of its picture high."""
_WITH_INTERVAL, _EVERY_FRAME = Goal(least=0.6), Goal(least=0.3)


def ingest_vs_decode(shelf: Shelf) -> Result:
    """The whole ingest under the default policy ÷ decoding alone."""
    return _against_decoding(shelf, _WITH_INTERVAL)


def ingest_vs_decode_portrait(shelf: Shelf) -> Result:
    """The same for a site that accepts large faces only, so that the detector may look at a smaller picture."""
    return _against_decoding(shelf, _WITH_INTERVAL, min_face_px=PORTRAIT_PX)


def ingest_vs_decode_every_frame(shelf: Shelf) -> Result:
    """The whole ingest with the detector looking at every frame ÷ decoding alone."""
    return _against_decoding(shelf, _EVERY_FRAME, detector_interval=1)


def ingest_vs_decode_every_frame_portrait(shelf: Shelf) -> Result:
    """Every frame, and large faces only."""
    return _against_decoding(shelf, _EVERY_FRAME, detector_interval=1, min_face_px=PORTRAIT_PX)


def ingest_growth(shelf: Shelf) -> Result:
    """Seconds for ten times the videos ÷ seconds for the videos, each time into a new vault, in one process."""
    few, many, frames = 4, 40, 75
    clip = shelf.clip(frames)
    worked: dict[int, list[float]] = {few: [], many: []}

    def side(count: int, turn: int) -> float:
        home = build_home(shelf.folder / f"growth-{count}-{turn}")
        copies = [shelf.relabelled(clip) for _ in range(count)]
        with home.opened() as site:
            before = time.process_time()
            seconds = take_in(site, home.consent_id, copies)
            worked[count].append(time.process_time() - before)
        return seconds

    long, short = interleaved(lambda turn: side(many, turn), lambda turn: side(few, turn))
    return Result(
        value=long / many * 1000,
        unit="ms/video",
        ratio=long / short,
        baseline=f"{few} videos instead of {many}, in a new vault as well",
        goals=(Goal(most=10.5),),
        fields={
            "cpu_ratio": round(statistics.median(worked[many]) / statistics.median(worked[few]), 3),
            "frames_per_video": frames,
            "few_s": round(short, 3),
            "many_s": round(long, 3),
        },
    )


def _against_decoding(shelf: Shelf, goal: Goal, **policy: int) -> Result:
    home = build_home(shelf.folder / f"speed-{time.monotonic_ns()}", **policy)
    clip, copies = shelf.clip(FRAMES), Copies(shelf)
    with home.opened() as site:
        ours, theirs = interleaved(
            lambda turn: take_in(site, home.consent_id, [copies.of(turn)]), lambda turn: decode(copies.of(turn))
        )
    return Result(
        value=FRAMES / ours,
        unit="frames/s",
        ratio=theirs / ours,
        baseline="decoding and converting every frame of the same file with the same reader",
        goals=(goal,),
        fields={
            "baseline_value": round(FRAMES / theirs, 1),
            **what_is_looked_at(home, clip),
            "picture": f"{WIDTH}x{HEIGHT} H.264",
            "mbit_per_s": megabits(clip, FRAMES),
            "frames": FRAMES,
            "threads": 1,
        },
    )


class Copies:
    """One new copy of the clip a round, the same for both sides; those of earlier rounds are deleted."""

    def __init__(self, shelf: Shelf, frames: int = FRAMES) -> None:
        self._shelf = shelf
        self._frames = frames
        self._turn = -1
        self._path = Path()

    def of(self, turn: int) -> Path:
        """Return the round's file."""
        if turn != self._turn:
            if self._turn >= 0:
                self._path.unlink()
            self._turn, self._path = turn, self._shelf.relabelled(self._shelf.clip(self._frames))
        return self._path


def decode(clip: Path) -> float:
    """Read every frame of a clip, look at none, and return the seconds."""
    start = time.perf_counter()
    with open_video(clip) as stream:
        while stream.grab():
            stream.frame()
    return time.perf_counter() - start


def what_is_looked_at(home: Home, clip: Path) -> dict[str, object]:
    """Say what the detector sees of a clip under a home's policy: which frames, how large, down to which face."""
    with home.opened() as site, open_video(clip) as stream:
        detector, table = load_detector(site), site.settings.ingest
        observation = observe(stream, detector, ObserveSettings(interval=table.detector_interval))
        observation.wipe()
        factor = detector.factor(stream.width, stream.height)
        return {
            "interval": table.detector_interval,
            "looked_at": round(observation.frames_detected / observation.frames_read, 4),
            "detector_input": f"{stream.width // factor}x{stream.height // factor}",
            "smallest_face_px": max(table.min_face_px, detector.smallest_face(stream.width, stream.height)),
            "tracks": len(observation.tracks),
        }
