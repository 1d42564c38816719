"""Invariant: any changed, dropped, swapped, truncated, added or re-ordered byte of a log is found."""

import copy
import shutil
from functools import lru_cache

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fabnet_secure.audit.checkpoint import sign_checkpoint, vkey
from fabnet_secure.audit.export import check_export, export_log
from fabnet_secure.audit.log import Log
from fabnet_secure.audit.memory import MemoryStorage
from fabnet_secure.audit.verify import check_log
from fabnet_secure.errors import IntegrityFailure

ORIGIN = "example.org/log"
SIZES = (1, 2, 3, 7, 255, 256, 257, 511, 512, 600)


class Signer:
    """A fixed Ed25519 key."""

    def __init__(self):
        self._key = Ed25519PrivateKey.from_private_bytes(b"\7" * 32)
        self.public = self._key.public_key().public_bytes_raw()

    def sign(self, message):
        return self._key.sign(message)


SIGNER = Signer()
VKEY = vkey(ORIGIN, SIGNER.public)


def verify(public, message, signature):
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


@lru_cache
def _made(size):
    storage = MemoryStorage()
    Log(storage).append([f"entry {i}".encode() for i in range(size)])
    return storage, signed(storage)


def signed(storage):
    return sign_checkpoint(ORIGIN, storage.size(), Log(storage).root(), SIGNER)


def fresh(size):
    """Return a copy of an honest log, free to be tampered with, and its checkpoint."""
    storage, text = _made(size)
    return copy.deepcopy(storage), text


def assert_found(storage, text):
    with pytest.raises(IntegrityFailure):
        check_log(storage, text, VKEY, verify)


def flip(blob, bit):
    changed = bytearray(blob)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


def flip_entry(storage, data):
    at = data.draw(st.integers(0, len(storage.entries) - 1))
    storage.entries[at] = flip(storage.entries[at], data.draw(st.integers(0, 8 * len(storage.entries[at]) - 1)))


def stretch_entry(storage, data):
    at = data.draw(st.integers(0, len(storage.entries) - 1))
    storage.entries[at] += data.draw(st.binary(min_size=1, max_size=3))


def cut_entry(storage, data):
    at = data.draw(st.integers(0, len(storage.entries) - 1))
    storage.entries[at] = storage.entries[at][:-1]


def drop_entry(storage, data):
    del storage.entries[data.draw(st.integers(0, len(storage.entries) - 1))]
    if data.draw(st.booleans()):
        storage.count -= 1


def repeat_entry(storage, data):
    at = data.draw(st.integers(0, len(storage.entries) - 1))
    storage.entries.insert(at, storage.entries[at])


def add_entry(storage, data):
    storage.entries.append(data.draw(st.binary(max_size=5)))
    if data.draw(st.booleans()):
        storage.count += 1


def swap_entries(storage, data):
    at = data.draw(st.integers(0, len(storage.entries) - 1))
    to = data.draw(st.integers(0, len(storage.entries) - 1))
    assume(at != to)
    storage.entries[at], storage.entries[to] = storage.entries[to], storage.entries[at]


def reorder_entries(storage, data):
    storage.entries = data.draw(st.sampled_from([storage.entries[::-1], storage.entries[1:] + storage.entries[:1]]))
    assume(len(storage.entries) > 1)


def truncate_entries(storage, data):
    keep = data.draw(st.integers(0, len(storage.entries) - 1))
    del storage.entries[keep:]
    if data.draw(st.booleans()):
        storage.count = keep


def shift_boundary(storage, data):
    """Move a byte from one entry to its neighbour: the concatenation stays the same."""
    assume(len(storage.entries) > 1)
    at = data.draw(st.integers(0, len(storage.entries) - 2))
    storage.entries[at + 1] = storage.entries[at][-1:] + storage.entries[at + 1]
    storage.entries[at] = storage.entries[at][:-1]


def change_tile(storage, data):
    place = data.draw(st.sampled_from(sorted(storage.tiles)))
    held = storage.tiles[place]
    change = data.draw(st.sampled_from(["flip", "cut", "stretch", "drop"]))
    if change == "flip":
        storage.tiles[place] = flip(held, data.draw(st.integers(0, 8 * len(held) - 1)))
    elif change == "cut":
        storage.tiles[place] = held[: data.draw(st.integers(0, len(held) - 1))]
    elif change == "stretch":
        storage.tiles[place] = held + bytes(data.draw(st.sampled_from([1, 32])))
    else:
        del storage.tiles[place]


def swap_tiles(storage, data):
    places = sorted(storage.tiles)
    one, two = data.draw(st.sampled_from(places)), data.draw(st.sampled_from(places))
    assume(storage.tiles[one] != storage.tiles[two])
    storage.tiles[one], storage.tiles[two] = storage.tiles[two], storage.tiles[one]


def add_tile(storage, data):
    """Put a tile right of the edge of a level, or above the top."""
    top = max(level for level, _ in storage.tiles) + 1
    level = data.draw(st.integers(0, top))
    index = 1 + max((index for at, index in storage.tiles if at == level), default=-1)
    storage.tiles[level, index] = data.draw(st.sampled_from([b"", bytes(32)]))


def change_size(storage, data):
    storage.count = data.draw(st.integers(-2, len(storage.entries) + 300).filter(lambda n: n != storage.count))


def rewrite_everything(storage, data):
    """Change an entry and recompute every tile: a forger with the whole disk but not the key."""
    flip_entry(storage, data)
    entries = storage.entries
    storage.__init__()
    Log(storage).append(entries)


TAMPERINGS = (
    flip_entry,
    stretch_entry,
    cut_entry,
    drop_entry,
    repeat_entry,
    add_entry,
    swap_entries,
    reorder_entries,
    truncate_entries,
    shift_boundary,
    change_tile,
    swap_tiles,
    add_tile,
    change_size,
    rewrite_everything,
)


@pytest.mark.parametrize("tamper", TAMPERINGS, ids=lambda tamper: tamper.__name__)
def test_every_tampering_with_the_storage_is_found(tamper):
    """Whatever is done to entries, tiles or size of logs around every tile's edge, the check refuses it."""

    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
    @given(st.sampled_from(SIZES), st.data())
    def run(size, data):
        storage, text = fresh(size)
        check_log(storage, text, VKEY, verify)
        tamper(storage, data)
        assert_found(storage, text)

    run()


def test_every_bit_of_a_small_log_counts():
    """Each single bit of every entry and every tile, flipped, is found."""
    storage, text = fresh(3)
    for cells in (storage.entries, storage.tiles):
        for place in list(cells) if isinstance(cells, dict) else range(len(cells)):
            held = cells[place]
            for bit in range(8 * len(held)):
                cells[place] = flip(held, bit)
                assert_found(storage, text)
            cells[place] = held
    check_log(storage, text, VKEY, verify)


def test_every_byte_of_the_checkpoint_counts():
    """Each byte of the checkpoint, flipped in each bit, dropped, doubled or cut off after, is found."""
    storage, text = fresh(3)
    raw = text.encode()
    for at in range(len(raw)):
        wrong = [raw[:at], raw[:at] + raw[at + 1 :], raw[:at] + raw[at : at + 1] * 2 + raw[at + 1 :]]
        wrong += [flip(raw, 8 * at + bit) for bit in range(8)]
        for changed in wrong:
            assert_found(storage, changed.decode("utf-8", errors="replace"))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_edit_of_the_checkpoint_is_found(data):
    """Any text put anywhere in the checkpoint, in place of any part of it, is found."""
    storage, text = fresh(3)
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, len(text)))
    piece = data.draw(st.text(max_size=4) | st.sampled_from(["\n", "\n\n", "\r\n", " ", "=", text]))
    changed = text[:start] + piece + text[stop:]
    assume(changed != text)
    assert_found(storage, changed)


def test_an_older_checkpoint_does_not_cover_a_newer_log():
    """A checkpoint honestly signed for fewer entries is refused for the log as it stands."""
    storage, _ = fresh(256)
    assert_found(storage, _made(255)[1])


def test_every_byte_of_an_export_counts(tmp_path):
    """Each byte of every file of an export, flipped in one bit, and every cut of each file, is found."""
    storage, text = fresh(3)
    export_log(storage, text, VKEY, tmp_path / "whole")
    for path in [path for path in (tmp_path / "whole").rglob("*") if path.is_file()]:
        held = path.read_bytes()
        for at in range(len(held)):
            for wrong in (flip(held, 8 * at + at % 8), held[:at]):
                path.write_bytes(wrong)
                with pytest.raises(IntegrityFailure):
                    check_export(tmp_path / "whole", verify)
        path.write_bytes(held)
    assert check_export(tmp_path / "whole", verify, vkey=VKEY).size == 3


def test_swapped_files_of_an_export_are_found(tmp_path):
    """Any two files of an export, exchanged, are found."""
    storage, text = fresh(600)
    whole = tmp_path / "whole"
    export_log(storage, text, VKEY, whole)
    names = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    for number, one in enumerate(names):
        for two in names[number + 1 :]:
            copied = shutil.copytree(whole, tmp_path / "copy")
            (copied / one).write_bytes((whole / two).read_bytes())
            (copied / two).write_bytes((whole / one).read_bytes())
            with pytest.raises(IntegrityFailure):
                check_export(copied, verify)
            shutil.rmtree(copied)


class LogMachine(RuleBasedStateMachine):
    """A log that grows in any batches, is tampered with in any way, and is put right again."""

    def __init__(self):
        super().__init__()
        self.storage = MemoryStorage()
        self.number = 0
        self.text = signed(self.storage)

    @rule(count=st.integers(0, 300))
    def append(self, count):
        first = Log(self.storage).append([f"entry {self.number + i}".encode() for i in range(count)])
        assert first == self.number
        self.number += count
        self.text = signed(self.storage)

    @rule(data=st.data(), tamper=st.sampled_from(TAMPERINGS))
    def tamper(self, data, tamper):
        if self.number > 0:
            changed = copy.deepcopy(self.storage)
            tamper(changed, data)
            assert_found(changed, self.text)

    @invariant()
    def honest_log_holds(self):
        assert check_log(self.storage, self.text, VKEY, verify).size == self.number


TestLogMachine = LogMachine.TestCase
TestLogMachine.settings = settings(max_examples=20, stateful_step_count=12, deadline=None)
