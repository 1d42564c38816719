"""The common head: what it holds, and its cache."""

from dataclasses import replace

import numpy as np
import pytest

from fabnet_secure.synth import head as head_module
from fabnet_secure.synth.head import Material, assemble, cache_path, load_head


@pytest.fixture
def fresh_load():
    """Load as a new process would, and leave the session's head in place afterwards."""
    yield load_head.__wrapped__
    assert load_head() is load_head()


def test_head_has_the_52_units_and_all_materials(head):
    """Fifty-two expression units, no empty one, and every material but the worn ones."""
    assert len(head.units) == 52
    assert len(set(head.units)) == 52
    assert (np.abs(head.unit_offsets).max(axis=1) > 0).all()
    assert set(head.part.tolist()) == {Material.SKIN, Material.EYE, Material.TEETH, Material.TONGUE, Material.LASH}


def test_indices_stay_inside(head):
    """Every triangle and corner points at something that exists; texture places are within the texture."""
    assert head.triangles.max() < len(head.corners)
    assert head.corners.max() < len(head.vertices)
    assert head.uv.min() >= 0
    assert head.uv.max() <= 1
    assert 0.5 < head.painted.mean() < 0.95


def test_both_eyes_are_told_apart(head):
    """The left eye is on +x, the right on -x, and they share no vertex."""
    left, right = head.eye(1), head.eye(-1)
    assert head.vertices[left, 0].min() > 0 > head.vertices[right, 0].max()
    assert not (left & right).any()


def test_no_child_shapes(head):
    """Shape targets of children are not even loaded: every person is an adult."""
    assert not any("child" in name or "baby" in name for name in head.shapes)


def test_second_load_reads_the_cache(own_cache, source, head, fresh_load, monkeypatch):
    """Once cached, the source is not parsed again, and the head is the same."""
    assert cache_path(source).is_file()
    monkeypatch.setattr(head_module, "parse", None)
    again = fresh_load()
    np.testing.assert_array_equal(again.vertices, head.vertices)
    np.testing.assert_array_equal(again.unit_offsets, head.unit_offsets)
    assert list(cache_path(source).parent.glob("*.part")) == []


def test_another_edition_has_another_cache(source):
    """The cache's name follows the version and the digest of the source."""
    names = {cache_path(each) for each in (source, replace(source, version="9"), replace(source, digest="0" * 64))}
    assert len(names) == 3


@pytest.mark.parametrize("damage", [b"", b"not an archive", b"PK\x03\x04 cut"])
def test_damaged_cache_is_parsed_anew(damage, tmp_path, monkeypatch, source, head, fresh_load):
    """A damaged cache file costs time, never a wrong head or an error."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    raw = head_module._read_cache(head_module.cache_path(source))
    assert raw is None
    path = cache_path(source)
    path.parent.mkdir()
    path.write_bytes(damage)
    calls = []
    stored = {"vertices": np.zeros(1)}
    monkeypatch.setattr(head_module, "parse", lambda _: calls.append(1) or stored)
    monkeypatch.setattr(head_module, "assemble", lambda raw: raw)
    assert fresh_load() is stored
    assert calls == [1]


def test_works_without_a_cache_folder(tmp_path, monkeypatch, source, fresh_load):
    """When the cache folder cannot be made, loading still succeeds."""
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    monkeypatch.setattr(head_module, "parse", lambda _: {"vertices": np.zeros(1)})
    monkeypatch.setattr(head_module, "assemble", lambda raw: raw)
    assert fresh_load()["vertices"].shape == (1,)


def test_parsing_is_reproducible(own_cache, source, head):
    """Parsing the source again gives what the cache holds."""
    again = assemble(head_module.parse(source))
    np.testing.assert_array_equal(again.offsets, head.offsets)
    assert again.landmarks == head.landmarks
