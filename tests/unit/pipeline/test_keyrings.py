"""What a key file opens: the root everything, a principal's key its duties, and changed rows nothing."""

import itertools
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from fabnet_secure.access.decision import ROLES
from fabnet_secure.config import load
from fabnet_secure.crypto.envelope import Context, Sealed, unseal
from fabnet_secure.crypto.epoch import open_seed
from fabnet_secure.crypto.gate import read_gates
from fabnet_secure.crypto.holder import seal_holding
from fabnet_secure.crypto.keyfile import RootKey, create_key_file, load_key_file
from fabnet_secure.errors import FabnetError, IntegrityFailure, KeyProblem
from fabnet_secure.pipeline import context, keys
from fabnet_secure.pipeline.consents import add
from fabnet_secure.pipeline.context import open_site
from fabnet_secure.pipeline.create import create_vault
from fabnet_secure.pipeline.horizon import horizon
from fabnet_secure.pipeline.keyrings import DUTIES, SECRET_DOMAINS, domains_of
from fabnet_secure.pipeline.rekey import rekey
from fabnet_secure.pipeline.roles import set_roles
from fabnet_secure.store import holders, keystore, meta
from fabnet_secure.store.database import keystore_work, read_only
from fabnet_secure.store.openings import list_openings
from fabnet_secure.types import Domain, KeyDomain


@pytest.fixture
def enrol(room, site, monkeypatch):
    """Grant an account roles and a keyring for them; return how to open the vault as it."""

    def grant(name, *roles):
        path = room.folder / f"{name}.key"
        set_roles(site, name, roles)
        keys.grant(site, name, roles, create_key_file(path).public.raw)

        def enter(account=name):
            monkeypatch.setattr(context, "os_account", lambda: account)
            place = replace(room.place, key_file=path)
            return room.stack.enter_context(open_site(place, load([]).settings, clock=room.clock))

        return enter

    return grant


def code_of(act, *arguments, kind=FabnetError):
    with pytest.raises(kind) as caught:
        act(*arguments)
    return caught.value.code


def edit(room, statement, *values, file="keystore.db"):
    with closing(sqlite3.connect(room.place.root / file)) as connection, connection:
        return connection.execute(statement, values).fetchall()


def test_roles_open_what_their_duty_needs():
    """Every role has its domains, and together they are those of each."""
    assert set(DUTIES) == set(ROLES)
    assert domains_of(()) == domains_of(("auditor",)) == domains_of(("stranger",)) == ()
    assert domains_of(("trainer", "analyst")) == (KeyDomain.EMBEDDINGS, KeyDomain.LOG, KeyDomain.TRACKLETS)


@pytest.mark.parametrize("role", ROLES)
def test_what_a_role_can_and_cannot_open(room, site, enrol, role):
    """With both databases and its own keyring in hand: every stored blob of its domains, and not one of another."""
    for name in ("ada", "ben"):
        consent = room.consent(site, subject_ref=name)
        room.track(site, consent)
        with keystore_work(site.keystore) as connection:
            row = site.keyring.wrap_secret(f"quarantine/{name}", bytes(32), KeyDomain.HOLD)
            keystore.put_secret(connection, row)
    mine = enrol("ada", role)()
    assert mine.keyring.domains == DUTIES[role]
    with read_only(mine.keystore) as connection:
        blobs = [(key.domain, mine.keyring.unwrap, key) for key in keystore.list_keys(connection)]
        blobs += [(row.domain, mine.keyring.unwrap_secret, row) for row in keystore.list_secrets(connection)]
        epochs = keystore.living_epochs(connection)
    assert {domain.value for domain, _, _ in blobs} == {domain.value for domain in KeyDomain}
    for domain, unwrap, blob in blobs:
        if KeyDomain(domain.value) in DUTIES[role]:
            assert unwrap(blob)
        else:
            assert code_of(unwrap, blob, kind=KeyProblem) == "KEY_DOMAIN"
    own = [mine.place.open_key(), *mine.keyring.domain_keys(1).values()]
    for (number, row), key in itertools.product(epochs.items(), own):
        place = {"gate": read_gates(mine.place.gate)[number], "vault_id": mine.vault_id, "number": number}
        with pytest.raises(KeyProblem):
            open_seed(row.wrapped, root=RootKey(key.reveal()), **place)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_signs_and_finds_only_where_its_duty_needs_it(site, enrol, role):
    """Whoever writes has the log's keys; the reports' only who reports; the auditor has the public halves alone."""
    mine = enrol("ada", role)()
    assert mine.log_vkey == site.log_vkey
    assert mine.secrets.report_public == site.report_signer.public
    for domain, ask in (
        (KeyDomain.LOG, lambda: mine.log_signer),
        (KeyDomain.LOG, lambda: mine.index_key),
        (KeyDomain.REPORT, lambda: mine.report_signer),
    ):
        if domain in DUTIES[role]:
            assert ask()
        else:
            assert code_of(ask, kind=KeyProblem) == "KEY_CANNOT_SIGN"


def test_an_auditor_reads_and_writes_nothing(site, enrol):
    """Its site opens and verifies; an act that must leave an entry is refused with exit status 12."""
    from fabnet_secure.pipeline.auditing import check

    mine = enrol("ada", "auditor")()
    assert check(mine)[0] > 0
    with pytest.raises(KeyProblem) as caught, mine.work() as work:
        work.log("test.entry", facts={})
    assert (caught.value.code, int(caught.value.exit_code)) == ("KEY_CANNOT_SIGN", 12)


def test_keys_made_by_an_ingestor_open_for_whoever_may(room, site, enrol):
    """Sealed to public halves alone, what it adds is read by others and not by itself, not even what it just wrote."""
    consent = room.consent(site)
    ingestor = enrol("ada", "ingestor")()
    track = room.track(ingestor, consent)
    with read_only(site.keystore) as connection:
        wrapped = [key for key in keystore.list_keys(connection) if key.domain is Domain.TRACKLETS]
    with ingestor.reading() as connection:
        openings = list_openings(connection)
    assert track
    assert openings
    for key in wrapped:
        assert site.keyring.unwrap(key)
        assert code_of(ingestor.keyring.unwrap, key) == "KEY_DOMAIN"


def test_the_roles_that_count_are_those_of_account_and_keyring_both(room, site, enrol):
    """A keyring gives no role that the account does not have, nor the account one that the keyring was not for."""
    enter = enrol("ada", "trainer", "analyst")
    set_roles(site, "ada", ("trainer", "dpo"))
    assert enter().principal.roles == ("trainer",)


def test_another_accounts_key_is_refused(enrol):
    """Ada's key file in Bob's hands opens nothing, exit status 12."""
    enter = enrol("ada", "trainer")
    assert code_of(enter, "bob", kind=KeyProblem) == "KEY_NOT_YOURS"


def test_a_key_that_was_never_granted_anything_is_the_wrong_one(room, site, enrol):
    """A stranger's key file is told as before."""
    enrol("ada", "trainer")
    path = room.folder / "stranger.key"
    create_key_file(path)
    opening = open_site(replace(room.place, key_file=path), load([]).settings, clock=room.clock)
    assert code_of(opening.__enter__, kind=KeyProblem) == "KEY_WRONG"


def test_a_revoked_key_is_refused(room, site, enrol):
    """At once, even where its row is brought back to life by hand: its blob is gone."""
    enter = enrol("ada", "trainer")
    enter()
    keys.revoke(site, "ada")
    assert code_of(enter, kind=KeyProblem) == "KEY_REVOKED"
    edit(room, "UPDATE holder SET revoked_at = NULL")
    assert code_of(enter, kind=KeyProblem) == "KEY_REVOKED"


def _rows(room):
    return edit(room, "SELECT * FROM holder"), edit(room, "SELECT * FROM holder_key")


def _put_back(room, rows):
    """What whoever reaches the keystore's file can do: today's rows go, those of another day come."""
    for table, kept in zip(("holder", "holder_key"), rows, strict=True):
        edit(room, f"DELETE FROM {table}")
        for row in kept:
            edit(room, f"INSERT INTO {table} VALUES ({','.join('?' * len(row))})", *row)


@pytest.mark.parametrize("how", ["revoked_at_emptied", "row_put_back", "mark_too"])
def test_a_revocation_that_is_taken_back_by_hand_gets_no_new_keys(room, site, enrol, monkeypatch, how):
    """One row edited, or the old row with its old proof, even with the vault's own mark of it: nobody is deceived.

    Revoking once more is the way out, and a new grant after it opens again.
    """
    enter = enrol("ada", "trainer")
    before, ((mark,),) = _rows(room), edit(room, "SELECT value FROM meta WHERE key = 'holder/ada'", file="vault.db")
    keys.revoke(site, "ada")
    if how == "revoked_at_emptied":
        edit(room, "UPDATE holder SET revoked_at = NULL")
    else:
        _put_back(room, before)
        assert code_of(enter, kind=IntegrityFailure) == "HOLDER_FORGED"
    if how == "mark_too":
        edit(room, "UPDATE meta SET value = ? WHERE key = 'holder/ada'", mark, file="vault.db")
        assert code_of(enter, kind=IntegrityFailure) == "HOLDER_FORGED"
    assert [held.proven for held in keys.overview(site).holders] == [False]
    assert code_of(keys.refuse_forged, keys.overview(site), kind=IntegrityFailure) == "HOLDER_FORGED"
    assert code_of(horizon, site, kind=IntegrityFailure) == "HOLDER_FORGED"
    assert code_of(rekey, site, kind=IntegrityFailure) == "HOLDER_FORGED"
    keys.revoke(site, "ada")
    assert rekey(site).holders == 0
    monkeypatch.undo()
    keys.grant(room.open(), "ada", ("trainer",), load_key_file(room.folder / "ada.key").public.raw)
    assert enter()


def test_a_wider_keyring_that_was_narrowed_is_not_put_back(room, site, enrol):
    """The old row bears the root's own proof and its blob opens: neither its holder nor a renewal takes it."""
    enter = enrol("ada", "trainer", "analyst")
    before = _rows(room)
    keys.grant(site, "ada", ("trainer",), load_key_file(room.folder / "ada.key").public.raw)
    narrow = _rows(room)
    assert not enter().keyring.opens(KeyDomain.EMBEDDINGS)
    _put_back(room, before)
    assert code_of(enter, kind=IntegrityFailure) == "HOLDER_FORGED"
    assert code_of(rekey, site, kind=IntegrityFailure) == "HOLDER_FORGED"
    _put_back(room, narrow)
    assert enter()
    assert rekey(site).holders == 1


@pytest.mark.parametrize("step", ["_end", "hand_out"])
def test_a_grant_that_is_cut_off_leaves_no_keyring_that_stands_in_the_way(room, site, enrol, monkeypatch, step):
    """The former one is gone, the new one not there: the vault opens, is renewed, and the grant is repeated."""
    enter = enrol("ada", "trainer")
    public = load_key_file(room.folder / "ada.key").public.raw
    before, done = getattr(keys, step), []

    def cut(*arguments):
        done.append(before(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(keys, step, cut)
    with pytest.raises(KeyboardInterrupt):
        keys.grant(site, "ada", ("analyst",), public)
    monkeypatch.setattr(keys, step, before)
    assert done
    assert code_of(enter, kind=KeyProblem) == "KEY_REVOKED"
    monkeypatch.undo()
    assert rekey(room.open()).holders == 0
    again = room.open()
    keys.grant(again, "ada", ("analyst",), public)
    assert rekey(again).holders == 1


def test_a_domain_or_role_added_by_hand_is_found(room, site, enrol):
    """The holder's own site does not open any more (30), and the root sees a forgery."""
    enter = enrol("ada", "trainer")
    for column, value in (
        ("domains", '["embeddings","log","tracklets"]'),
        ("domains", '["anything"]'),
        ("roles", '["dpo","trainer"]'),
    ):
        ((before,),) = edit(room, f"SELECT {column} FROM holder")
        edit(room, f"UPDATE holder SET {column} = ?", value)
        assert code_of(enter, kind=IntegrityFailure) == "HOLDER_FORGED"
        if value != '["anything"]':
            assert [held.proven for held in keys.overview(site).holders] == [False]
            assert code_of(rekey, site, kind=IntegrityFailure) == "HOLDER_FORGED"
        edit(room, f"UPDATE holder SET {column} = ?", before)
    assert [held.proven for held in keys.overview(site).holders] == [True]
    assert enter()


def test_a_blob_copied_to_another_holder_opens_nothing(room, site, enrol):
    """Bob's row with Ada's blob: refused, for it is sealed to Ada's key and bound to her name."""
    enrol("ada", "trainer")
    enter = enrol("bob", "analyst")
    edit(room, "UPDATE holder_key SET sealed = (SELECT sealed FROM holder_key WHERE holder = 'ada')")
    assert code_of(enter, kind=IntegrityFailure) == "HOLDER_FORGED"


def test_a_holder_made_by_a_holder_is_found_by_the_root(room, site, enrol):
    """A trainer can hand out its own domain keys, but not the root's proof: the next renewal refuses and says so."""
    trainer = enrol("ada", "trainer")()
    with read_only(site.keystore) as connection:
        (ada,) = holders.list_holders(connection)
    own = create_key_file(room.folder / "bob.key").public.raw
    forged = replace(ada, name="bob", public=own)
    gate = read_gates(room.place.gate)[1]
    sealed = seal_holding(forged, 1, trainer.keyring.domain_keys(1), gate=gate, vault_id=site.vault_id)
    with keystore_work(site.keystore) as connection:
        holders.put_holder(connection, forged)
        holders.put_holding(connection, "bob", 1, sealed)
    assert code_of(rekey, site, kind=IntegrityFailure) == "HOLDER_FORGED"
    assert {held.holder.name: held.proven for held in keys.overview(site).holders} == {"ada": True, "bob": False}
    keys.revoke(site, "bob")
    assert rekey(site).holders == 1


def test_a_swapped_public_half_is_found(room, site, enrol):
    """Of a domain key, by whoever opens the domain and by whoever only writes: nothing is sealed to a stranger."""
    enter = enrol("ada", "ingestor")
    stranger = create_key_file(room.folder / "stranger.key").public.raw
    edit(room, "UPDATE epoch_key SET public = ? WHERE domain = 'tracklets'", stranger)
    assert code_of(enter, kind=IntegrityFailure) == "KEY_CHANGED"
    assert code_of(room.open, kind=IntegrityFailure) == "KEY_CHANGED"
    edit(room, "DELETE FROM epoch_key WHERE domain = 'tracklets'")
    assert code_of(room.open, kind=IntegrityFailure) == "KEY_CHANGED"


def test_a_swapped_public_half_of_a_signing_key_is_found(room, site):
    """What an auditor would verify with is bound to the secret."""
    edit(room, "UPDATE secret SET public = ? WHERE name = 'log_signing'", bytes(32))
    assert code_of(room.open, kind=IntegrityFailure) == "SEAL_BROKEN"


@pytest.mark.parametrize("name", sorted(SECRET_DOMAINS))
def test_a_lost_secret_of_the_vault_is_said(room, site, name):
    """The keystore without it is damaged, exit status 30."""
    edit(room, "DELETE FROM secret WHERE name = ?", name)
    with pytest.raises(IntegrityFailure):
        room.open()


def test_another_vaults_keystore_opens_nothing(room, site, tmp_path):
    """Even one that was made with the same key file: refused, exit status 30."""
    other = replace(room.place, root=tmp_path / "other" / "vault")
    other.root.parent.mkdir()
    create_vault(other, load([]).settings, clock=room.clock)
    shutil.copy(other.root / "keystore.db", room.place.root / "keystore.db")
    assert code_of(room.open, kind=IntegrityFailure) == "EPOCH_BROKEN"
    shutil.copy(other.gate, room.place.gate)
    assert code_of(room.open, kind=IntegrityFailure) == "EPOCH_BROKEN"


def test_without_its_epoch_file_the_root_opens_nothing(room, site):
    """Missing, of another vault, or damaged."""
    held = room.place.gate.read_bytes()
    room.place.gate.unlink()
    assert code_of(room.open, kind=KeyProblem) == "GATE_MISSING"
    room.place.gate.write_bytes(held[:-2])
    room.place.gate.chmod(0o600)
    assert code_of(room.open, kind=KeyProblem) == "GATE_FORMAT"


def test_any_changed_byte_of_an_epoch_is_found(room, site):
    """A sample over the whole blob; none opens."""
    ((held,),) = edit(room, "SELECT wrapped FROM epoch")
    for position in range(0, len(held), 17):
        changed = bytearray(held)
        changed[position] ^= 1
        edit(room, "UPDATE epoch SET wrapped = ?", bytes(changed))
        assert code_of(room.open) in ("EPOCH_BROKEN", "KEY_WRONG")


def test_the_proof_of_the_epoch_in_the_vault_counts(room, site):
    """A keystore whose epoch this vault's database does not know writes nothing."""
    edit(room, "DELETE FROM meta WHERE key LIKE 'epoch/%'", file="vault.db")
    assert code_of(room.open, kind=IntegrityFailure) == "KEY_CHANGED"
    with site.reading() as connection:
        assert not [name for name in meta.list_meta(connection) if name.startswith("epoch/")]


def test_an_identity_opens_for_the_dpo_alone(room, site, enrol):
    """The sealed reference of a person, from its row, with each role's keyring."""
    (recorded,) = add(site, [room.application(subject_ref="Ada Example")])
    ((blob,),) = edit(room, "SELECT sealed_reference FROM subject", file="vault.db")
    with read_only(site.keystore) as connection:
        key = keystore.find_key(connection, recorded.subject_id, None, Domain.IDENTITY)
    for number, role in enumerate(ROLES):
        mine = enrol(f"ada{number}", role)()
        if role == "dpo":
            place = Context(format="identity/1", subject=recorded.subject_id)
            assert unseal(mine.keyring.unwrap(key), place, Sealed.from_storage(blob)) == b"Ada Example"
        else:
            assert code_of(mine.keyring.unwrap, key) == "KEY_DOMAIN"


def test_an_open_site_shows_no_secret(site):
    """Its representation, as a traceback would print it, holds neither the index key nor a seed."""
    shown = repr(site)
    assert repr(site.index_key) not in shown
    assert repr(site.log_signer.seed) not in shown
