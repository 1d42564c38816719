"""A consent that was edited in the database covers nothing; one that was not goes on."""

import json
import sqlite3
from contextlib import closing

import pytest

from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.pipeline import promises
from fabnet_secure.pipeline.coverage import covering, require_consent
from fabnet_secure.pipeline.withdraw import withdraw
from fabnet_secure.store import consents, meta
from fabnet_secure.types import ConsentId, Purpose


@pytest.fixture
def change(room):
    """Return a function that runs one statement behind the program's back."""

    def run(statement, **values):
        with closing(sqlite3.connect(room.place.root / "vault.db")) as database, database:
            assert database.execute(statement, values).rowcount > 0

    return run


@pytest.fixture
def two(room, site):
    """The consents of ada and ben."""
    return [room.consent(site, subject_ref=name) for name in ("ada", "ben")]


def test_what_was_recorded_is_proven(site, two):
    """Both consents, one by one and together, also after a withdrawal."""
    withdraw(site, two[0], confirm=two[0])
    with site.reading() as connection:
        assert promises.unproven(site, connection) == frozenset()
        promises.check(site, connection, ConsentId(two[0]))
        assert set(covering(site, connection, Purpose.EMBED).effective) == {two[1]}


@pytest.mark.parametrize("how", ["record", "event", "subject", "proof", "another's proof"])
def test_one_that_was_changed_is_refused(site, two, how, change):
    """Whatever was changed: code CONSENT_CHANGED, exit status 30, for the one and for all; not for the other."""
    ada, ben = two
    if how in ("record", "event"):
        table = "consent" if how == "record" else "consent_event"
        with site.reading() as connection:
            body = connection.exec_driver_sql(f"SELECT body FROM {table} WHERE consent_id = '{ada}'").scalar()
        changed = json.dumps(json.loads(body), separators=(", ", ":"))  # the same meaning, other bytes
        change(f"UPDATE {table} SET body = :body WHERE consent_id = :id", body=changed, id=ada)
    elif how == "subject":
        change("UPDATE consent SET subject_id = (SELECT max(subject_id) FROM consent WHERE consent_id = :ben) "
                     "WHERE consent_id = :ada", ada=ada, ben=ben)  # fmt: skip
    elif how == "proof":
        change("DELETE FROM meta WHERE key = :key", key=f"{promises.MARK}{ada}")
    else:
        change("UPDATE meta SET value = (SELECT value FROM meta WHERE key = :ben) WHERE key = :ada",
               ada=f"{promises.MARK}{ada}", ben=f"{promises.MARK}{ben}")  # fmt: skip
    with site.reading() as connection:
        for refused in (
            lambda: promises.check(site, connection),
            lambda: require_consent(site, connection, ada, Purpose.EMBED),
            lambda: covering(site, connection, Purpose.EMBED),
        ):
            with pytest.raises(IntegrityFailure) as caught:
                refused()
            assert (caught.value.code, caught.value.exit_code) == ("CONSENT_CHANGED", 30)
        assert promises.unproven(site, connection) == {ada}
        assert require_consent(site, connection, ben, Purpose.EMBED)


def test_one_that_was_withdrawn_stops_nobody_else(site, two, change):
    """A changed consent may be withdrawn; it stays unproven, and the others are used again."""
    ada, ben = two
    change("DELETE FROM meta WHERE key = :key", key=f"{promises.MARK}{ada}")
    withdraw(site, ada, confirm=ada)
    with site.reading() as connection:
        assert promises.unproven(site, connection) == {ada}
        assert set(covering(site, connection, Purpose.EMBED).effective) == {ben}


@pytest.mark.usefixtures("two")
def test_an_older_vaults_consents_are_taken_as_they_stand(site, change):
    """Without any proof, all are proven at once; a proof says nothing about the record to who lacks the key."""
    change("DELETE FROM meta WHERE key LIKE 'consent/%'")
    with site.work() as work:
        promises.mark_all(site, work.connection)
        work.log("test.marked", facts={})
    with site.reading() as connection:
        assert promises.unproven(site, connection) == frozenset()
        proofs = meta.list_meta(connection, promises.MARK)
        assert len(proofs) == 2
        assert not set(proofs.values()) & set(consents.digests(connection).values())
