"""Wrapping under a key, and to its public half."""

import pytest

from fabnet_secure.crypto.envelope import DataKey, PublicKey
from fabnet_secure.crypto.wrap import WrapKey, by_public, wrap_to
from fabnet_secure.errors import IntegrityFailure, KeyProblem

KEY = WrapKey(bytes(range(32)))
WAYS = pytest.mark.parametrize(
    "wrap", [KEY.wrap, lambda bound, plain: wrap_to(KEY.public, bound, plain)], ids=["by_key", "by_public"]
)


@WAYS
@pytest.mark.parametrize("plain", [b"", b"k" * 32, bytes(224)], ids=["nothing", "key", "seven_keys"])
def test_what_was_wrapped_opens(wrap, plain):
    """Of any length, either way, and never as itself."""
    wrapped = wrap(b"row", plain)
    assert KEY.unwrap(b"row", wrapped) == plain
    assert not plain or plain not in wrapped


@WAYS
def test_another_row_or_key_does_not_open_it(wrap):
    """The bound bytes count, and the key."""
    wrapped = wrap(b"row", b"secret")
    for key, bound in ((KEY, b"raw"), (KEY, b""), (WrapKey(bytes(32)), b"row")):
        with pytest.raises(IntegrityFailure) as caught:
            key.unwrap(bound, wrapped)
        assert caught.value.code == "SEAL_BROKEN"


def test_one_way_of_wrapping_is_not_taken_for_the_other():
    """The kind is bound: swapping the header is found."""
    by_key, public = KEY.wrap(b"row", b"s" * 32), wrap_to(KEY.public, b"row", b"s" * 32)
    assert (by_public(by_key), by_public(public)) == (False, True)
    for wrapped in (public[:5] + by_key[5:], by_key[:5] + public[5:]):
        with pytest.raises(IntegrityFailure):
            KEY.unwrap(b"row", wrapped)


def test_what_is_no_wrap_is_told_apart():
    """Too short, or of an unknown kind."""
    for wrapped in (b"", b"FSW1", b"FSW1\x01" + bytes(27), b"FSW1\x02" + bytes(47), b"FSW1\x03" + bytes(200)):
        with pytest.raises(IntegrityFailure) as caught:
            KEY.unwrap(b"row", wrapped)
        assert caught.value.code == "SEAL_MALFORMED"


def test_the_public_half_is_that_of_the_same_secret_elsewhere():
    """A key file's public half, as it is printed, is what its holder's blobs are wrapped to."""
    assert KEY.public == DataKey(bytes(range(32))).public


def test_an_unusable_public_half_is_refused():
    """A point of small order seals to nobody."""
    with pytest.raises(KeyProblem) as caught:
        wrap_to(PublicKey(bytes(32)), b"row", b"secret")
    assert caught.value.code == "KEY_FORMAT"


def test_a_wiped_key_neither_wraps_nor_opens():
    """What was derived of it is overwritten too."""
    key = WrapKey(bytes(range(32)))
    ways = (key.wrap(b"row", b"secret"), wrap_to(key.public, b"row", b"secret"))
    key.wipe()
    for wrapped in ways:
        with pytest.raises(KeyProblem):
            key.unwrap(b"row", wrapped)
    with pytest.raises(KeyProblem):
        key.wrap(b"row", b"secret")
