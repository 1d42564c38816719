"""The key stream behind the noise."""

import os
import pickle

import pytest

from fabnet_secure.crypto.stream import KeyStream

# NIST SP 800-38A's key for AES-256; the stream is the encryption of the counters 0, 1, 2 under it.
NIST_KEY = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")


def test_the_stream_is_aes_256_in_counter_mode():
    """Under a fixed key the stream is the block cipher over 0, 1, 2…, computed here block by block."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    block = Cipher(algorithms.AES256(NIST_KEY), modes.ECB()).encryptor()  # noqa: S305 - the bare block is the point
    expected = b"".join(block.update(counter.to_bytes(16, "big")) for counter in range(5))
    assert KeyStream(lambda _n: NIST_KEY).read(80) == expected


@pytest.mark.parametrize("pieces", [[80], [1, 79], [16, 16, 48], [0, 7, 73], [5] * 16])
def test_pieces_of_any_size_join_to_the_same_stream(pieces):
    """No byte is skipped or repeated between reads."""
    whole = KeyStream(lambda _n: NIST_KEY).read(80)
    stream = KeyStream(lambda _n: NIST_KEY)
    assert b"".join(bytes(stream.read(piece)) for piece in pieces) == whole


def test_the_key_comes_from_the_operating_system(monkeypatch):
    """Two streams differ, and each asks the source for its own 32 bytes."""
    assert KeyStream().read(32) != KeyStream().read(32)
    asked = []
    KeyStream(lambda n: asked.append(n) or os.urandom(n)).read(100)
    assert asked == [32]


def test_a_read_is_the_callers_own_buffer():
    """Changing what was read changes nothing of what comes next."""
    stream, twin = KeyStream(lambda _n: NIST_KEY), KeyStream(lambda _n: NIST_KEY)
    octets = stream.read(16)
    assert isinstance(octets, bytearray)
    octets[:] = bytes(16)
    twin.read(16)
    assert stream.read(16) == twin.read(16)


def test_a_forked_child_draws_its_own_key():
    """A child process never repeats its parent's stream."""
    stream = KeyStream()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, bytes(stream.read(32)))
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reader, 32)
    os.close(reader)
    os.close(writer)
    assert theirs != stream.read(32)


def test_a_long_stream_changes_its_key():
    """Past the limit the stream goes on under a fresh key, never under the same counters again."""
    keys = iter([NIST_KEY, bytes(32)])
    stream = KeyStream(lambda _n: next(keys))
    stream._left = 20
    first, second = stream.read(16), stream.read(16)
    assert first == KeyStream(lambda _n: NIST_KEY).read(16)
    assert second == KeyStream(lambda _n: bytes(32)).read(16)


def test_bits_are_balanced():
    """Of 8 million bits about half are ones (six standard deviations)."""
    ones = int.from_bytes(KeyStream().read(1_000_000), "big").bit_count()
    assert abs(ones - 4_000_000) < 6 * 1_414


def test_a_negative_length_is_refused_and_costs_nothing():
    """The stream stands where it stood."""
    stream = KeyStream(lambda _n: NIST_KEY)
    with pytest.raises(ValueError, match="negative"):
        stream.read(-1)
    assert stream.read(16) == KeyStream(lambda _n: NIST_KEY).read(16)


def test_a_stream_is_not_shown_or_pickled():
    """A stream's state stays where it is."""
    assert repr(KeyStream()) == "<KeyStream: hidden>"
    with pytest.raises(TypeError):
        pickle.dumps(KeyStream())
