"""A witness's memory: replaced only by what continues it."""

import os

import pytest

from fabnet_secure.audit import witness
from fabnet_secure.audit.checkpoint import sign_checkpoint, vkey
from fabnet_secure.audit.cosign import check_cosignature, cosigner_vkey, witness_name
from fabnet_secure.audit.log import Log
from fabnet_secure.audit.memory import MemoryStorage
from fabnet_secure.audit.witness import check_continues, latest_note, remember
from fabnet_secure.crypto.mldsa import Cosigner, verify_mldsa44
from fabnet_secure.crypto.signing import Signer, verify_signature
from fabnet_secure.errors import IntegrityFailure, StorageFailed

ORIGIN = "example.org/log"
LOG = Signer.from_seed(b"\1" * 32)
VKEY = vkey(ORIGIN, LOG.public)
WITNESS = Cosigner.generate()


def log_of(count, first=b"first"):
    storage = MemoryStorage()
    Log(storage).append([first, *(f"entry {i}".encode() for i in range(1, count))])
    return storage


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def note_of(storage):
    return sign_checkpoint(ORIGIN, storage.size(), Log(storage).root(), LOG)


def seen(storage, out, timestamp=1_800_000_000):
    return remember(storage, note_of(storage), VKEY, verify_signature, out=out, key=WITNESS, timestamp=timestamp)


def test_the_first_head_is_remembered_and_cosigned(tmp_path):
    """A file that was not there holds the checkpoint and both signatures."""
    done = seen(log_of(300), tmp_path / "seen")
    assert (done.size, done.before) == (300, None)
    note = latest_note(tmp_path / "seen")
    assert note == done.note
    key = cosigner_vkey(witness_name(WITNESS.public), WITNESS.public)
    assert check_cosignature(note, key, verify_mldsa44).timestamp == 1_800_000_000
    assert names(tmp_path) == ["seen"]


def test_a_folder_gets_a_file_a_size_and_the_latest(tmp_path):
    """Older heads stay beside the newest."""
    seen(log_of(3), tmp_path)
    assert seen(log_of(300), tmp_path).before == 3
    assert names(tmp_path) == ["checkpoint-3", "checkpoint-300", "latest"]
    assert latest_note(tmp_path) == (tmp_path / "checkpoint-300").read_text("utf-8")


@pytest.mark.parametrize("old", [1, 2, 255, 256, 257, 300])
def test_what_continues_is_remembered(tmp_path, old):
    """Any larger or equal log with the same beginning replaces the memory."""
    seen(log_of(old), tmp_path / "seen")
    assert seen(log_of(300), tmp_path / "seen").before == old


@pytest.mark.parametrize(
    "storage",
    [log_of(299), log_of(300, b"other"), log_of(400, b"other"), log_of(1)],
    ids=["less", "other", "more", "one"],
)
def test_what_does_not_continue_leaves_the_memory_as_it_is(tmp_path, storage):
    """An older log or another history is refused, and not a byte is changed."""
    seen(log_of(300), tmp_path / "seen")
    before = (tmp_path / "seen").read_bytes()
    with pytest.raises(IntegrityFailure) as refused:
        seen(storage, tmp_path / "seen")
    assert refused.value.code == "ROLLED_BACK"
    assert (tmp_path / "seen").read_bytes() == before
    assert names(tmp_path) == ["seen"]


@pytest.mark.parametrize("content", [b"", b"nothing", b"\xff"], ids=["empty", "words", "bytes"])
def test_a_damaged_memory_is_not_written_over(tmp_path, content):
    """A witness that lost its memory says so."""
    (tmp_path / "seen").write_bytes(content)
    with pytest.raises(IntegrityFailure):
        seen(log_of(3), tmp_path / "seen")
    assert (tmp_path / "seen").read_bytes() == content


def test_a_memory_that_cannot_be_read_is_missing(tmp_path):
    """A disk that is not mounted is WITNESS_MISSING, not silence."""
    with pytest.raises(IntegrityFailure) as refused:
        latest_note(tmp_path / "usb" / "latest")
    assert refused.value.code == "WITNESS_MISSING"
    with pytest.raises(IntegrityFailure):
        latest_note(tmp_path)


def test_a_pipe_in_its_place_is_missing_and_not_waited_for(tmp_path):
    """A FIFO without a writer would hold whoever opens it."""
    os.mkfifo(tmp_path / "latest")
    with pytest.raises(IntegrityFailure) as caught:
        latest_note(tmp_path)
    assert caught.value.code == "WITNESS_MISSING"


def test_another_log_s_checkpoint_is_refused(tmp_path):
    """A checkpoint by another key says nothing about this log."""
    thief = Signer.from_seed(b"\2" * 32)
    storage = log_of(5)
    note = sign_checkpoint(ORIGIN, 5, Log(storage).root(), thief)
    with pytest.raises(IntegrityFailure) as refused:
        check_continues(storage, note, VKEY, verify_signature)
    assert refused.value.code == "CHECKPOINT_BROKEN"


def test_a_place_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    """The memory stays when the disk is full, and no half file is left."""
    seen(log_of(3), tmp_path / "seen")
    before = (tmp_path / "seen").read_bytes()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(witness.os, "fsync", full)
    with pytest.raises(StorageFailed) as refused:
        seen(log_of(4), tmp_path / "seen")
    assert refused.value.code == "WITNESS_NOT_WRITTEN"
    assert (tmp_path / "seen").read_bytes() == before
    assert names(tmp_path) == ["seen"]
