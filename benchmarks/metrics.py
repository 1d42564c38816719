"""Every metric by its name, in the order in which they are run."""

from collections.abc import Callable

from benchmarks.against_deface import ingest_vs_deface
from benchmarks.clips import Shelf
from benchmarks.harness import Result
from benchmarks.jobs import ingest_scaling
from benchmarks.memory import ingest_memory, ingest_memory_hour
from benchmarks.parts import dp_step_vs_plain, page_seal, synth_frames
from benchmarks.speed import (
    ingest_growth,
    ingest_vs_decode,
    ingest_vs_decode_every_frame,
    ingest_vs_decode_every_frame_portrait,
    ingest_vs_decode_portrait,
)

ALL: dict[str, Callable[[Shelf], Result]] = {
    metric.__name__: metric
    for metric in (
        synth_frames,
        dp_step_vs_plain,
        page_seal,
        ingest_vs_decode,
        ingest_vs_decode_portrait,
        ingest_vs_decode_every_frame,
        ingest_vs_decode_every_frame_portrait,
        ingest_vs_deface,
        ingest_scaling,
        ingest_growth,
        ingest_memory,
        ingest_memory_hour,
    )
}
ONLY_WHEN_NAMED = frozenset({"ingest_memory_hour"})
"""Takes minutes; run it by its name."""
