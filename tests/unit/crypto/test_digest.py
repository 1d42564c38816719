"""Digests of files, names and lists."""

import hashlib
import os

import pytest

from fabnet_secure.crypto.digest import blind_index, fingerprint, random_bytes, sha256_file
from fabnet_secure.errors import UsageError

KEY = bytes(range(32))


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path, size):
    """Files of any size, empty ones too, hash as their contents."""
    content = bytes(i % 249 for i in range(size))
    (tmp_path / "file").write_bytes(content)
    assert sha256_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_what_cannot_be_read_is_a_usage_error(tmp_path):
    """Missing files, directories and FIFOs are refused, the FIFO at once."""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "missing", tmp_path, tmp_path / "fifo"):
        with pytest.raises(UsageError) as caught:
            sha256_file(path)
        assert caught.value.code == "FILE_UNREADABLE"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Alice@Example.org", "alice@example.ORG"),
        ("  alice ", "alice"),
        ("ＡＬＩＣＥ", "alice"),
        ("ｱﾘｽ", "アリス"),
        ("Zoë", "Zoe\u0308"),
        ("Straße", "STRASSE"),
        ("アリス\u3000", "アリス"),
        ("\ufb03", "ffi"),
    ],
)
def test_spellings_of_one_name_have_one_index(one, other):
    """Case, width, composition and space around a name do not make another person."""
    assert blind_index(KEY, one) == blind_index(KEY, other)


@pytest.mark.parametrize(("one", "other"), [("alice", "bob"), ("a b", "ab"), ("ゆき", "ゆぎ"), ("alice", "alicé")])
def test_different_names_have_different_indexes(one, other):
    """Names that differ in more than spelling stay apart."""
    assert blind_index(KEY, one) != blind_index(KEY, other)


def test_an_index_needs_its_key():
    """Another key gives another index; no part of the name shows; the plain hash is not it."""
    index = blind_index(KEY, "alice")
    assert len(index) == 64
    assert index != blind_index(bytes(32), "alice")
    assert index != hashlib.sha256(b"alice").hexdigest()


@pytest.mark.parametrize("text", ["", "   ", "\u3000", "\udcff"])
def test_a_reference_that_says_nothing_is_refused(text):
    """Empty text and bytes that are no Unicode name nobody."""
    with pytest.raises(UsageError) as caught:
        blind_index(KEY, text)
    assert caught.value.code == "REFERENCE_INVALID"


def test_a_fingerprint_depends_on_every_part_and_border():
    """Order, borders, number and key count; equal lists agree."""
    assert fingerprint(KEY, ["a", "b"]) == fingerprint(KEY, ("a", "b"))
    others = [["b", "a"], ["ab"], ["a", "b", ""], ["a"], ["a,b"], []]
    assert len({fingerprint(KEY, parts) for parts in [["a", "b"], *others]}) == 7
    assert fingerprint(KEY, ["a"]) != fingerprint(bytes(32), ["a"])


def test_the_two_keyed_digests_never_meet():
    """An index never equals a fingerprint of the same text under the same key."""
    assert blind_index(KEY, '["a"]') != fingerprint(KEY, ["a"])


def test_random_bytes_are_of_the_length_asked_and_fresh():
    """Two draws differ."""
    assert len(random_bytes(16)) == 16
    assert random_bytes(16) != random_bytes(16)
