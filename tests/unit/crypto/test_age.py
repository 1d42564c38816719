"""Backups' encryption: what opens it, what does not, and that nothing damaged ever passes."""

import io
import os
import threading
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabnet_secure.crypto import age
from fabnet_secure.errors import IntegrityFailure, KeyProblem, UsageError

OURS, THEIRS = age.Identity.generate(), age.Identity.generate()


def _sealed(blob, *identities):
    target = io.BytesIO()
    with age.encrypting(target, [one.recipient for one in identities or (OURS,)]) as writer:
        writer.write(blob)
    return target.getvalue()


def _opened(blob, *identities):
    with age.decrypting(io.BytesIO(blob), identities or (OURS,)) as reader:
        return reader.read()


def _write_identity(path, text, mode=0o600):
    path.write_text(text, "utf-8")
    path.chmod(mode)
    return path


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([0, 1, 65_535, 65_536, 65_537, 200_000]))
def test_what_was_encrypted_opens(seed, repeats):
    """Any bytes come back, whatever the pieces of 64 KiB make of their length."""
    blob = seed + b"\x00" * repeats
    assert _opened(_sealed(blob)) == blob


def test_each_recipient_opens_it():
    """Two recipients: either one's key alone is enough."""
    sealed = _sealed(b"both", OURS, THEIRS)
    assert _opened(sealed, OURS) == _opened(sealed, THEIRS) == b"both"


def test_nobody_else_opens_it():
    """Another key is told apart from damage."""
    with pytest.raises(KeyProblem) as refused:
        _opened(_sealed(b"ours"), THEIRS)
    assert refused.value.code == "IDENTITY_WRONG"


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1, exclude_max=True), st.integers(0, 7))
def test_a_flipped_bit_is_found(share, bit):
    """No bit of an archive can be changed, header or contents."""
    sealed = bytearray(_sealed(b"x" * 70_000))
    sealed[int(share * len(sealed))] ^= 1 << bit
    with pytest.raises((IntegrityFailure, KeyProblem)) as refused:  # a changed stanza may read as another's
        _opened(bytes(sealed))
    assert refused.value.code in {"ARCHIVE_DAMAGED", "IDENTITY_WRONG"}


@pytest.mark.parametrize("kept", [0, 1, 100, 200, 65_752, 65_768, -1])
def test_a_cut_archive_is_found(kept):
    """An archive that ends early is damaged, at the edge of a piece too."""
    sealed = _sealed(b"x" * 140_000)
    with pytest.raises(IntegrityFailure) as refused:
        _opened(sealed[:kept])
    assert refused.value.code == "ARCHIVE_DAMAGED"


def test_something_more_is_found():
    """Bytes after the end are damage too."""
    with pytest.raises(IntegrityFailure):
        _opened(_sealed(b"x" * 100) + b"y")


def test_a_full_disk_is_told_as_such():
    """The target's own error comes through, not the broken pipe it makes."""

    class Full(io.BytesIO):
        def write(self, blob):
            del blob
            raise OSError(28, "No space left on device")

    def fill():
        with age.encrypting(Full(), [OURS.recipient]) as writer:
            for _ in range(100):
                writer.write(b"x" * 65_536)

    with pytest.raises(OSError, match="No space") as refused:
        fill()
    assert refused.value.errno == 28


def test_the_blocks_own_error_comes_through():
    """What goes wrong while writing or reading is what is told, and no thread stays behind."""

    def write():
        with age.encrypting(io.BytesIO(), [OURS.recipient]) as writer:
            writer.write(b"x")
            raise ZeroDivisionError

    def read():
        with age.decrypting(io.BytesIO(_sealed(b"x" * 900_000)), (OURS,)) as reader:
            reader.read(10)
            raise ZeroDivisionError

    for act in (write, read):
        with pytest.raises(ZeroDivisionError):
            act()
    assert not [one for one in threading.enumerate() if one.name == "age"]
    with pytest.raises(KeyboardInterrupt), age.encrypting(io.BytesIO(), [OURS.recipient]):
        raise KeyboardInterrupt


def test_a_block_that_reads_half_still_checks_the_end():
    """Whoever stops reading early is still told that the end is missing."""
    sealed = _sealed(b"x" * 300_000)
    with pytest.raises(IntegrityFailure), age.decrypting(io.BytesIO(sealed[:-1]), (OURS,)) as reader:
        reader.read(10)


def test_nothing_large_stands_in_memory(tmp_path):
    """64 MiB pass through in pieces."""
    block = os.urandom(1 << 20)
    tracemalloc.start()
    with (tmp_path / "big.age").open("wb") as target, age.encrypting(target, [OURS.recipient]) as writer:
        for _ in range(64):
            writer.write(block)
    with (tmp_path / "big.age").open("rb") as source, age.decrypting(source, (OURS,)) as reader:
        read = sum(len(piece) for piece in iter(lambda: reader.read(1 << 20), b""))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert read == 64 << 20
    assert peak < 8 << 20


def test_without_recipients_nothing_is_written():
    """Never plaintext, never to nobody."""
    with pytest.raises(UsageError) as refused:
        age.encrypt(io.BytesIO(b"x"), io.BytesIO(), [])
    assert refused.value.code == "NO_RECIPIENTS"


@pytest.mark.parametrize(
    "text",
    ["", "age1", "ssh-ed25519 AAAA", OURS.recipient.text[:-6] + "bqbqbq", "age1" + "q" * 5000],
    ids=["empty", "bare", "ssh", "checksum", "long"],
)
def test_what_is_no_recipient_is_refused(text):
    """A public key with a wrong checksum, of another kind, or none at all."""
    with pytest.raises(UsageError) as refused:
        age.parse_recipient(text)
    assert refused.value.code == "RECIPIENT_INVALID"
    assert len(refused.value.message) < 200


def test_a_recipient_has_one_form():
    """Upper case names the same key."""
    assert age.parse_recipient(OURS.recipient.text.upper()) == OURS.recipient


def test_a_secret_key_is_no_recipient_and_is_not_repeated():
    """A secret pasted into the wrong place reaches no message."""
    with pytest.raises(UsageError) as refused:
        age.parse_recipient(OURS.reveal())
    assert refused.value.code == "RECIPIENT_SECRET"
    assert OURS.reveal()[20:] not in refused.value.message + refused.value.hint


def test_an_identity_file_is_read_as_age_keygen_writes_it(tmp_path):
    """Comments, empty lines, several keys."""
    text = f"# created: 2026-01-01\n# public key: {OURS.recipient}\n{OURS.reveal()}\n\n{THEIRS.reveal()}\n"
    found = age.load_identities(_write_identity(tmp_path / "id", text))
    assert [one.recipient for one in found] == [OURS.recipient, THEIRS.recipient]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_an_identity_file_that_others_may_read_is_refused(tmp_path, mode):
    """As a key file: 0600."""
    with pytest.raises(KeyProblem) as refused:
        age.load_identities(_write_identity(tmp_path / "id", OURS.reveal(), mode))
    assert refused.value.code == "IDENTITY_MODE"


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "AGE-SECRET-KEY-1QQQ\n", "schlüssel\n", "age-encryption.org/v1\n-> scrypt x 18\n"]
)
def test_what_is_no_identity_file_is_refused(tmp_path, text):
    """An empty, broken or encrypted identity file."""
    with pytest.raises(KeyProblem) as refused:
        age.load_identities(_write_identity(tmp_path / "id", text))
    assert refused.value.code == "IDENTITY_FORMAT"


def test_a_missing_identity_a_folder_and_a_pipe_are_refused(tmp_path):
    """Nothing hangs, nothing is taken for a key."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name, code in (("none", "IDENTITY_MISSING"), (".", "IDENTITY_FORMAT"), ("pipe", "IDENTITY_FORMAT")):
        with pytest.raises(KeyProblem) as refused:
            age.load_identities(tmp_path / name)
        assert refused.value.code == code


def test_an_identity_is_not_shown():
    """Neither printed nor pickled."""
    assert "SECRET" not in repr(OURS)
    with pytest.raises(TypeError):
        OURS.__reduce_ex__(4)
