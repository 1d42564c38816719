"""Embeddings at rest and in memory: unlocking, one query warm and cold, a batch, a withdrawal, and how each grows.

100,000 vectors of 256 float16 (1,000 people with one track of 100 frames each), or with ``--full`` 1,000,000 (10,000
people), in a vault of its own that the store's functions filled; the other side holds the same vectors. Everything runs
on one thread, faiss and torch too, but for the unlock: it reads on one and decrypts on another. No side is given rows
that the other lacks: answers are compared before anything is timed.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import torch

from benchmarks.clips import Shelf
from benchmarks.harness import Goal, Result, Side, interleaved, timed
from benchmarks.people import DIM, VECTORS, Crowd, build_crowd
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.unlock import nearest_many, unlock
from fabnet_secure.pipeline.withdraw import withdraw
from fabnet_secure.store.matrix import Matrix
from fabnet_secure.types import ConsentId

TOP = 10
BATCH = 64
PEOPLE, PEOPLE_FULL = 1_000, 10_000
_QUERIES = 5  # of one round, each another
_FLUSH_BYTES = 512 << 20
_CROWDS: dict[tuple[Path, int], Crowd] = {}


def unlock_vs_plain_sqlite(shelf: Shelf) -> Result:
    """Opening the stored embeddings into the locked matrix ÷ reading the same from plain SQLite, a row an embedding.

    Ours: census, directory, unwrapping every person's key, decrypting every page; the vault is open (its key file was
    read). Theirs: vector, consent, track and frame of every row into a matrix and a list of labels, rows of permitted
    consents only: what an answer needs, which ours has too. ``bare_ratio`` is to reading nothing but the vectors.
    Both databases lie in the file cache.
    """
    crowd = _crowd(shelf)
    plain = _plain(crowd)
    with crowd.home.opened() as site:
        _check(site, crowd)
        ours, theirs, bare = interleaved(
            lambda _: _unlocking(site, crowd),
            timed(lambda: _labelled(plain, crowd)),
            timed(lambda: _bare(plain, crowd)),
        )
    return Result(
        value=ours * 1000,
        unit="ms",
        ratio=ours / theirs,
        baseline="plain SQLite: vector, consent, track, frame of every row; no encryption",
        goals=(Goal(most=0.4),),
        fields=_fields(crowd, baseline_ms=theirs, bare_ms=bare) | {"bare_ratio": round(ours / bare, 4), "threads": 2},
    )


def query_warm_vs_faiss_flat(shelf: Shelf) -> Result:
    """One exact top-10 over the matrix ÷ the same by faiss IndexFlatIP (float32 unit vectors), one thread each."""
    return _query(shelf, _flat, "faiss IndexFlatIP, float32", Goal(most=0.9), flushed=False)


def query_cold_vs_faiss_sqfp16(shelf: Shelf) -> Result:
    """The first query on a matrix that is in memory and in no CPU cache ÷ the same by faiss' float16 index.

    Cold means: before each timed query 512 MB of other memory are written, on both sides, so that every vector comes
    from RAM. It does not mean a cold disk: vectors are searched only once they are open.
    """
    return _query(shelf, _half, "faiss IndexScalarQuantizer QT_fp16, inner product", Goal(most=1.5), flushed=True)


def batch64_vs_faiss_flat(shelf: Shelf) -> Result:
    """64 exact top-10 at once (torch, float32 blocks, then exact) ÷ the same by faiss IndexFlatIP, one thread each."""
    crowd = _crowd(shelf)
    with _opened(crowd) as (_, matrix), _one_thread():
        index = _flat(crowd)
        queries = _directions(BATCH, 11)
        _agree(matrix, index, queries)
        ours, theirs = interleaved(
            timed(lambda: nearest_many(matrix, queries, TOP)), timed(lambda: index.search(queries, TOP))
        )
    return Result(
        value=ours / BATCH * 1000,
        unit="ms/query",
        ratio=ours / theirs,
        baseline="faiss IndexFlatIP, float32, the same 64 at once",
        goals=(Goal(most=0.3),),
        fields=_fields(crowd, baseline_ms=theirs / BATCH) | {"queries": BATCH, "threads": 1},
    )


def withdraw_ms(shelf: Shelf) -> Result:
    """A person with 100 vectors: out of the unlocked matrix, and the whole withdrawal from the vault.

    The value is the whole command: event, erasure ledger, rows deleted and their bytes in the bundle overwritten, keys
    destroyed, both files cleaned, read back, certificate signed. ``forget_ms`` is the zeroing in memory alone; the
    ratio is of that to ``remove_ids`` of the same 100 rows from faiss IndexFlatIP.
    """
    crowd = _crowd(shelf)
    leaving = iter(sorted(crowd.consent_ids)[-40:])
    with _opened(crowd) as (site, matrix), _one_thread():
        index = _flat(crowd)
        gone: list[ConsentId] = []

        def journey(_: int) -> float:
            gone.append(next(leaving))
            return timed(lambda: withdraw(site, gone[-1], confirm=gone[-1]))(0)

        whole, forget, remove = interleaved(
            journey,
            timed(lambda: matrix.forget(gone[-1])),
            timed(lambda: index.remove_ids(np.arange(VECTORS))),
        )
    _CROWDS.pop((shelf.folder, _people(shelf)))  # it is not whole any more
    return Result(
        value=whole * 1000,
        unit="ms",
        ratio=forget / remove,
        baseline="faiss IndexFlatIP.remove_ids of 100 rows, against the zeroing in memory",
        fields=_fields(crowd, baseline_ms=remove) | {"forget_ms": round(forget * 1000, 4)},
    )


def search_growth(shelf: Shelf) -> Result:
    """Seconds of each figure with ten times the people ÷ with the people; the worst is the ratio, and is named.

    300,000 against 30,000 vectors (with ``--full`` 1,000,000 against 100,000): fewer would lie in a core's own cache.
    """
    most = PEOPLE_FULL if shelf.full else 3 * PEOPLE
    with ExitStack() as opened, _one_thread():
        small, large = (_figures(_crowd(shelf, people), opened) for people in (most // 10, most))
        medians = interleaved(*(side for name in small for side in (large[name], small[name])))
    for people in (most // 10, most):
        _CROWDS.pop((shelf.folder, people))  # neither is whole any more
    growth = {name: medians[2 * place] / medians[2 * place + 1] for place, name in enumerate(small)}
    worst = max(growth, key=growth.__getitem__)
    return Result(
        value=growth[worst],
        unit=f"× ({worst})",
        ratio=growth[worst],
        baseline="a tenth of the people, in a vault of its own",
        goals=(Goal(most=10.5),),
        fields={name: round(one, 2) for name, one in growth.items()} | {"vectors": most * VECTORS},
    )


def _figures(crowd: Crowd, opened: ExitStack) -> dict[str, Side]:
    """Return what is measured of one vault, each as a side; the vault is open as long as ``opened``."""
    site, matrix = opened.enter_context(_opened(crowd))
    queries = _directions(BATCH, 11)
    leaving = iter(sorted(crowd.consent_ids))

    def journey(_: int) -> float:
        one = next(leaving)
        return _at_once(lambda: withdraw(site, one, confirm=one))

    def forgetting(turn: int) -> float:
        one = sorted(crowd.consent_ids)[-1 - turn]
        return _at_once(lambda: matrix.forget(one))

    return {
        "unlock": lambda _: _unlocking(site, crowd),
        "query_warm": timed(lambda: [matrix.nearest(query, TOP) for query in queries[:_QUERIES]]),
        "query_cold": lambda _: sum(_cold(partial(matrix.nearest, query, TOP)) for query in queries[:_QUERIES]),
        "batch64": timed(lambda: nearest_many(matrix, queries, TOP)),
        "forget": forgetting,
        "withdraw": journey,
    }


def _query(shelf: Shelf, make: Callable[[Crowd], Any], baseline: str, goal: Goal, *, flushed: bool) -> Result:
    crowd = _crowd(shelf)
    with _opened(crowd) as (_, matrix), _one_thread():
        index = make(crowd)
        queries = _directions(_QUERIES, 5)
        _agree(matrix, index, queries)

        def each(ask: Callable[[npt.NDArray[np.float32]], object]) -> Side:
            run = _cold if flushed else _at_once
            return lambda _: sum(run(partial(ask, query)) for query in queries)

        ours, theirs = interleaved(
            each(lambda query: matrix.nearest(query, TOP)), each(lambda query: index.search(query[None], TOP))
        )
    return Result(
        value=ours / _QUERIES * 1000,
        unit="ms",
        ratio=ours / theirs,
        baseline=baseline,
        goals=(goal,),
        fields=_fields(crowd, baseline_ms=theirs / _QUERIES) | {"threads": 1},
    )


def _at_once(work: Callable[[], object]) -> float:
    return timed(work)(0)


def _cold(work: Callable[[], object]) -> float:
    """Push everything out of the CPU's caches, then time."""
    np.ones(_FLUSH_BYTES, np.uint8)
    return timed(work)(0)


def _unlocking(site: Site, crowd: Crowd) -> float:
    with site.reading() as connection:
        start = time.perf_counter()
        matrix = unlock(site, connection, crowd.model_id, crowd.consent_ids)
        seconds = time.perf_counter() - start
    matrix.wipe()
    return seconds


@contextmanager
def _opened(crowd: Crowd) -> Iterator[tuple[Site, Matrix]]:
    with crowd.home.opened() as site:
        with site.reading() as connection:
            matrix = unlock(site, connection, crowd.model_id, crowd.consent_ids)
        with matrix:
            yield site, matrix


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _people(shelf: Shelf) -> int:
    return PEOPLE_FULL if shelf.full else PEOPLE


def _crowd(shelf: Shelf, people: int | None = None) -> Crowd:
    """Return the run's vault of so many people, made when it is first asked for."""
    place = (shelf.folder, people or _people(shelf))
    if place not in _CROWDS:
        _CROWDS[place] = build_crowd(shelf.folder / f"crowd-{place[1]}-{time.monotonic_ns()}", place[1])
    return _CROWDS[place]


def _fields(crowd: Crowd, **seconds: float) -> dict[str, object]:
    told = {name: round(one * 1000, 3) for name, one in seconds.items()}
    return {**told, "vectors": len(crowd.vectors), "dim": DIM, "people": len(crowd.consent_ids)}


def _directions(count: int, seed: int) -> npt.NDArray[np.float32]:
    """Return unit vectors as the search itself rounds them: to float16."""
    found = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found.astype(np.float16).astype(np.float32)


def _flat(crowd: Crowd) -> Any:
    index = faiss.IndexFlatIP(DIM)
    index.add(_units(crowd))
    return index


def _half(crowd: Crowd) -> Any:
    index = faiss.IndexScalarQuantizer(DIM, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    units = _units(crowd)
    index.train(units[:1000])
    index.add(units)
    return index


def _units(crowd: Crowd) -> npt.NDArray[np.float32]:
    wide = crowd.vectors.astype(np.float32)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    return wide


def _agree(matrix: Matrix, index: Any, queries: npt.NDArray[np.float32]) -> None:
    """Require that both sides find the same: nine of ten rows at least, since the other side rounds otherwise."""
    _, theirs = index.search(queries, TOP)
    ours = nearest_many(matrix, queries, TOP)
    same = sum(len(set(one.tolist()) & set(other.tolist())) for one, other in zip(ours, theirs, strict=True))
    if same < 0.9 * TOP * len(queries):
        raise RuntimeError("the two sides do not find the same rows: no figure would mean anything")


def _check(site: Site, crowd: Crowd) -> None:
    with site.reading() as connection, unlock(site, connection, crowd.model_id, crowd.consent_ids) as matrix:
        if not np.array_equal(matrix.vectors, crowd.vectors):
            raise RuntimeError("the matrix is not what was stored")


def _plain(crowd: Crowd) -> Path:
    """Write the same vectors as a plain table would hold them, a row an embedding."""
    path = crowd.home.folder / "plain.db"
    if path.exists():
        return path
    consents = sorted(crowd.consent_ids)
    rows = (
        (row, consents[row // VECTORS], consents[row // VECTORS], row % VECTORS, vector.tobytes())
        for row, vector in enumerate(crowd.vectors)
    )
    with closing(sqlite3.connect(path)) as plain:
        plain.execute("PRAGMA journal_mode = WAL").close()
        columns = "id INTEGER PRIMARY KEY, consent_id TEXT, track_id TEXT, frame INTEGER, vector BLOB"
        plain.execute(f"CREATE TABLE embedding ({columns})")
        plain.executemany("INSERT INTO embedding VALUES (?, ?, ?, ?, ?)", rows)
        plain.commit()
    return path


def _labelled(path: Path, crowd: Crowd) -> tuple[object, object]:
    vectors = np.zeros(crowd.vectors.shape, np.float16)
    room, place = memoryview(vectors.data).cast("B"), 0
    labels = []
    with closing(sqlite3.connect(path)) as plain:
        for consent_id, track_id, frame, vector in plain.execute(
            "SELECT consent_id, track_id, frame, vector FROM embedding ORDER BY id"
        ):
            if consent_id in crowd.consent_ids:
                room[place : place + 2 * DIM] = vector
                labels.append((consent_id, track_id, frame))
                place += 2 * DIM
    return vectors, labels


def _bare(path: Path, crowd: Crowd) -> object:
    vectors = np.zeros(crowd.vectors.shape, np.float16)
    room, place = memoryview(vectors.data).cast("B"), 0
    with closing(sqlite3.connect(path)) as plain:
        for (vector,) in plain.execute("SELECT vector FROM embedding ORDER BY id"):
            room[place : place + 2 * DIM] = vector
            place += 2 * DIM
    return vectors
