"""Only who makes keys says which are this vault's: nobody seals to a writer who puts in her own."""

import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from fabnet_secure.config import load
from fabnet_secure.crypto.digest import fingerprint
from fabnet_secure.crypto.envelope import DataKey
from fabnet_secure.crypto.keyfile import create_key_file
from fabnet_secure.crypto.keyring import WrappedSecret
from fabnet_secure.crypto.signing import Signer
from fabnet_secure.crypto.wrap import wrap_to
from fabnet_secure.errors import IntegrityFailure, KeyProblem
from fabnet_secure.pipeline import context, keys, officer
from fabnet_secure.pipeline.context import open_site
from fabnet_secure.pipeline.coverage import find_consent, recipient
from fabnet_secure.pipeline.keyrings import REPORT_SIGNING, epoch_mark
from fabnet_secure.pipeline.quarantine import hold
from fabnet_secure.pipeline.rekey import rekey
from fabnet_secure.pipeline.roles import set_roles
from fabnet_secure.store import keystore, meta
from fabnet_secure.store.database import keystore_work, read_only
from fabnet_secure.types import Domain, KeyDomain, new_id


@pytest.fixture
def enrol(room, site, monkeypatch):
    """Give an account a role and a keyring of it; return how to open the vault with it."""

    def grant(role):
        path = room.folder / f"{role}.key"
        set_roles(site, role, (role,))
        keys.grant(site, role, (role,), create_key_file(path).public.raw)

        def enter():
            place = replace(room.place, key_file=path)
            with monkeypatch.context() as patch:
                patch.setattr(context, "os_account", lambda: role)
                return room.stack.enter_context(open_site(place, load([]).settings, clock=room.clock))

        return enter

    return grant


@pytest.fixture
def seal(room):
    """Ask for the key that a consent's crops are sealed to, as ingest does."""

    def ask(site, consent_id):
        with site.reading() as connection:
            record, _ = find_consent(connection, consent_id)
        return recipient(site, record, Domain.TRACKLETS)

    return ask


def edit(room, statement, *values, file="keystore.db"):
    with closing(sqlite3.connect(room.place.root / file)) as connection, connection:
        connection.execute(statement, values)


def refused(act, *arguments, **named):
    with pytest.raises(IntegrityFailure) as caught:
        act(*arguments, **named)
    assert caught.value.exit_code == 30
    return caught.value.code


def swap(room, analyst, consent):
    """Put the analyst's own key in the place of a consent's; return the row as it would be."""
    with read_only(analyst.keystore) as connection:
        (key,) = [one for one in keystore.keys_of_consent(connection, consent) if one.domain is Domain.TRACKLETS]
    mine = replace(key, public=DataKey.generate().public.raw)
    edit(room, "UPDATE data_key SET public = ? WHERE key_id = ?", mine.public, mine.key_id)
    return mine


def vouch(room, key, proof):
    edit(room, "UPDATE meta SET value = ? WHERE key = ?", proof, officer.key_mark(key), file="vault.db")


def test_an_analyst_takes_no_future_crops(room, site, enrol, seal):
    """With her keyring and both databases: no proof that she can compute makes the root or an ingestor seal to her."""
    consent = room.consent(site)
    ingestor, analyst = enrol("ingestor"), enrol("analyst")()
    good = seal(site, consent)
    assert seal(ingestor(), consent).raw == good.raw
    mine = swap(room, analyst, consent)
    with pytest.raises(KeyProblem) as caught, analyst.reading() as connection:
        officer.prove(analyst, connection, mine)
    assert caught.value.code == "KEY_CANNOT_SIGN"
    owner = [mine.key_id, mine.domain.value, mine.subject_id, mine.consent_id]
    digest = fingerprint(analyst.index_key, ["key", *owner, mine.public.hex()])
    said = officer._said(analyst, mine)
    for proof in (digest, analyst.log_signer.sign(said).hex(), Signer.generate().sign(said).hex(), "", "no digits"):
        vouch(room, mine, proof)
        for writer in (room.open(), ingestor()):
            assert refused(seal, writer, consent) == "KEY_CHANGED"


def test_an_officer_of_her_own_is_found(room, site, enrol, seal):
    """She puts a report key of hers into the keystore, signs key and epoch with it, and says so in the log."""
    consent = room.consent(site)
    ingestor, analyst = enrol("ingestor"), enrol("analyst")()
    mine, own = swap(room, analyst, consent), Signer.generate()
    number = analyst.keyring.newest
    halves = analyst.keyring.public_halves(number)
    row = WrappedSecret(name=REPORT_SIGNING, epoch=number, domain=KeyDomain.REPORT, wrapped=b"", public=own.public)
    half = analyst.keyring._public[number][KeyDomain.REPORT]
    with keystore_work(analyst.keystore) as connection:
        keystore.put_secret(connection, replace(row, wrapped=wrap_to(half, row.binding(), own.seed)))
    vouch(room, mine, own.sign(officer._said(analyst, mine)).hex())
    name, proof = epoch_mark(own, analyst.vault_id, number, halves)
    with analyst.work() as work:
        meta.set_meta(work.connection, name, proof)
        work.log("vault.created", facts={officer.OFFICER: own.public.hex()})
    for writer in (room.open(), ingestor()):
        assert refused(seal, writer, consent) == "KEY_CHANGED"
    assert refused(room.consent, room.open(), subject_ref="ben") == "KEY_CHANGED"
    entered = ingestor()
    with pytest.raises(IntegrityFailure) as caught, entered.work() as work:
        hold(entered, work, new_id(), held=None)
    assert caught.value.code == "KEY_CHANGED"


def test_the_root_sees_for_itself(room, site, enrol, seal, monkeypatch):
    """Even where the signature is not asked for, whoever opens the domain compares the halves."""
    consent = room.consent(site)
    swap(room, enrol("analyst")(), consent)
    monkeypatch.setattr("fabnet_secure.pipeline.coverage.check_proof", lambda *_: None)
    assert refused(seal, room.open(), consent) in ("KEY_CHANGED", "SEAL_BROKEN")


def test_a_changed_beginning_of_the_log_names_nobody(room, site):
    """The first entry is held against the signed head, not believed as it stands."""
    with site.reading() as connection:
        assert officer.officer_of(connection, site.log_vkey) == site.secrets.report_public.hex()
        blob = officer.SqlLogStorage(connection).read_entries(0, 1)[0]
    other = blob.replace(site.secrets.report_public.hex().encode(), bytes(32).hex().encode())
    for changed in (other, blob.replace(b'"officer"', b'"offizer"')):
        edit(room, "UPDATE log_entry SET body = ? WHERE leaf_index = 0", changed, file="vault.db")
        with site.reading() as connection:
            assert refused(officer.officer_of, connection, site.log_vkey) == "KEY_CHANGED"


def test_in_an_older_vault_the_first_migration_names_the_officer(room, site, monkeypatch):
    """Later entries that name another are not asked."""
    monkeypatch.setattr(officer, "_NAMING", ("vault.migration_begun",))
    with site.reading() as connection:
        assert officer.officer_of(connection, site.log_vkey) is None
    for name in ("aa", "bb"):
        with site.work() as work:
            work.log("consent.checked", facts={officer.OFFICER: "cc"})
            work.log("vault.migration_begun", facts={officer.OFFICER: name})
    with site.reading() as connection:
        assert officer.officer_of(connection, site.log_vkey) == "aa"


def test_a_dpo_makes_keys_and_they_outlive_a_renewal(room, site, enrol, seal):
    """Her keyring signs as the root's does; a new epoch is signed for too."""
    consent = room.consent(enrol("dpo")())
    ingestor = enrol("ingestor")
    before = seal(ingestor(), consent).raw
    rekey(site)
    assert seal(ingestor(), consent).raw == before
