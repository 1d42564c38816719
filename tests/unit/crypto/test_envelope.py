"""Sealed envelopes: what can be made, what opens, what does not."""

import dataclasses
import pickle

import pytest

from fabnet_secure.crypto.envelope import Context, DataKey, PublicKey, Sealed, seal, seal_to, unseal
from fabnet_secure.errors import IntegrityFailure, KeyProblem, UsageError

CONTEXT = Context(format="tracklet/1", subject="s", consent="c", track="t", n=3, dim=128)


@pytest.fixture(scope="module")
def key():
    return DataKey.generate()


def sealed_both_ways(key, plaintext):
    return {"seal": seal(key, CONTEXT, plaintext), "seal_to": seal_to(key.public, CONTEXT, plaintext)}


@pytest.mark.parametrize("way", ["seal", "seal_to"])
@pytest.mark.parametrize("plaintext", [b"", b"x", bytes(50_000)])
def test_round_trip_through_storage(key, way, plaintext):
    """What was sealed, stored and read back opens to the same bytes."""
    sealed = sealed_both_ways(key, plaintext)[way]
    assert unseal(key, CONTEXT, Sealed.from_storage(sealed.blob)) == plaintext
    assert unseal(key, CONTEXT, Sealed.from_storage(memoryview(sealed.blob))) == plaintext


@pytest.mark.parametrize("way", ["seal", "seal_to"])
def test_plaintext_is_not_in_the_blob(key, way):
    """No stretch of the plaintext stands in the stored bytes, which begin with the documented header."""
    plaintext = b"a face that nobody may see" * 10
    blob = sealed_both_ways(key, plaintext)[way].blob
    assert plaintext[:8] not in blob
    assert blob[:5] == b"FSE1" + {"seal": b"\x01", "seal_to": b"\x02"}[way]


def test_only_crypto_makes_a_sealed():
    """Plaintext cannot be dressed as Sealed: not by the constructor, a subclass, a copy of another, or pickle."""
    with pytest.raises(TypeError):
        Sealed(b"plaintext")
    with pytest.raises(TypeError):
        Sealed(b"plaintext", minted_by=object())
    with pytest.raises(TypeError):
        type("Mine", (Sealed,), {})


def test_a_sealed_does_not_change(key):
    """A Sealed refuses assignment, deletion and pickling, and does not show its bytes."""
    sealed = seal(key, CONTEXT, b"x")
    for change in (
        lambda: setattr(sealed, "_blob", b"plaintext"),
        lambda: setattr(sealed, "blob", b"plaintext"),
        lambda: pickle.dumps(sealed),
    ):
        with pytest.raises(TypeError):
            change()
    assert sealed.blob.hex()[:20] not in repr(sealed)


def test_equal_blobs_are_equal_values(key):
    """A Sealed read back from storage equals the one that was stored, and hashes alike."""
    sealed = seal(key, CONTEXT, b"x")
    again = Sealed.from_storage(sealed.blob)
    assert again == sealed
    assert hash(again) == hash(sealed)
    assert seal(key, CONTEXT, b"x") != sealed
    assert sealed != sealed.blob


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"plaintext that somebody wrote into the column by hand, long enough to be an envelope by its length alone",
        b"FSE1\x01" + bytes(71),
        b"FSE1\x02" + bytes(151),
        b"FSE1\x03" + bytes(79),
        b"FSE1\x04" + bytes(500),
        b"FSE2\x01" + bytes(500),
    ],
)
def test_what_is_no_envelope_is_refused_on_reading(blob):
    """Plaintext, unknown versions and kinds, and too short values are malformed."""
    with pytest.raises(IntegrityFailure) as caught:
        Sealed.from_storage(blob)
    assert caught.value.code == "SEAL_MALFORMED"


@pytest.mark.parametrize("way", ["seal", "seal_to"])
def test_another_key_does_not_open(key, way):
    """A different data key gives SEAL_BROKEN, exit status 30."""
    with pytest.raises(IntegrityFailure) as caught:
        unseal(DataKey.generate(), CONTEXT, sealed_both_ways(key, b"x")[way])
    assert caught.value.code == "SEAL_BROKEN"
    assert caught.value.exit_code == 30


@pytest.mark.parametrize("way", ["seal", "seal_to"])
@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Context)])
def test_every_field_of_the_context_is_bound(key, way, field):
    """Changing any one field of the context, and only that, does not open."""
    old = getattr(CONTEXT, field)
    moved = dataclasses.replace(CONTEXT, **{field: old + 1 if isinstance(old, int) else old + "x"})
    with pytest.raises(IntegrityFailure):
        unseal(key, moved, sealed_both_ways(key, b"x")[way])


def test_fields_of_a_context_do_not_run_together():
    """Text cannot slide from one field to the next without changing the bytes."""
    assert (
        Context(format="f", subject="ab", consent="c").encode()
        != Context(format="f", subject="a", consent="bc").encode()
    )


def test_the_encoding_of_a_context_is_canonical_json():
    """The associated data is RFC 8785 JSON of every field, sorted, empty ones too."""
    assert CONTEXT.encode() == (
        b'{"consent":"c","dim":128,"format":"tracklet/1","model":"","n":3,"page":0,"subject":"s","track":"t"}'
    )


@pytest.mark.parametrize("wrong", [{"format": ""}, {"format": "f", "n": -1}, {"format": "f", "page": -1}])
def test_a_context_without_format_or_below_zero_is_refused(wrong):
    """A context that says nothing is a mistake of the caller."""
    with pytest.raises(UsageError) as caught:
        Context(**wrong)
    assert caught.value.code == "CONTEXT_INVALID"


def test_the_kinds_do_not_pass_for_each_other(key):
    """A kind 1 body under the kind 2 header does not open, nor the other way round."""
    for way, header in (("seal", b"FSE1\x02"), ("seal_to", b"FSE1\x01")):
        blob = sealed_both_ways(key, bytes(200))[way].blob
        with pytest.raises(IntegrityFailure):
            unseal(key, CONTEXT, Sealed.from_storage(header + blob[5:]))


def test_the_two_halves_of_a_seal_to_belong_together(key):
    """The wrapped key of one envelope before the body of another does not open."""
    one, two = (seal_to(key.public, CONTEXT, bytes(10)).blob for _ in range(2))
    with pytest.raises(IntegrityFailure):
        unseal(key, CONTEXT, Sealed.from_storage(one[:85] + two[85:]))


def test_the_public_half_cannot_open(key):
    """Its bytes, taken for a secret, open neither kind: who only writes never reads."""
    pretender = DataKey(key.public.raw)
    for sealed in sealed_both_ways(key, b"x").values():
        with pytest.raises(IntegrityFailure):
            unseal(pretender, CONTEXT, sealed)


def test_a_wiped_key_neither_seals_nor_opens():
    """Wiping destroys both halves."""
    key = DataKey.generate()
    sealed = sealed_both_ways(key, b"x")
    key.wipe()
    for act in (
        lambda: seal(key, CONTEXT, b"x"),
        lambda: key.public,
        lambda: unseal(key, CONTEXT, sealed["seal"]),
        lambda: unseal(key, CONTEXT, sealed["seal_to"]),
    ):
        with pytest.raises(KeyProblem):
            act()


def test_a_public_key_is_a_value():
    """Equal bytes are equal public keys; another length, a change, and unusable points are refused."""
    key = DataKey(bytes(range(32)))
    assert key.public == PublicKey(key.public.raw)
    assert len({key.public, PublicKey(key.public.raw)}) == 1
    with pytest.raises(AttributeError):
        key.public.raw = bytes(32)
    with pytest.raises(KeyProblem):
        PublicKey(bytes(31))
    with pytest.raises(KeyProblem):
        seal_to(PublicKey(bytes(32)), CONTEXT, b"x")


def test_a_share_of_small_order_is_broken_not_a_crash(key):
    """An all-zero key share in a stored blob is an integrity failure."""
    blob = seal_to(key.public, CONTEXT, b"x").blob
    with pytest.raises(IntegrityFailure):
        unseal(key, CONTEXT, Sealed.from_storage(blob[:5] + bytes(32) + blob[37:]))
