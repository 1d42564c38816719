"""The benchmarks of search run from end to end on a vault of a few people; no time is asserted."""

import pytest

from benchmarks import clips, harness, metrics, searching

NAMES = [
    "unlock_vs_plain_sqlite",
    "query_warm_vs_faiss_flat",
    "query_cold_vs_faiss_sqfp16",
    "batch64_vs_faiss_flat",
    "withdraw_ms",
    "search_growth",
]


@pytest.fixture
def few(monkeypatch):
    """Let a crowd be small, and one round enough."""
    monkeypatch.setattr(searching, "PEOPLE", 10)
    monkeypatch.setattr(searching, "_FLUSH_BYTES", 1 << 20)
    monkeypatch.setattr(searching, "interleaved", lambda *sides: harness.interleaved(*sides, rounds=1))


def test_every_search_metric_has_its_figures(few, tmp_path):
    """Both sides find the same rows, and every figure is there."""
    shelf = clips.Shelf(tmp_path)
    for name in NAMES:
        body = metrics.ALL[name](shelf).to_json(name)
        assert body["value"] > 0, name
        assert body["ratio"] > 0, name
        assert body["vectors"] in {1000, 3000}, name
        assert (body["met"] is None) == (name == "withdraw_ms")


def test_full_size_is_asked_for_by_a_flag(monkeypatch, tmp_path):
    """``--full`` is no metric's name, and asks for ten times the people."""
    from benchmarks.__main__ import main

    seen = []
    monkeypatch.setattr(metrics, "ALL", {"one": lambda shelf: seen.append(searching._people(shelf)) or result()})
    assert main(["one"]) == main(["one", "--full"]) == 0
    assert seen == [searching.PEOPLE, searching.PEOPLE_FULL]


def result():
    return harness.Result(value=1.0, unit="ms", ratio=1.0, baseline="none")
