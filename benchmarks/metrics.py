"""Every metric by its name, in the order in which they are run."""

from collections.abc import Callable

from benchmarks.against_deface import ingest_vs_deface
from benchmarks.clips import Shelf
from benchmarks.harness import Result
from benchmarks.jobs import ingest_scaling
from benchmarks.log import log_batch_per_s, log_check_million_s, log_commit_vs_fsync, log_proof_ms
from benchmarks.memory import ingest_memory, ingest_memory_hour
from benchmarks.parts import dp_step_vs_plain, page_seal, synth_frames
from benchmarks.searching import (
    batch64_vs_faiss_flat,
    query_cold_vs_faiss_sqfp16,
    query_warm_vs_faiss_flat,
    search_growth,
    unlock_vs_plain_sqlite,
    withdraw_ms,
)
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
        log_batch_per_s,
        log_commit_vs_fsync,
        log_check_million_s,
        log_proof_ms,
        unlock_vs_plain_sqlite,
        query_warm_vs_faiss_flat,
        query_cold_vs_faiss_sqfp16,
        batch64_vs_faiss_flat,
        withdraw_ms,
        search_growth,
    )
}
ONLY_WHEN_NAMED = frozenset({"ingest_memory_hour"})
"""Takes minutes; run it by its name."""
