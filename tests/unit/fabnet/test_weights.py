"""Facts about fabnet/weights.py."""

import hashlib
import os
import stat

import pytest
import torch

from fabnet_secure.errors import IntegrityFailure, StorageFailed
from fabnet_secure.fabnet.model import FabNet, FabNetConfig
from fabnet_secure.fabnet.weights import load, read_metadata, save


@pytest.fixture(scope="module")
def model() -> FabNet:
    return FabNet(FabNetConfig(image_size=32, width=0.25, embedding_dim=16))


def test_round_trip(model, tmp_path):
    """What was saved loads to the same weights and shape; the digest is the file's; the file is private."""
    path = tmp_path / "m.safetensors"
    digest = save(model, path, {"plan": "abc"})
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert stat.S_IMODE(path.stat().st_mode) & 0o037 == 0
    assert read_metadata(path.read_bytes())["plan"] == "abc"
    again = load(path, digest)
    assert again.config == model.config
    assert not again.training
    for one, other in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert [file.name for file in tmp_path.iterdir()] == ["m.safetensors"]


def test_changed_weights_are_refused(model, tmp_path):
    """One flipped bit, a cut file, or no file is an integrity failure."""
    path = tmp_path / "m.safetensors"
    digest = save(model, path, {})
    blob = bytearray(path.read_bytes())
    blob[-1] ^= 1
    for broken in (bytes(blob), bytes(blob[:-10]), b""):
        path.write_bytes(broken)
        with pytest.raises(IntegrityFailure) as caught:
            load(path, digest)
        assert caught.value.code == "WEIGHTS_DIGEST"
    with pytest.raises(IntegrityFailure):
        load(tmp_path / "none", digest)


def test_foreign_files_are_refused(tmp_path):
    """A file with the right digest that holds no network of ours is refused."""
    for blob in (b"", b"not safetensors at all", b"\x02" + bytes(7) + b"{}"):
        path = tmp_path / "foreign"
        path.write_bytes(blob)
        with pytest.raises(IntegrityFailure) as caught:
            load(path, hashlib.sha256(blob).hexdigest())
        assert caught.value.code == "WEIGHTS_FORMAT"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_interrupted_save_leaves_the_old_file(model, tmp_path, monkeypatch, stop):
    """Ctrl-C or a full disk while writing leaves what was there before and nothing else."""
    path = tmp_path / "m.safetensors"
    digest = save(model, path, {})

    def stopped(_descriptor):
        raise stop

    monkeypatch.setattr(os, "fsync", stopped)
    with pytest.raises((KeyboardInterrupt, StorageFailed)):
        save(model, path, {"newer": "yes"})
    assert [file.name for file in tmp_path.iterdir()] == ["m.safetensors"]
    assert load(path, digest)


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    """Diverged weights are not written."""
    broken = FabNet(FabNetConfig(image_size=32, width=0.25, embedding_dim=16))
    with torch.no_grad():
        next(broken.parameters()).view(-1)[0] = float("nan")
    with pytest.raises(IntegrityFailure) as caught:
        save(broken, tmp_path / "m", {})
    assert caught.value.code == "WEIGHTS_NOT_FINITE"
    assert list(tmp_path.iterdir()) == []


def test_who_may_read_the_folder_may_read_the_weights(model, tmp_path):
    """In a folder that a group reads the weights are the group's to read; in a private one they are not."""
    for mode, wanted in ((0o700, 0o600), (0o750, 0o640)):
        folder = tmp_path / f"{mode:o}"
        folder.mkdir()
        folder.chmod(mode)
        save(model, folder / "m.safetensors", {})
        assert stat.S_IMODE((folder / "m.safetensors").stat().st_mode) == wanted
