"""tlog-proof files: made from the log, checked offline."""

import base64

import pytest

from fabnet_secure.audit.proof import HEADER, check_proof, make_proof
from fabnet_secure.errors import IntegrityFailure, UsageError


@pytest.mark.parametrize("size", [1, 2, 255, 257, 1000])
def test_every_kind_of_place_is_proven(site, verify, size):
    """First, middle and last entries of logs around a tile's edge prove and check."""
    made = site(size)
    text = made.checkpoint()
    for index in {0, size // 2, size - 1}:
        proof = make_proof(made.storage, index, text)
        proven = check_proof(proof, f"entry {index}".encode(), made.vkey, verify)
        assert (proven.index, proven.checkpoint.size, proven.extra) == (index, size, b"")


def test_the_file_is_the_specification_s(site):
    """Header, extra, index, path, empty line, checkpoint verbatim."""
    made = site(3)
    text = made.checkpoint()
    path = [base64.b64encode(node).decode() for node in made.log.inclusion(1, 3)]
    lines = [HEADER, "extra eA==", "index 1", *path, "", text]
    assert make_proof(made.storage, 1, text, extra=b"x") == "\n".join(lines)


def test_a_proof_under_an_older_checkpoint_holds_for_good(site, verify):
    """A log that has grown since still proves under the head it had, and the proof stays valid."""
    made = site(600)
    proof = make_proof(made.storage, 7, made.checkpoint(300))
    assert check_proof(proof, b"entry 7", made.vkey, verify).checkpoint.size == 300


def test_extra_bytes_travel_along(site, verify):
    """Extra data comes back as it went in."""
    made = site(3)
    proof = make_proof(made.storage, 1, made.checkpoint(), extra=b"\0salt")
    assert check_proof(proof, b"entry 1", made.vkey, verify).extra == b"\0salt"


def test_the_proof_is_of_these_bytes_only(site, verify):
    """Another entry, even of the same log, is not proven."""
    made = site(3)
    proof = make_proof(made.storage, 1, made.checkpoint())
    for wrong in (b"entry 0", b"entry 1 ", b""):
        with pytest.raises(IntegrityFailure) as caught:
            check_proof(proof, wrong, made.vkey, verify)
        assert caught.value.code == "PROOF_BROKEN"


def test_every_changed_character_is_refused(site, verify):
    """Each character of a proof without extra, changed in any bit, dropped or doubled, breaks it."""
    made = site(5)
    proof = make_proof(made.storage, 3, made.checkpoint())
    check_proof(proof, b"entry 3", made.vkey, verify)
    for at in range(len(proof)):
        before, after = proof[:at], proof[at + 1 :]
        flipped = [before + chr(ord(proof[at]) ^ (1 << bit)) + after for bit in range(7)]
        for wrong in [*flipped, before + after, before + proof[at] * 2 + after]:
            with pytest.raises(IntegrityFailure):
                check_proof(wrong, b"entry 3", made.vkey, verify)


def test_a_path_longer_than_any_tree_s_is_refused(site, verify):
    """Hashes beyond the root's do not make a proof."""
    made = site(1)
    head, text = f"{HEADER}\nindex 0\n", made.checkpoint()
    check_proof(f"{head}\n{text}", b"entry 0", made.vkey, verify)
    with pytest.raises(IntegrityFailure):
        check_proof(f"{head}{base64.b64encode(bytes(32)).decode()}\n\n{text}", b"entry 0", made.vkey, verify)


@pytest.mark.parametrize("text", ["", HEADER, f"{HEADER}\n\n", f"{HEADER}\nextra \nindex 0\n\n", "\n\n"])
def test_half_a_proof_is_refused(site, verify, text):
    """A file that stops early is broken, not a crash."""
    with pytest.raises(IntegrityFailure):
        check_proof(text, b"entry 0", site(1).vkey, verify)


def test_no_proof_under_a_checkpoint_of_another_log(site):
    """A checkpoint whose root or size is not this log's gets no proof."""
    made, other = site(3), site(0)
    other.log.append([b"a", b"b", b"c"])
    with pytest.raises(IntegrityFailure):
        make_proof(made.storage, 1, other.checkpoint())
    with pytest.raises(UsageError):
        make_proof(made.storage, 1, site(4).checkpoint())


def test_no_proof_of_an_entry_that_is_not_there(site):
    """The index lies inside the checkpointed log."""
    made = site(3)
    with pytest.raises(UsageError):
        make_proof(made.storage, 3, made.checkpoint())


def test_another_log_s_key_proves_nothing(site, verify):
    """The verifier decides whose log it believes."""
    made = site(3)
    proof = make_proof(made.storage, 1, made.checkpoint())
    with pytest.raises(IntegrityFailure):
        check_proof(proof, b"entry 1", site(3, signer_byte=2).vkey, verify)
