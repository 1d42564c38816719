"""Backups of the room's vault, short ways to try and restore them, and to look at what came back."""

from dataclasses import replace

import pytest

from fabnet_secure.config import load
from fabnet_secure.crypto.age import Identity
from fabnet_secure.errors import FabnetError
from fabnet_secure.pipeline import backup, restore, trial
from fabnet_secure.pipeline.context import Place, open_site
from fabnet_secure.pipeline.create import create_vault
from fabnet_secure.pipeline.spending import spend
from fabnet_secure.store import consents, ledger
from fabnet_secure.store.states import LedgerSource


@pytest.fixture(scope="session")
def ours():
    """The age identity that the backups are encrypted to."""
    return Identity.generate()


@pytest.fixture
def keys(room, ours):
    """The file of the age secret key."""
    path = room.folder / "age.key"
    path.write_text(ours.reveal(), "utf-8")
    path.chmod(0o600)
    return path


class Copy:
    """A backup of the room's vault and short ways to use it."""

    def __init__(self, room, site, keys, recipient, name):
        done = backup.create(site, room.folder / name, recipients=[str(recipient)])
        self.room, self.keys, self.vault_id = room, keys, site.vault_id
        self.vault, self.keystore = done.archives["vault"].path, done.archives["keystore"].path
        self.size = done.log_size

    def sources(self, **changes):
        plain = {"vault_archive": self.vault, "keystore_archive": self.keystore, "identity": self.keys}
        return restore.Sources(**plain | {"original": self.room.place} | changes)

    def target(self, name="new", **changes):
        return replace(self.room.place, root=self.room.folder / name, **changes)

    def restore(self, name="new", *, confirm="", dry_run=False, target=None, **changes):
        return restore.restore(
            target or self.target(name),
            load([]).settings,
            self.sources(**changes),
            confirm=confirm or self.vault_id,
            dry_run=dry_run,
            clock=self.room.clock,
        )

    def opened(self, name="new"):
        return self.room.stack.enter_context(open_site(self.target(name), load([]).settings, clock=self.room.clock))

    def verify(self, site, **changes):
        plain = {"vault_archive": self.vault, "keystore_archive": self.keystore, "identity": self.keys}
        return trial.verify(site, **plain | changes)


@pytest.fixture
def copied(room, keys, ours):
    """Return a function that makes a backup: ``copied(site)``."""

    def made(site, name="out"):
        return Copy(room, site, keys, ours.recipient, name)

    return made


@pytest.fixture
def copy(room, site, copied):
    """A backup of a vault with two people, a track of one of them, and limits of its own."""
    (room.place.root / "fabnet.toml").write_text("[query]\ndaily_budget = 7\n")
    room.track(site, room.consent(site, subject_ref="ada"))
    room.consent(site, subject_ref="ben")
    return copied(site)


@pytest.fixture
def other_vault(room, copied):
    """A backup of another vault under another key."""
    place = Place(root=room.folder / "second" / "vault", key_file=room.folder / "second.key")
    create_vault(place, load([]).settings, clock=room.clock)
    with open_site(place, load([]).settings, clock=room.clock) as second:
        yield copied(second, name="out2")


@pytest.fixture(scope="session")
def code_of():
    """Return a function that tells the code with which an act is refused."""

    def code(act, *arguments, **options):
        with pytest.raises(FabnetError) as refused:
            act(*arguments, **options)
        return refused.value.code

    return code


@pytest.fixture
def nothing_left(room):
    """Return a function that tells whether nothing of a restore or a trial lies about."""

    def clean(name="new"):
        starts = (name, f".{name}", ".restored")
        found = [path.name for path in room.folder.iterdir() if path.name.startswith(starts)]
        return not found and not list(room.place.root.glob(".backup-*"))

    return clean


@pytest.fixture(scope="session")
def consents_of():
    """Return a function that tells every consent of a vault and its events."""

    def read(site):
        with site.reading() as connection:
            return {record.consent_id: events for record, events in consents.list_consents(connection)}

    return read


@pytest.fixture(scope="session")
def entries_of():
    """Return a function that tells every entry of a vault's ledger."""

    def read(site):
        with site.reading() as connection:
            return {row.entry_id: row for row in ledger.list_entries(connection)}

    return read


@pytest.fixture(scope="session")
def spent():
    """Return a function that charges everybody, and returns the entry's id."""

    def charge(site, epsilon=1.0):
        with site.reading() as connection:
            people = [record.subject_id for record, _ in consents.list_consents(connection)]
        with site.work() as work:
            return spend(
                site,
                work,
                source=LedgerSource.QUERY,
                dp_event='{"epsilon":1.0,"event":"lost"}',
                epsilon=epsilon,
                delta=1e-9,
                subject_ids=people,
                facts={},
            )

    return charge
