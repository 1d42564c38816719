"""The audit log: appending in batches and one by one, checking a million entries, making and checking a proof."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from benchmarks.clips import Shelf
from benchmarks.harness import Goal, Result, interleaved, timed
from fabnet_secure.audit.checkpoint import sign_checkpoint, vkey
from fabnet_secure.audit.leaf import build_leaf
from fabnet_secure.audit.log import Log
from fabnet_secure.audit.proof import check_proof, make_proof
from fabnet_secure.audit.verify import check_log
from fabnet_secure.crypto.signing import Signer, verify_signature
from fabnet_secure.store.database import (
    Engine,
    Scribe,
    kept_open,
    migrate,
    open_vault_database,
    read_only,
    sqlite_url,
    unit_of_work,
)
from fabnet_secure.store.engine import allow_commit, write_locked
from fabnet_secure.store.log_storage import LockedLogStorage, SqlLogStorage, latest_checkpoint, store_checkpoint
from fabnet_secure.types import utc_now

ORIGIN = "fabnet-secure/benchmark"
BATCH = 1000
MILLION = 1_000_000
PROOF_ENTRIES = 100_000
_CHUNK = 50_000
_LEAF = build_leaf(
    act="bench.act",
    at=datetime(2026, 5, 4, tzinfo=UTC),
    actor="operator",
    facts={"frames": 987654321, "outcome": "ingested"},
    commitments={},
)
_WAL_COMMIT = 4 * 4120  # bytes: the pages that a commit of one entry writes to SQLite's write-ahead log


def log_batch_per_s(shelf: Shelf) -> Result:
    """Entries a second in batches of 1,000 a commit, leaves built and tree signed, against hashing as many leaves."""
    with _vault(shelf, "batch") as engine:
        scribe = _scribe()

        def append() -> None:
            with unit_of_work(engine, scribe) as work:
                for number in range(BATCH):
                    work.log("bench.act", facts={"frames": number, "outcome": "ingested"})

        entry = _entry(7)
        ours, theirs = interleaved(
            timed(append), timed(lambda: [hashlib.sha256(b"\0" + entry).digest() for _ in range(BATCH)]), rounds=25
        )
    return Result(
        value=BATCH / ours,
        unit="entries/s",
        ratio=theirs / ours,
        baseline="hashing as many leaves by hashlib",
        goals=(Goal(figure="value", least=60_000),),
        fields={"batch": BATCH},
    )


def log_commit_vs_fsync(shelf: Shelf) -> Result:
    """One entry a commit, against writing as many bytes as its commit does to a file on the same disk and flushing."""
    with _vault(shelf, "commit") as engine:
        scribe = _scribe()

        def append() -> None:
            with unit_of_work(engine, scribe) as work:
                work.log("bench.act", facts={"frames": 1})

        with _flushed_file(shelf.folder / "flushed") as flush:
            ours, theirs = interleaved(timed(append), timed(flush), rounds=200)
    return Result(
        value=1 / ours,
        unit="commits/s",
        ratio=ours / theirs,
        baseline=f"write and fsync of {_WAL_COMMIT} bytes on the same disk",
        fields={"commit_ms": round(1000 * ours, 3), "fsync_ms": round(1000 * theirs, 3)},
    )


def log_check_million_s(shelf: Shelf) -> Result:
    """The full check of a log of 1,000,000 entries, against reading its rows and hashing its leaves alone."""
    signer = Signer.generate()
    key = vkey(ORIGIN, signer.public)
    with _vault(shelf, "million") as engine:
        _fill(engine, signer, MILLION)
        with read_only(engine) as connection:
            storage, note = SqlLogStorage(connection), latest_checkpoint(connection)
            ours, theirs = interleaved(
                timed(lambda: check_log(storage, note, key, verify_signature)),
                timed(lambda: _read_and_hash(storage)),
                rounds=3,
            )
    return Result(
        value=ours,
        unit="s",
        ratio=ours / theirs,
        baseline="reading the entries' rows and hashing each",
        goals=(Goal(figure="value", most=3),),
        fields={"entries": MILLION},
    )


def log_proof_ms(shelf: Shelf) -> Result:
    """Making a tlog-proof of one entry among 100,000, against checking it."""
    entries, index = PROOF_ENTRIES, PROOF_ENTRIES // 7
    signer = Signer.generate()
    key = vkey(ORIGIN, signer.public)
    with _vault(shelf, "proof") as engine:
        _fill(engine, signer, entries)
        with read_only(engine) as connection:
            storage, note = SqlLogStorage(connection), latest_checkpoint(connection)
            proof, entry = make_proof(storage, index, note), storage.read_entries(index, index + 1)[0]
            ours, theirs = interleaved(
                timed(lambda: make_proof(storage, index, note)),
                timed(lambda: check_proof(proof, entry, key, verify_signature)),
                rounds=25,
            )
    return Result(
        value=1000 * ours,
        unit="ms",
        ratio=ours / theirs,
        baseline="checking the proof",
        fields={"entries": entries, "check_ms": round(1000 * theirs, 3)},
    )


@contextmanager
def _vault(shelf: Shelf, name: str) -> Iterator[Engine]:
    """Yield an empty vault database on this disk, with one connection kept as an open vault keeps one."""
    engine = open_vault_database(sqlite_url(shelf.folder / f"{name}.db"))
    try:
        migrate(engine, "vault")
        with read_only(engine):
            pass  # the first connection turns the write-ahead log on
        with kept_open(engine):
            yield engine
    finally:
        engine.dispose()


def _scribe() -> Scribe:
    return Scribe(origin=ORIGIN, signer=Signer.generate(), actor="operator", clock=utc_now)


@contextmanager
def _flushed_file(path: Path) -> Iterator[Callable[[], None]]:
    """Yield a function that writes one commit's bytes further on in a file of fixed size, and flushes them."""
    blob, places = os.urandom(_WAL_COMMIT), 250
    with path.open("wb") as file:
        file.write(bytes(_WAL_COMMIT * places))
        file.flush()
        os.fsync(file.fileno())
        turn = count()

        def flush() -> None:
            os.pwrite(file.fileno(), blob, next(turn) % places * _WAL_COMMIT)
            os.fsync(file.fileno())

        yield flush


def _fill(engine: Engine, signer: Signer, entries: int) -> None:
    """Append entries in one commit, with one checkpoint at the end."""
    with write_locked(engine) as connection:
        log = Log(LockedLogStorage(connection))
        for start in range(0, entries, _CHUNK):
            log.append([_entry(number) for number in range(start, min(entries, start + _CHUNK))])
        store_checkpoint(connection, sign_checkpoint(ORIGIN, log.size, log.root(), signer))
        allow_commit(connection)


def _entry(number: int) -> bytes:
    """Return one leaf of its own, without building each: only its figure differs."""
    return _LEAF.replace(b"987654321", b"%d" % number)


def _read_and_hash(storage: SqlLogStorage) -> None:
    for start in range(0, storage.size(), 65_536):
        for entry in storage.read_entries(start, start + 65_536):
            hashlib.sha256(b"\0" + entry).digest()
