"""Seal and unseal, over everything hypothesis can think of."""

import dataclasses

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fabnet_secure.crypto.digest import blind_index
from fabnet_secure.crypto.envelope import Context, DataKey, Sealed, seal, seal_to, unseal
from fabnet_secure.crypto.epoch import EpochSeed, domain_keys
from fabnet_secure.crypto.keyring import Keyring
from fabnet_secure.errors import FabnetError, IntegrityFailure
from fabnet_secure.types import Domain

KEY = DataKey(bytes(range(32)))
WAYS = st.sampled_from(["seal", "seal_to"])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
COUNTS = st.integers(0, 2**53 - 1)
CONTEXTS = st.builds(
    Context,
    format=st.sampled_from(["tracklet/1", "embeddings/1", "identity/1", "opening/1"]),
    subject=TEXTS,
    consent=TEXTS,
    track=TEXTS,
    model=TEXTS,
    page=COUNTS,
    n=COUNTS,
    dim=COUNTS,
)


def sealed_by(way, context, plaintext):
    return seal(KEY, context, plaintext) if way == "seal" else seal_to(KEY.public, context, plaintext)


@given(way=WAYS, context=CONTEXTS, plaintext=st.binary(max_size=40_000))
@settings(max_examples=100, deadline=None)
def test_what_is_sealed_opens_to_itself(way, context, plaintext):
    """For every context and plaintext, unseal gives back exactly what was sealed."""
    assert unseal(KEY, context, Sealed.from_storage(sealed_by(way, context, plaintext).blob)) == plaintext


@given(way=WAYS, context=CONTEXTS, other=CONTEXTS)
@settings(max_examples=200, deadline=None)
def test_another_context_never_opens(way, context, other):
    """No two different contexts open each other's envelopes."""
    assume(context != other)
    with pytest.raises(IntegrityFailure):
        unseal(KEY, other, sealed_by(way, context, b"face"))


@given(way=WAYS, context=CONTEXTS, field=st.sampled_from(dataclasses.fields(Context)), draw=st.data())
@settings(max_examples=150, deadline=None)
def test_one_changed_field_never_opens(way, context, field, draw):
    """A change of any single field of the associated data, however small, is found."""
    values = COUNTS if field.type is int else TEXTS.filter(bool)
    moved = dataclasses.replace(context, **{field.name: draw.draw(values)})
    assume(moved != context)
    with pytest.raises(IntegrityFailure):
        unseal(KEY, moved, sealed_by(way, context, b"face"))


@given(way=WAYS, plaintext=st.binary(max_size=300), at=st.integers(0), flip=st.integers(1, 255))
@settings(max_examples=300, deadline=None)
def test_no_changed_byte_opens(way, plaintext, at, flip):
    """Any changed byte of the stored blob, header included, is found on reading or on opening."""
    context = Context(format="tracklet/1")
    blob = bytearray(sealed_by(way, context, plaintext).blob)
    blob[at % len(blob)] ^= flip
    with pytest.raises(IntegrityFailure):
        unseal(KEY, context, Sealed.from_storage(bytes(blob)))


@given(way=WAYS, plaintext=st.binary(max_size=300), cut=st.integers(1), tail=st.binary(min_size=1, max_size=40))
@settings(max_examples=200, deadline=None)
def test_no_cut_or_longer_blob_opens(way, plaintext, cut, tail):
    """A blob cut anywhere, or with anything behind it, is found."""
    context = Context(format="tracklet/1")
    blob = sealed_by(way, context, plaintext).blob
    for changed in (blob[: -(cut % len(blob)) or -1], blob + tail):
        with pytest.raises(IntegrityFailure):
            unseal(KEY, context, Sealed.from_storage(changed))


@given(blob=st.binary(max_size=600) | st.binary(max_size=400).map(lambda tail: b"FSE1\x02" + bytes(80) + tail))
@settings(max_examples=200, deadline=None)
def test_no_made_up_blob_opens(blob):
    """Whatever stands in the column, reading it is an integrity failure, never a crash and never data."""
    with pytest.raises(IntegrityFailure):
        unseal(KEY, Context(format="tracklet/1"), Sealed.from_storage(blob))


def _keyring(keys):
    """Return a keyring of these epochs."""
    secret = {(number, domain): key for number, held in keys.items() for domain, key in held.items()}
    public = {number: {domain: key.public for domain, key in held.items()} for number, held in keys.items()}
    return Keyring(secret, public)


@given(
    epochs=st.sets(st.integers(0, 9), min_size=1, max_size=4), lost=st.integers(0, 9), domain=st.sampled_from(Domain)
)
@settings(max_examples=60, deadline=None)
def test_a_key_opens_exactly_while_its_epoch_lives(epochs, lost, domain):
    """A data key opens through any rotation, and stops opening the moment its own epoch is gone."""
    keys = {number: domain_keys(EpochSeed.generate()) for number in epochs}
    keyring = _keyring(keys)
    row = keyring.mint(domain=domain, subject_id="s", consent_id=None)
    rest = {number: held for number, held in keys.items() if number != lost}
    assume(rest)
    later = _keyring(rest)
    if row.epoch != lost:
        assert later.unwrap(row) == keyring.unwrap(row)
        assert later.unwrap(later.wrap(row, later.unwrap(row))) == keyring.unwrap(row)
    else:
        with pytest.raises(FabnetError):
            later.unwrap(row)


@given(text=TEXTS.filter(lambda text: text.strip()))
@settings(max_examples=200, deadline=None)
def test_an_index_does_not_depend_on_case_or_padding(text):
    """Folding a name first changes nothing: every caseless spelling has one index."""
    index = blind_index(bytes(32), text)
    assert index == blind_index(bytes(32), text.casefold())
    assert index == blind_index(bytes(32), f" {text}\n")
