"""A vault whose keys are as the first versions wrapped them: made by that code (git c0ba559) and stored as rows.

One consent with a track's crops, one video in quarantine, one key for everything under the root alone.
"""

import json
import os
import signal
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from fabnet_secure.config import load
from fabnet_secure.crypto.keyfile import create_key_file
from fabnet_secure.errors import AccessDenied, IntegrityFailure, KeyProblem, NoVault
from fabnet_secure.pipeline import context, rekey, upgrade
from fabnet_secure.pipeline.auditing import check
from fabnet_secure.pipeline.consents import listing
from fabnet_secure.pipeline.context import Place, open_site
from fabnet_secure.pipeline.embed import open_tracklet
from fabnet_secure.pipeline.keyrings import unlock_legacy
from fabnet_secure.pipeline.quarantine import open_held
from fabnet_secure.store import keystore, tracks
from fabnet_secure.store.database import migrate, open_keystore, read_only

STORED = json.loads((Path(__file__).parents[2] / "vectors" / "vault_of_first_keys.json").read_text("utf-8"))
LATER = datetime(2026, 5, 4, 4, tzinfo=UTC)


def clock():
    return LATER


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The stored vault, put back where it can be opened."""
    monkeypatch.setattr(context, "os_account", lambda: STORED["account"])
    root = tmp_path / "vault"
    (root / "models").mkdir(parents=True)
    (root / "vault.json").write_text(json.dumps(STORED["card"]), "utf-8")
    for name in ("vault", "keystore"):
        with closing(sqlite3.connect(root / f"{name}.db")) as connection:
            connection.executescript("\n".join(STORED[name]))
    key = tmp_path / "vault.key"
    key.touch(mode=0o600)
    key.write_text(STORED["key_file"], "ascii")
    return Place(root=root, key_file=key)


@contextmanager
def opened(place, **named):
    with open_site(place, load([]).settings, clock=clock, **named) as site:
        yield site


def renew(place):
    return upgrade.upgrade(place, load([]).settings, clock=clock)


def check_all_there(site):
    """Everything that the old vault held opens as it was."""
    assert [one.record.consent_id for one in listing(site)] == [STORED["consent"]]
    with site.reading() as connection:
        (row,) = [one for one in tracks.list_tracks(connection) if one.track_id == STORED["track"]]
        tracklet = tracks.get_tracklet(connection, row.track_id)
    assert open_tracklet(site, row, tracklet).tobytes() == np.arange(48, dtype=np.uint8).tobytes()
    assert open_held(site, STORED["held"]).named == (STORED["consent"],)
    assert check(site)[0] > 0


def test_it_says_what_to_do(place):
    """Nothing else is done with it than to say so."""
    with pytest.raises(NoVault) as caught, opened(place):
        pass
    assert caught.value.code == "VAULT_NOT_MIGRATED"
    assert "init" in caught.value.hint


def test_init_renews_its_keys_and_keeps_everything(place):
    """The old epoch is destroyed, the new one has its domains; a second run finds nothing to do."""
    with opened(place, older=True) as site:
        vkey = site.log_vkey
    assert renew(place)
    assert not renew(place)
    with opened(place) as site:
        check_all_there(site)
        assert site.log_vkey == vkey
        with read_only(site.keystore) as connection:
            epochs = keystore.list_epochs(connection)
        assert (epochs[1].wrapped, epochs[2].kind) == (b"", 2)
        assert site.keyring.newest == 2


def test_copies_from_before_the_upgrade_are_never_called_closed(place):
    """They had no gate: no renewal ends them, and certificate and doctor say so."""
    from fabnet_secure.pipeline import facts
    from fabnet_secure.pipeline.horizon import horizon
    from fabnet_secure.pipeline.withdraw import withdraw

    assert renew(place)
    with opened(place) as site:
        done = withdraw(site, STORED["consent"], confirm=STORED["consent"])
        (told,) = done.certificate["evidence"]["body"]["facts"]["erasures"]
        rekey.rekey(site)
    with opened(place) as site:
        (now,) = facts.erasure(site).erasures
        assert "before the upgrade on 2026-05-04" in horizon(site).detail
    assert (now.backups_note, now.backups_closed, now.backups_until) == ("keystore_copies_upgraded", None, None)
    assert now.backups_open_before == LATER
    assert told["backups_closed"] is None
    assert told["backups_open_before"].startswith("2026-05-04T04:00:00")


CUTS = {
    "keystore_migrated": (upgrade, "migrate", True),
    "gate_made": (rekey, "prepare_gate", True),
    "before_the_commit": (keystore, "destroy_epoch", True),
    "before_the_gate": (rekey, "settle_gate", False),
    "before_the_entry": (rekey, "_forget_marks", True),
}


@pytest.mark.parametrize("step", CUTS)
def test_a_killed_renewal_is_finished_by_another(place, step):
    """SIGKILL anywhere: the vault says that it is not migrated, or opens; 'init' ends it and nothing is lost."""
    module, name, after = CUTS[step]
    child = os.fork()
    if child == 0:
        real = getattr(module, name)

        def cut(*arguments, **named):
            if after:
                real(*arguments, **named)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(module, name, cut)
        try:
            renew(place)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    renew(place)
    with opened(place) as site:
        check_all_there(site)
        if site.keyring.newest == 2:
            assert rekey.rekey(site).epoch in (2, 3)
    with opened(place) as site:
        check_all_there(site)


def test_another_root_key_does_not_open_it(place):
    """The wrong key file is told as ever, and nothing is changed."""
    place.key_file.unlink()
    create_key_file(place.key_file)
    with pytest.raises(KeyProblem) as caught:
        renew(place)
    assert caught.value.code == "KEY_WRONG"


def test_who_may_not_set_up_a_vault_does_not_renew_its_keys(place, monkeypatch):
    """A stranger is denied, and the vault stays as it is."""
    monkeypatch.setattr(context, "os_account", lambda: "stranger")
    with pytest.raises(AccessDenied):
        renew(place)
    with read_only_keystore(place) as connection:
        assert keystore.read_legacy(connection) is not None


@contextmanager
def read_only_keystore(place):
    engine = open_keystore(place.databases()[1])
    with read_only(engine) as connection:
        yield connection
    engine.dispose()


def test_its_old_key_opens_its_rows_in_the_old_way(place):
    """The reading code for the old form, on rows that the old code wrote; every changed byte is found."""
    engine = open_keystore(place.databases()[1])
    keyring, secrets = unlock_legacy(engine, place.open_key())
    assert secrets.index_key is not None
    migrate(engine, "keystore")
    with read_only(engine) as connection:
        rows = keystore.list_keys(connection)
    engine.dispose()
    assert len(rows) == 4
    for row in rows:
        assert keyring.unwrap(row).public.raw == row.public
        with pytest.raises(IntegrityFailure):
            keyring.unwrap(replace(row, subject_id="another"))
    for blob in (b"FSS1" + bytes(3) + b"\x01" + bytes(100), b"FSS1", b""):
        with pytest.raises(IntegrityFailure):
            keyring.unwrap_secret("index", blob)
