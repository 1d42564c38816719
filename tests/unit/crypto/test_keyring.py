"""The keyring: domain keys, data keys, secrets of the vault."""

import dataclasses
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabnet_secure.crypto.envelope import Context, DataKey, PublicKey, seal_to, unseal
from fabnet_secure.crypto.epoch import EpochSeed, domain_keys
from fabnet_secure.crypto.keyring import Keyring, WrappedKey
from fabnet_secure.crypto.wrap import by_public
from fabnet_secure.errors import IntegrityFailure, KeyProblem
from fabnet_secure.types import Domain, KeyDomain, canonical_json, is_id

OTHER = "00000000-0000-4000-8000-000000000000"
SEED = bytes(range(32))


def whole(number=1, seed=SEED):
    """The keyring of one epoch with every domain."""
    return Keyring.of_epoch(number, domain_keys(EpochSeed(seed)))


def only(*domains, number=1):
    """A keyring of the same epoch that opens these domains alone."""
    ring = whole(number)
    public = {domain: PublicKey(half) for domain, half in ring.public_halves(number).items()}
    keys = {(number, domain): key for domain, key in ring.domain_keys(number).items() if domain in domains}
    return Keyring(keys, {number: public})


def joined(*rings):
    """A keyring that opens what any of these opens."""
    secret, public = {}, {}
    for ring in rings:
        number = ring.newest
        secret |= {(number, domain): key for domain, key in ring.domain_keys(number).items()}
        public[number] = {domain: PublicKey(half) for domain, half in ring.public_halves(number).items()}
    return Keyring(secret, public)


@pytest.fixture
def keyring():
    return whole()


@pytest.fixture
def wrapped(keyring):
    return keyring.mint(domain=Domain.TRACKLETS, subject_id="subject", consent_id="consent")


def code_of(error, act, *arguments):
    with pytest.raises(error) as caught:
        act(*arguments)
    return caught.value.code


def test_a_minted_key_unwraps_to_its_public_half(keyring, wrapped):
    """The row says whose key it is, and its public half belongs to the wrapped secret."""
    assert keyring.unwrap(wrapped).public.raw == wrapped.public
    assert (wrapped.epoch, wrapped.domain) == (1, Domain.TRACKLETS)
    assert (wrapped.subject_id, wrapped.consent_id) == ("subject", "consent")
    assert is_id(wrapped.key_id)


def test_what_the_public_half_sealed_the_unwrapped_key_opens(keyring, wrapped):
    """An ingest host needs the stored public key only."""
    context = Context(format="tracklet/1")
    assert unseal(keyring.unwrap(wrapped), context, seal_to(PublicKey(wrapped.public), context, b"crop")) == b"crop"


def test_every_mint_is_another_random_key(keyring):
    """Two keys for the same person and domain have nothing in common: none is derived."""
    keys = [keyring.mint(domain=Domain.IDENTITY, subject_id="s", consent_id=None) for _ in range(5)]
    assert len({key.public for key in keys}) == len({key.key_id for key in keys}) == 5


@pytest.mark.parametrize("minter", ["whole", "none"])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("key_id", OTHER),
        ("subject_id", "another"),
        ("consent_id", "another"),
        ("consent_id", None),
        ("public", DataKey(bytes(32)).public.raw),
    ],
    ids=["key", "subject", "consent", "no_consent", "public"],
)
def test_a_key_moved_to_another_row_does_not_open(minter, field, value):
    """Every field of the row is bound to the wrap, whichever way it was wrapped."""
    maker = whole() if minter == "whole" else only()
    row = maker.mint(domain=Domain.TRACKLETS, subject_id="subject", consent_id="consent")
    assert code_of(IntegrityFailure, whole().unwrap, dataclasses.replace(row, **{field: value})) == "SEAL_BROKEN"


@pytest.mark.parametrize("domain", [domain for domain in Domain if domain is not Domain.TRACKLETS])
def test_a_key_moved_to_another_domain_does_not_open(keyring, wrapped, domain):
    """Every domain has a key of its own, and the domain is bound too."""
    assert code_of(IntegrityFailure, keyring.unwrap, dataclasses.replace(wrapped, domain=domain)) == "SEAL_BROKEN"


def test_a_key_moved_to_another_epoch_does_not_open(wrapped):
    """The epoch's number is bound too, even where both epochs had one and the same seed."""
    both = joined(whole(), whole(2))
    assert code_of(IntegrityFailure, both.unwrap, dataclasses.replace(wrapped, epoch=2)) == "SEAL_BROKEN"


@pytest.mark.parametrize("minter", ["whole", "none"])
def test_any_changed_byte_of_a_wrap_is_found(minter):
    """Each byte of the wrapped key counts, and so does its end."""
    maker = whole() if minter == "whole" else only()
    row = maker.mint(domain=Domain.TRACKLETS, subject_id="subject", consent_id=None)
    for position in range(len(row.wrapped)):
        changed = bytearray(row.wrapped)
        changed[position] ^= 1
        assert code_of(IntegrityFailure, whole().unwrap, dataclasses.replace(row, wrapped=bytes(changed)))
    for cut in (row.wrapped[:-1], row.wrapped + b"\0", row.wrapped[:9]):
        assert code_of(IntegrityFailure, whole().unwrap, dataclasses.replace(row, wrapped=cut))


def test_a_destroyed_key_says_so(keyring, wrapped):
    """An emptied row is destroyed, not broken."""
    gone = dataclasses.replace(wrapped, wrapped=b"", public=b"")
    assert code_of(KeyProblem, keyring.unwrap, gone) == "KEY_DESTROYED"


def test_a_keyring_without_the_domain_makes_keys_and_opens_none():
    """Minting takes public halves alone: what it made itself it cannot open; who holds the domain can."""
    ingestor = only(KeyDomain.LOG)
    row = ingestor.mint(domain=Domain.TRACKLETS, subject_id="s", consent_id="c")
    assert by_public(row.wrapped)
    assert code_of(KeyProblem, ingestor.unwrap, row) == "KEY_DOMAIN"
    assert code_of(KeyProblem, only(KeyDomain.EMBEDDINGS).unwrap, row) == "KEY_DOMAIN"
    assert only(KeyDomain.TRACKLETS).unwrap(row).public.raw == row.public
    assert (ingestor.opens(Domain.TRACKLETS), ingestor.opens(KeyDomain.LOG)) == (False, True)


def test_a_key_wrapped_by_public_half_under_a_false_name_is_found():
    """Whoever has the public halves only cannot pass off a key whose public half is another's."""
    ingestor, row = only(), only().mint(domain=Domain.TRACKLETS, subject_id="s", consent_id="c")
    false = ingestor.wrap(dataclasses.replace(row, public=DataKey(bytes(32)).public.raw), DataKey.generate())
    assert code_of(IntegrityFailure, whole().unwrap, false) == "SEAL_BROKEN"


def test_many_keys_open_in_their_order(keyring):
    """Both ways of wrapping, mixed; one that does not open fails them all."""
    rows = [
        maker.mint(domain=Domain.TRACKLETS, subject_id=f"s{number}", consent_id="c")
        for number, maker in enumerate([keyring, only(), keyring])
    ]
    assert [key.public.raw for key in keyring.unwrap_many(rows)] == [row.public for row in rows]
    with pytest.raises(IntegrityFailure):
        keyring.unwrap_many([rows[0], dataclasses.replace(rows[1], subject_id="another")])


@given(
    key_id=st.text(max_size=40),
    subject_id=st.text(max_size=40) | st.uuids().map(str),
    consent_id=st.none() | st.text(max_size=40) | st.uuids().map(str),
    epoch=st.integers(0, 2**31),
    domain=st.sampled_from(Domain),
    public=st.binary(max_size=32),
)
def test_the_quick_binding_is_the_canonical_one(key_id, subject_id, consent_id, epoch, domain, public):
    """Whatever stands in the row, the bytes are those of RFC 8785."""
    row = WrappedKey(
        key_id=key_id,
        epoch=epoch,
        domain=domain,
        subject_id=subject_id,
        consent_id=consent_id,
        wrapped=b"",
        public=public,
    )
    fields = {
        "format": "wrap/2",
        "key_id": key_id,
        "epoch": epoch,
        "domain": domain.value,
        "subject_id": subject_id,
        "consent_id": consent_id,
        "public": public.hex(),
    }
    assert row.binding() == canonical_json(fields)
    assert json.loads(row.binding()) == fields


def test_a_keyring_without_epochs_is_a_key_problem():
    """A keyring that makes keys knows at least one epoch."""
    empty = Keyring({}, {})
    assert empty.empty
    assert code_of(KeyProblem, lambda: empty.newest) == "KEY_NO_EPOCH"


def test_new_keys_are_wrapped_under_the_newest_epoch():
    """The highest number is the newest, whatever the order."""
    keyring = joined(whole(3, bytes(32)), whole(1))
    assert (keyring.newest, keyring.epochs) == (3, (1, 3))
    assert keyring.mint(domain=Domain.EVIDENCE, subject_id="s", consent_id=None).epoch == 3


def test_rekeying_keeps_the_key_and_frees_it_from_its_epoch(wrapped, keyring):
    """A re-wrapped key opens without the old epoch; the old wrap does not open without it."""
    only_new = whole(2, bytes(32))
    rewrapped = only_new.wrap(wrapped, keyring.unwrap(wrapped))
    assert only_new.unwrap(rewrapped) == keyring.unwrap(wrapped)
    assert (rewrapped.key_id, rewrapped.public, rewrapped.epoch) == (wrapped.key_id, wrapped.public, 2)
    assert code_of(KeyProblem, only_new.unwrap, wrapped) == "KEY_EPOCH_GONE"


def test_secrets_of_the_vault_round_trip(keyring):
    """A secret of any length opens again; after a re-wrap it opens under the new epoch alone."""
    later = whole(2, bytes(32))
    for secret in (b"", b"seed" * 8, bytes(1000)):
        row = keyring.wrap_secret("name", secret, KeyDomain.HOLD, b"public")
        assert keyring.unwrap_secret(row) == secret
        moved = later.wrap_secret(row.name, keyring.unwrap_secret(row), row.domain, row.public)
        assert (later.unwrap_secret(moved), moved.public, moved.domain) == (secret, b"public", KeyDomain.HOLD)
        assert code_of(KeyProblem, later.unwrap_secret, row) == "KEY_EPOCH_GONE"


@pytest.mark.parametrize("maker", ["whole", "none"])
def test_a_changed_or_moved_secret_is_found(keyring, wrapped, maker):
    """Any changed byte, a cut, another name, duty or public half, or a data key's wrap in its place: refused."""
    row = (keyring if maker == "whole" else only()).wrap_secret("name", b"secret", KeyDomain.LOG)
    for position in range(len(row.wrapped)):
        changed = bytearray(row.wrapped)
        changed[position] ^= 1
        with pytest.raises(IntegrityFailure):
            keyring.unwrap_secret(dataclasses.replace(row, wrapped=bytes(changed)))
    for changes in (
        {"name": "other"},
        {"domain": KeyDomain.HOLD},
        {"public": b"public"},
        {"wrapped": wrapped.wrapped},
        {"wrapped": row.wrapped[:-1]},
        {"wrapped": b""},
    ):
        with pytest.raises(IntegrityFailure):
            keyring.unwrap_secret(dataclasses.replace(row, **changes))


def test_a_wiped_keyring_opens_nothing(keyring, wrapped):
    """After wiping, every attempt says that the key is gone from memory."""
    keyring.wipe()
    assert code_of(KeyProblem, keyring.unwrap, wrapped) == "KEY_WIPED"


def test_a_keyring_is_not_shown_or_pickled(keyring):
    """Neither the representation nor a pickle holds a key."""
    assert SEED.hex() not in repr(keyring)
    assert repr(only(KeyDomain.LOG)) == "<Keyring: epochs [1], domains ['log']>"
    with pytest.raises(TypeError):
        pickle.dumps(keyring)
