"""A unit of work commits rows, leaf, openings and checkpoint together, or nothing."""

import json
import multiprocessing
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest
import sqlalchemy as sa

from fabnet_secure.audit.checkpoint import open_checkpoint, vkey
from fabnet_secure.audit.leaf import commit, read_leaf
from fabnet_secure.audit.verify import check_log
from fabnet_secure.crypto.envelope import DataKey, unseal
from fabnet_secure.crypto.epoch import Epoch
from fabnet_secure.crypto.signing import Signer, verify_signature
from fabnet_secure.errors import IntegrityFailure, StorageFailed, UsageError, VaultLocked
from fabnet_secure.store.database import (
    Opening,
    Scribe,
    keystore_work,
    open_vault_database,
    opening_context,
    read_only,
    unit_of_work,
)
from fabnet_secure.store.keystore import add_epoch, list_epochs
from fabnet_secure.store.log_storage import SqlLogStorage, latest_checkpoint
from fabnet_secure.store.meta import get_meta, list_meta, set_meta
from fabnet_secure.store.openings import list_openings
from fabnet_secure.store.tables import log_entry, log_opening, log_tile, meta
from fabnet_secure.types import KeyDomain, new_id, utc_now

SPAWN = multiprocessing.get_context("spawn")


def key_of(site):
    return vkey(site.scribe.origin, site.scribe.signer.public)


def log_size(engine):
    with read_only(engine) as connection:
        return SqlLogStorage(connection).size()


def assert_log_holds(site, size):
    with read_only(site.engine) as connection:
        held = check_log(SqlLogStorage(connection), latest_checkpoint(connection), key_of(site), verify_signature)
    assert held.size == size


def test_rows_leaf_and_checkpoint_are_committed_together(site):
    """After a unit of work its row is there, its entry is in the log, and the new checkpoint is signed over it."""
    with site.work() as work:
        set_meta(work.connection, "a", "1")
        assert work.log("vault.created", facts={"n": 1}) == 0
        assert work.log("vault.checked", facts={}) == 1
    with read_only(site.engine) as connection:
        assert get_meta(connection, "a") == "1"
        head = open_checkpoint(latest_checkpoint(connection), key_of(site), verify_signature)
        assert read_leaf(SqlLogStorage(connection).read_entries(0, 1)[0]).act == "vault.created"
    assert head.size == 2
    assert_log_holds(site, 2)


def test_act_without_entry_is_undone(site):
    """Leaving the block without having logged raises ACT_WITHOUT_ENTRY and keeps nothing."""
    with pytest.raises(IntegrityFailure) as caught, site.work() as work:
        set_meta(work.connection, "a", "1")
    assert caught.value.code == "ACT_WITHOUT_ENTRY"
    with read_only(site.engine) as connection:
        assert list_meta(connection) == {}


def test_any_exception_undoes_rows_and_entry(site):
    """An exception in the block rolls back its rows, its entry and its checkpoint."""

    def act():
        with site.work() as work:
            set_meta(work.connection, "a", "1")
            work.log("vault.created", facts={})
            raise KeyError("anything")

    with pytest.raises(KeyError):
        act()
    with read_only(site.engine) as connection:
        assert list_meta(connection) == {}
        assert latest_checkpoint(connection) == ""
        assert SqlLogStorage(connection).size() == 0


def test_commit_by_hand_is_refused(site):
    """Calling commit on the unit's own connection before its entry is written keeps nothing."""

    def act():
        with site.work() as work:
            set_meta(work.connection, "a", "1")
            work.connection.commit()

    with pytest.raises(StorageFailed) as caught:
        act()
    assert caught.value.code == "STORAGE_COMMIT"
    with read_only(site.engine) as connection:
        assert list_meta(connection) == {}


def test_log_after_the_end_is_refused(site):
    """A unit of work that has ended takes no further entry."""
    with site.work() as work:
        work.log("vault.created", facts={})
    with pytest.raises(UsageError) as caught:
        work.log("vault.created", facts={})
    assert caught.value.code == "UNIT_CLOSED"


def test_refused_leaf_undoes_the_act(site):
    """An entry that may not stand in the log (a raw id as a fact) stops the whole act."""
    with site.refused(UsageError, "LEAF_REFUSED") as work:
        set_meta(work.connection, "a", "1")
        work.log("vault.created", facts={"consent": new_id()})
    with read_only(site.engine) as connection:
        assert list_meta(connection) == {}


def test_openings_open_their_commitments(site):
    """A sealed opening gives back label, value and the salt that reproduce the commitment in its leaf."""
    subject, consent = new_id(), new_id()
    known = Opening(label="consent", value=consent, consent_id=consent, subject_id=subject, recipient=site.key.public)
    with site.work() as work:
        work.log("vault.created", facts={})
        work.log("consent.given", facts={}, subjects=[replace(known, recipient=None), known, known])
    with read_only(site.engine) as connection:
        rows = list_openings(connection, consent_id=consent)
        leaf = read_leaf(SqlLogStorage(connection).read_entries(1, 2)[0])
        assert list_openings(connection, leaf_index=0) == []
        assert list_openings(connection, subject_id=subject) == rows
    assert [(row.leaf_index, row.position) for row in rows] == [(1, 1), (1, 2)]
    assert sorted(leaf.commitments) == ["consent", "consent.2", "consent.3"]
    for row in rows:
        context = opening_context(
            leaf_index=row.leaf_index, position=row.position, subject_id=subject, consent_id=consent
        )
        body = json.loads(unseal(site.key, context, row.sealed))
        assert body["value"] == consent
        assert leaf.commitments[body["label"]] == commit(bytes.fromhex(body["salt"]), consent)


def test_opening_moved_to_another_leaf_does_not_open(site):
    """An opening is bound to its place: unsealing it as another leaf's fails."""
    opening = Opening(label="x", value="v", consent_id=None, subject_id=None, recipient=site.key.public)
    with site.work() as work:
        work.log("vault.created", facts={}, subjects=[opening])
    with read_only(site.engine) as connection:
        (row,) = list_openings(connection)
    with pytest.raises(IntegrityFailure):
        unseal(site.key, opening_context(leaf_index=1, position=0, subject_id=None, consent_id=None), row.sealed)


def test_many_entries_across_tiles_still_verify(site):
    """600 entries in two units of work fill whole and partial tiles, and the full check holds."""
    for _ in range(2):
        with site.work() as work:
            for number in range(300):
                work.log("test.entry", facts={"n": number})
    assert_log_holds(site, 600)


@pytest.mark.parametrize("table", [log_tile, log_entry])
def test_changed_log_row_is_found_by_the_check(site, table):
    """A row of the log changed behind the program's back fails the full check."""
    with site.work() as work:
        work.log("vault.created", facts={})
    tamper(site, table)
    with pytest.raises(IntegrityFailure):
        assert_log_holds(site, 1)


def test_nothing_is_signed_on_top_of_a_changed_edge(site):
    """When the log's edge no longer hashes to the last checkpoint, the next act is refused and undone."""
    with site.work() as work:
        work.log("vault.created", facts={})
    tamper(site, log_tile)
    with site.refused(code="LOG_BROKEN") as work:
        set_meta(work.connection, "a", "1")
    assert log_size(site.engine) == 1


def test_another_key_cannot_carry_the_log_on(site):
    """A scribe whose key did not sign the last checkpoint is refused."""
    with site.work() as work:
        work.log("vault.created", facts={})
    stranger = replace(site.scribe, signer=Signer.generate())
    with pytest.raises(IntegrityFailure), unit_of_work(site.engine, stranger) as work:
        work.log("vault.created", facts={})


def tamper(site, table):
    """Overwrite bytes of a log table without the program."""
    column = table.c.hashes if table is log_tile else table.c.body
    raw = sa.create_engine(site.url)
    with raw.begin() as connection:
        connection.execute(sa.update(table).values({column.name: b"\x01" * 32}))
    raw.dispose()


def test_statement_values_stay_out_of_messages(site):
    """A refused row's message holds neither its values nor the statement."""
    with site.refused() as work:
        for _ in range(2):
            work.connection.execute(sa.insert(meta).values(key="Anna Example", value="x"))


def test_second_log_head_is_refused(site):
    """The head is one row: the database refuses another."""
    with site.refused() as work:
        work.connection.execute(sa.text("INSERT INTO log_head (id, size, checkpoint) VALUES (2, 0, '')"))


def append_once(url, number, barrier):
    """Append one entry from a process of its own, all starting at once."""
    scribe = Scribe(origin="example.org/log", signer=Signer.from_seed(b"\x07" * 32), actor="operator", clock=utc_now)
    engine = open_vault_database(url, lock_timeout_s=20)
    barrier.wait(30)
    for _ in range(5):
        with unit_of_work(engine, scribe) as work:
            set_meta(work.connection, f"writer-{number}", "done")
            work.log("test.entry", facts={"n": number})


def test_two_processes_appending_at_once_both_succeed(site):
    """Two processes that write at the same time take turns: every entry is in the log, in order, and it verifies."""
    barrier = SPAWN.Barrier(2)
    writers = [SPAWN.Process(target=append_once, args=(site.url, number, barrier)) for number in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert_log_holds(site, 10)
    with read_only(site.engine) as connection:
        assert set(list_meta(connection)) == {"writer-0", "writer-1"}


def test_held_lock_gives_vault_locked(site):
    """A write lock held beyond the timeout is VaultLocked; once it is free the same engine writes."""
    other = open_vault_database(site.url, lock_timeout_s=0.2)
    with site.work() as work:
        work.log("vault.created", facts={})
        with pytest.raises(VaultLocked), unit_of_work(other, site.scribe):
            pytest.fail("the lock was had twice")
    with unit_of_work(other, site.scribe) as work:
        work.log("vault.created", facts={})
    assert log_size(site.engine) == 2
    other.dispose()


KILLED = """
    import os, signal, sys
    from fabnet_secure.crypto.signing import Signer
    from fabnet_secure.store.database import Scribe, open_vault_database, unit_of_work
    from fabnet_secure.store.meta import set_meta
    from fabnet_secure.types import utc_now

    signer = Signer.from_seed(bytes([7]) * 32)
    scribe = Scribe(origin="example.org/log", signer=signer, actor="operator", clock=utc_now)
    with unit_of_work(open_vault_database(sys.argv[1]), scribe) as work:
        set_meta(work.connection, "half", "x" * 5_000_000)
        work.log("test.entry", facts={})
        work.finish()
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_kill_in_mid_transaction_leaves_nothing(site):
    """A process killed with everything written but not committed leaves no row, no entry and no lock."""
    with site.work() as work:
        work.log("vault.created", facts={})
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), site.url], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    with read_only(site.engine) as connection:
        assert list_meta(connection) == {}
    with site.work() as work:
        work.log("vault.created", facts={})
    assert_log_holds(site, 2)


def test_keystore_work_commits_and_rolls_back(keystore, make):
    """The keystore's writes commit when the block ends well and vanish when it does not."""

    def an_epoch(number):
        return Epoch(number=number, wrapped=b"wrapped", public={domain: bytes(32) for domain in KeyDomain})

    def fail():
        with keystore_work(keystore) as connection:
            add_epoch(connection, an_epoch(2), make.at)
            raise KeyError("anything")

    with keystore_work(keystore) as connection:
        add_epoch(connection, an_epoch(1), make.at)
    with pytest.raises(KeyError):
        fail()
    with read_only(keystore) as connection:
        assert list(list_epochs(connection)) == [1]


def test_keystore_has_one_writer_at_a_time(keystore):
    """A second keystore writer waits and is then VaultLocked."""
    other = open_vault_database(keystore.url.render_as_string(hide_password=False), lock_timeout_s=0.2)
    with keystore_work(keystore), pytest.raises(VaultLocked), keystore_work(other):
        pytest.fail("the lock was had twice")
    other.dispose()


def test_unknown_recipient_means_no_opening_is_kept(site):
    """Without a recipient the salt is thrown away: the commitment stays, no opening does."""
    one = Opening(label="x", value="v", consent_id=None, subject_id=None, recipient=None)
    with site.work() as work:
        work.log("vault.created", facts={}, subjects=[one])
    with read_only(site.engine) as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(log_opening)).scalar_one() == 0
    assert DataKey.generate() is not None
