"""Kind 3 envelopes: opened straight into their place, and only there."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabnet_secure.crypto.envelope import Context, DataKey, Sealed, bulk_length, seal, seal_bulk, unseal, unseal_into
from fabnet_secure.errors import IntegrityFailure, KeyProblem

KEY = DataKey(bytes(range(32)))
CONTEXT = Context(format="embeddings/2", subject="s", consent="c", model="m", page=7, n=3, dim=4)
BOUND = CONTEXT.encode()


def opened(blob, *, key=KEY, bound=BOUND, room=None):
    """Open into a room that is four bytes too long; return what was written."""
    room = bytearray(bulk_length(len(blob)) + 4) if room is None else room
    length = unseal_into(key, bound, memoryview(blob), memoryview(room))
    assert room[length:] == bytes(len(room) - length)
    return bytes(room[:length])


@settings(max_examples=30, deadline=None)
@given(plaintext=st.one_of(st.binary(max_size=40), st.just(bytes(range(256)) * 250)))
def test_what_was_sealed_opens_both_ways(plaintext):
    """Into its place, and as any other envelope; the length is known before."""
    blob = seal_bulk(KEY, CONTEXT, plaintext).blob
    assert blob.startswith(b"FSE1\x03")
    assert bulk_length(len(blob)) == len(plaintext)
    assert opened(blob) == plaintext
    assert unseal(KEY, CONTEXT, Sealed.from_storage(blob)) == plaintext
    assert len(plaintext) < 8 or plaintext[:8] not in blob


def test_each_sealing_is_another():
    """The same plaintext twice has nothing in common but the header."""
    one, other = (seal_bulk(KEY, CONTEXT, bytes(64)).blob for _ in range(2))
    assert one[5:21] != other[5:21]
    assert one[69:] != other[69:]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_changed_bit_is_found_and_nothing_is_left(data):
    """Header, salt, commitment, ciphertext, tag: whichever bit, the room is zero afterwards."""
    blob = bytearray(seal_bulk(KEY, CONTEXT, b"secret vectors" * 3).blob)
    place = data.draw(st.integers(0, 8 * len(blob) - 1))
    blob[place // 8] ^= 1 << place % 8
    room = bytearray(bulk_length(len(blob)))
    with pytest.raises(IntegrityFailure) as caught:
        opened(bytes(blob), room=room)
    assert caught.value.code in {"SEAL_BROKEN", "SEAL_MALFORMED"}
    assert not any(room)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "embeddings/1"},
        {"subject": "t"},
        {"consent": "d"},
        {"track": "t"},
        {"model": "n"},
        {"page": 8},
        {"n": 4},
        {"dim": 3},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_field_of_the_context_counts(changes):
    """Another context, whichever field, opens nothing."""
    fields = {name: getattr(CONTEXT, name) for name in CONTEXT.__slots__} | changes
    with pytest.raises(IntegrityFailure):
        opened(seal_bulk(KEY, CONTEXT, b"x").blob, bound=Context(**fields).encode())


def test_another_key_opens_nothing():
    """The commitment is to the key: a second one is refused before anything is decrypted."""
    with pytest.raises(IntegrityFailure):
        opened(seal_bulk(KEY, CONTEXT, b"x").blob, key=DataKey(bytes(32)))


@pytest.mark.parametrize("length", [0, 4, 5, 84])
def test_too_short_is_no_envelope(length):
    """Whatever is left of one."""
    with pytest.raises(IntegrityFailure) as caught:
        unseal_into(KEY, BOUND, memoryview(seal_bulk(KEY, CONTEXT, b"").blob[:length]), memoryview(bytearray(9)))
    assert caught.value.code == "SEAL_MALFORMED"
    with pytest.raises(IntegrityFailure):
        Sealed.from_storage(seal_bulk(KEY, CONTEXT, b"").blob[:length])


def test_a_room_that_is_too_short_is_not_written_to():
    """Nor is an envelope of another kind opened into one."""
    room = bytearray(9)
    for blob in (seal_bulk(KEY, CONTEXT, bytes(10)).blob, seal(KEY, CONTEXT, bytes(5)).blob):
        with pytest.raises(IntegrityFailure) as caught:
            opened(blob, room=room)
        assert caught.value.code == "SEAL_MALFORMED"
    assert room == bytes(9)


def test_a_wiped_key_opens_nothing():
    """As every envelope."""
    key = DataKey(bytes(range(32)))
    blob = seal_bulk(key, CONTEXT, b"x").blob
    key.wipe()
    with pytest.raises(KeyProblem):
        opened(blob, key=key)
    with pytest.raises(KeyProblem):
        seal_bulk(key, CONTEXT, b"x")
