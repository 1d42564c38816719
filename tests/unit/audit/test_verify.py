"""The whole check, the check of the edge, and the witness's check (tampering: tests/invariants/)."""

import time

import pytest

from fabnet_secure.audit.checkpoint import sign_checkpoint
from fabnet_secure.audit.log import Log
from fabnet_secure.audit.verify import Verified, check_extends, check_head, check_log
from fabnet_secure.errors import IntegrityFailure, UsageError


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 1024, 1025, 66_000])
def test_an_honest_log_holds(site, verify, size):
    """At sizes on both sides of every tile's edge the check returns the signed head."""
    made = site(size)
    assert check_log(made.storage, made.checkpoint(), made.vkey, verify) == Verified(
        size=size, root=made.log.root(), origin=made.origin, vkey=made.vkey
    )
    assert check_head(made.storage, made.checkpoint(), made.vkey, verify).size == size


def test_a_hundred_thousand_entries_take_seconds_at_most(site, verify):
    """The check stays fast enough to run at every start."""
    made = site(100_000)
    text = made.checkpoint()
    began = time.process_time()
    check_log(made.storage, text, made.vkey, verify)
    assert time.process_time() - began < 5


def test_the_failure_says_which_entry(site, verify):
    """A changed entry is named by its index and tile, for people and for programs."""
    made = site(600)
    text = made.checkpoint()
    made.storage.entries[300] = b"forged"
    with pytest.raises(IntegrityFailure) as caught:
        check_log(made.storage, text, made.vkey, verify)
    assert caught.value.code == "LOG_BROKEN"
    assert caught.value.fields == {"entry": 300, "tile": "tile/0/001"}
    assert "entry 300" in str(caught.value)


def test_the_failure_says_which_span_of_a_higher_tile(site, verify):
    """A changed hash above the leaves is named by the entries under it."""
    made = site(600)
    text = made.checkpoint()
    tile = bytearray(made.storage.tiles[1, 0])
    tile[40] ^= 1
    made.storage.tiles[1, 0] = bytes(tile)
    with pytest.raises(IntegrityFailure, match="entries 256 to 511") as caught:
        check_log(made.storage, text, made.vkey, verify)
    assert caught.value.fields["tile"] == "tile/1/000.p/2"


def test_a_log_rewritten_with_all_its_tiles_does_not_match_the_signed_root(site, verify):
    """Whoever rewrites entries and recomputes every tile still lacks the signing key."""
    made, forged = site(300), site(0)
    forged.log.append([entry.replace(b"7", b"8") for entry in made.storage.entries])
    with pytest.raises(IntegrityFailure, match="signed root"):
        check_log(forged.storage, made.checkpoint(), made.vkey, verify)
    with pytest.raises(IntegrityFailure, match="signed root"):
        check_head(forged.storage, made.checkpoint(), made.vkey, verify)


@pytest.mark.parametrize("cell", [None, "text", 7])
def test_a_database_cell_of_another_type_is_damage_not_a_crash(site, verify, cell):
    """SQLite keeps any type in any column; an overwritten cell is reported like any other tampering."""
    made = site(5)
    text = made.checkpoint()
    made.storage.entries[2] = cell
    with pytest.raises(IntegrityFailure):
        check_log(made.storage, text, made.vkey, verify)


def test_an_oversized_entry_is_no_entry(site, verify):
    """An entry that no bundle could carry is refused even before hashes are compared."""
    made = site(5)
    text = made.checkpoint()
    made.storage.entries[2] = b"x" * 65_536
    with pytest.raises(IntegrityFailure, match="entry 2"):
        check_log(made.storage, text, made.vkey, verify)


def test_a_cosigned_checkpoint_is_not_the_stored_one(site, verify):
    """The stored checkpoint bears the log's signature alone, so every byte of it is checked."""
    made = site(3)
    text = made.checkpoint()
    with pytest.raises(IntegrityFailure):
        check_log(made.storage, text + "\u2014 witness AAAAAAA=\n", made.vkey, verify)


def test_the_wrong_verifier_key_text_is_the_caller_s_mistake(site, verify):
    """A malformed key is a usage error, not a broken log."""
    made = site(3)
    with pytest.raises(UsageError):
        check_log(made.storage, made.checkpoint(), "no key", verify)


def test_a_grown_log_extends_what_was_witnessed(site, verify):
    """Every earlier honest checkpoint is the beginning of the log."""
    made = site(600)
    for size in (0, 1, 255, 256, 300, 600):
        assert check_extends(made.storage, made.checkpoint(size), made.vkey, verify).size == size


def test_a_log_put_back_is_found_by_its_witness(site, verify):
    """An older copy, honest in itself, is refused against the newer checkpoint that was witnessed."""
    newer, older = site(600), site(500)
    check_log(older.storage, older.checkpoint(), older.vkey, verify)
    with pytest.raises(IntegrityFailure, match="put back"):
        check_extends(older.storage, newer.checkpoint(), older.vkey, verify)


def test_another_history_is_found_by_its_witness(site, verify):
    """Two heads honestly signed over different entries do not extend each other."""
    made, forked = site(300), site(0)
    forked.log.append([b"another past", *made.storage.entries[1:], b"later"])
    with pytest.raises(IntegrityFailure, match="witnessed"):
        check_extends(forked.storage, made.checkpoint(), made.vkey, verify)


def test_the_edge_check_reads_no_entry_and_finds_a_wrong_size(site, verify):
    """Before an append, the edge alone shows that the head is the signed one."""
    made = site(300)
    text = made.checkpoint()
    made.storage.entries.clear()
    check_head(made.storage, text, made.vkey, verify)
    made.storage.count = 299
    with pytest.raises(IntegrityFailure):
        check_head(made.storage, text, made.vkey, verify)


def test_a_newer_log_under_an_older_checkpoint_is_refused(site, verify):
    """The checkpoint must be of exactly this size, even when both are honest."""
    made = site(10)
    old = made.checkpoint()
    Log(made.storage).append([b"more"])
    with pytest.raises(IntegrityFailure, match="11 entries"):
        check_log(made.storage, old, made.vkey, verify)
    assert check_extends(made.storage, old, made.vkey, verify).size == 10


def test_a_root_signed_for_other_entries_is_refused(site, verify):
    """Even the log's own key cannot make a root that the entries do not have."""
    made = site(10)
    text = sign_checkpoint(made.origin, 10, b"\7" * 32, made.signer)
    with pytest.raises(IntegrityFailure, match="signed root"):
        check_log(made.storage, text, made.vkey, verify)
