"""Holders: what the root gives one key for one name, and nobody else."""

import dataclasses
from datetime import UTC, datetime

import pytest

from fabnet_secure.crypto.epoch import EpochSeed, domain_keys
from fabnet_secure.crypto.gate import Gate
from fabnet_secure.crypto.holder import Holder, check_proof, holder_proof, open_holding, seal_holding
from fabnet_secure.crypto.keyfile import RootKey
from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.types import KeyDomain

ROOT, OWN, GATE = RootKey(bytes(32)), RootKey(bytes(range(32))), Gate(bytes(range(1, 33)))
KEYS = domain_keys(EpochSeed(bytes(range(2, 34))))
ADA = Holder(
    name="ada",
    public=OWN.public.raw,
    roles=("trainer",),
    domains=(KeyDomain.LOG, KeyDomain.TRACKLETS),
    proof="",
    created_at=datetime(2026, 1, 2, tzinfo=UTC),
)
CHANGES = pytest.mark.parametrize(
    "changes",
    [
        {"name": "bob"},
        {"public": RootKey(bytes(range(3, 35))).public.raw},
        {"roles": ("dpo", "trainer")},
        {"domains": (KeyDomain.EMBEDDINGS, KeyDomain.LOG, KeyDomain.TRACKLETS)},
        {"domains": (KeyDomain.LOG,)},
        {"domains": (KeyDomain.TRACKLETS, KeyDomain.LOG)},
        {"created_at": datetime(2026, 1, 2, 0, 0, 0, 1, tzinfo=UTC)},
        {"revoked_at": datetime(2026, 1, 3, tzinfo=UTC)},
    ],
    ids=["name", "public", "roles", "more_domains", "fewer_domains", "other_order", "another_grant", "revoked"],
)


def seal(holder=ADA, epoch=1):
    return seal_holding(holder, epoch, KEYS, gate=GATE, vault_id="vault")


def code_of(holder, sealed, *, epoch=1, own=OWN, gate=GATE, vault_id="vault"):
    with pytest.raises(IntegrityFailure) as caught:
        open_holding(holder, epoch, sealed, own, gate=gate, vault_id=vault_id)
    return caught.value.code


def test_a_holder_opens_exactly_its_domains():
    """The very domain keys, and no others; none at all for who only verifies."""
    opened = open_holding(ADA, 1, seal(), OWN, gate=GATE, vault_id="vault")
    assert opened == {domain: KEYS[domain] for domain in ADA.domains}
    auditor = dataclasses.replace(ADA, domains=(), roles=("auditor",))
    assert open_holding(auditor, 1, seal(auditor), OWN, gate=GATE, vault_id="vault") == {}


@CHANGES
def test_a_row_that_was_changed_opens_nothing(changes):
    """A role or domain written into the row by hand, another name or key: refused, exit status 30."""
    assert code_of(dataclasses.replace(ADA, **changes), seal()) == "HOLDER_FORGED"


def test_another_key_epoch_gate_or_vault_opens_nothing():
    """Nor a changed byte."""
    assert code_of(ADA, seal(), own=ROOT) == "HOLDER_FORGED"
    assert code_of(ADA, seal(), epoch=2) == "HOLDER_FORGED"
    assert code_of(ADA, seal(), gate=Gate(bytes(32))) == "HOLDER_FORGED"
    assert code_of(ADA, seal(), vault_id="another") == "HOLDER_FORGED"
    sealed = seal()
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        assert code_of(ADA, bytes(changed)) == "HOLDER_FORGED"


@CHANGES
def test_only_the_root_makes_a_proof(changes):
    """The proof fits one row, one root and one vault."""
    proven = dataclasses.replace(ADA, proof=holder_proof(ROOT, "vault", ADA))
    check_proof(ROOT, "vault", proven)
    for root, vault_id, holder in (
        (ROOT, "vault", dataclasses.replace(proven, **changes)),
        (OWN, "vault", proven),
        (ROOT, "another", proven),
        (ROOT, "vault", dataclasses.replace(proven, proof="")),
    ):
        with pytest.raises(IntegrityFailure) as caught:
            check_proof(root, vault_id, holder)
        assert caught.value.code == "HOLDER_FORGED"
