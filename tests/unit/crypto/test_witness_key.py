"""The witness's own key file."""

import stat

import pytest

from fabnet_secure.crypto import witness_key
from fabnet_secure.crypto.witness_key import create_witness_key, load_witness_key
from fabnet_secure.errors import KeyProblem


def test_a_new_key_is_its_owners_alone_and_loads_again(tmp_path):
    """Mode 0600, no other file left, and the same key."""
    path = tmp_path / "deep" / "witness.key"
    made = create_witness_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["witness.key"]
    assert load_witness_key(path).public == made.public


def test_a_key_is_never_overwritten(tmp_path):
    """A second creation is refused and the first key stays."""
    path = tmp_path / "witness.key"
    made = create_witness_key(path)
    with pytest.raises(KeyProblem) as refused:
        create_witness_key(path)
    assert refused.value.code == "KEY_EXISTS"
    assert load_witness_key(path).public == made.public


@pytest.mark.parametrize(
    ("content", "mode", "code"),
    [
        (b"FABNET-SECURE-WITNESS-1\nAAAA\n", 0o600, "KEY_FORMAT"),
        (b"FABNET-SECURE-KEY-1\n" + b"A" * 43 + b"=\n", 0o600, "KEY_FORMAT"),
        (b"FABNET-SECURE-WITNESS-1\n!!\n", 0o600, "KEY_FORMAT"),
        (b"", 0o600, "KEY_FORMAT"),
        (b"FABNET-SECURE-WITNESS-1\n" + b"A" * 43 + b"=\n", 0o640, "KEY_MODE"),
    ],
    ids=["short", "other-kind", "not-base64", "empty", "mode"],
)
def test_what_is_no_guarded_key_is_refused(tmp_path, content, mode, code):
    """Another file, or one that others can read, is not used."""
    path = tmp_path / "witness.key"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(KeyProblem) as refused:
        load_witness_key(path)
    assert refused.value.code == code


def test_a_missing_key_and_a_folder_are_refused(tmp_path):
    """Nothing there is KEY_MISSING; a folder is no key."""
    with pytest.raises(KeyProblem) as refused:
        load_witness_key(tmp_path / "none")
    assert refused.value.code == "KEY_MISSING"
    with pytest.raises(KeyProblem) as refused:
        load_witness_key(tmp_path)
    assert refused.value.code == "KEY_FORMAT"


def test_a_disk_that_refuses_leaves_nothing(tmp_path, monkeypatch):
    """A write that fails leaves no half key."""

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(witness_key.os, "fsync", full)
    with pytest.raises(KeyProblem) as refused:
        create_witness_key(tmp_path / "witness.key")
    assert refused.value.code == "KEY_NOT_WRITTEN"
    assert list(tmp_path.iterdir()) == []
