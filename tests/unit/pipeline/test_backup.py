"""Backup: two archives of one moment, apart, to somebody, whole or not at all."""

import io
import sqlite3
import tarfile
from contextlib import closing
from dataclasses import replace

import pytest

from fabnet_secure.crypto.age import Identity, decrypting
from fabnet_secure.errors import AccessDenied, FabnetError
from fabnet_secure.pipeline import backup
from fabnet_secure.store import keystore
from fabnet_secure.store.database import read_only

OURS = Identity.generate()
TO = str(OURS.recipient)


def _inside(path):
    with path.open("rb") as source, decrypting(source, (OURS,)) as tar:
        blob = tar.read()
    with tarfile.open(fileobj=io.BytesIO(blob)) as inside:
        return {one.name: inside.extractfile(one).read() for one in inside}


def _refused(act, *arguments, **options):
    with pytest.raises(FabnetError) as refused:
        act(*arguments, **options)
    return refused.value.code


def _left(room, out):
    beside = [path.name for path in room.place.root.glob(".backup-*")]
    return beside + [path.name for path in out.rglob("*") if path.is_file()]


def test_two_archives_in_two_folders(room, site):
    """One holds the ciphertext, one the keys; neither the key file, the epoch file or the anchor."""
    room.track(site, room.consent(site))
    (site.models / "m.safetensors").write_bytes(b"weights")
    (site.root / "fabnet.toml").write_text("[query]\ndaily_budget = 7\n")
    out = room.folder / "out"
    done = backup.create(site, out, recipients=[TO])
    assert {kind: one.path.parent for kind, one in done.archives.items()} == {
        "vault": out / "vault",
        "keystore": out / "keystore",
    }
    vault, keys = (_inside(done.archives[kind].path) for kind in ("vault", "keystore"))
    assert set(vault) == {"manifest.json", "vault.db", "vault.json", "fabnet.toml", "models/m.safetensors"}
    assert set(keys) == {"manifest.json", "keystore.db"}
    secrets = (room.place.key_file, room.place.gate, room.place.anchor_file)
    for blob in (*vault.values(), *keys.values()):
        assert all(path.read_bytes().strip() not in blob for path in secrets)
    with read_only(site.keystore) as connection:
        wrapped = [key.wrapped for key in keystore.list_keys(connection)]
    assert all(one not in blob for one in wrapped for blob in vault.values())
    assert all(one in keys["keystore.db"] for one in wrapped)


def test_it_is_logged_before_and_after(room, site):
    """The log says that it began, and what it made."""
    done = backup.create(site, room.folder / "out", recipients=[TO])
    assert room.acts(site)[-3:] == ["backup.begun", "access.allowed", "backup.created"]
    told = room.facts(site, "backup.created")
    assert told["vault"] == {"sha256": done.archives["vault"].sha256, "bytes": done.archives["vault"].size}
    assert (told["size"], told["epoch"]) == (done.log_size, done.epoch)
    assert not _left(room, room.folder / "none")


@pytest.mark.parametrize("only", ["vault", "keystore"])
def test_one_archive_alone(room, site, only):
    """Each can go to its own place by its own command."""
    done = backup.create(site, room.folder / "out", recipients=[TO], only=only)
    assert set(done.archives) == {only}
    assert [path.name for path in (room.folder / "out").iterdir()] == [only]


def test_the_recipients_of_the_settings_count(room, site):
    """And each key is used once."""
    settings = site.settings.model_copy(
        update={"backup": site.settings.backup.model_copy(update={"recipients": (TO,)})}
    )
    done = backup.create(replace(site, settings=settings), room.folder / "out", recipients=[TO], only="keystore")
    assert done.recipients == 1


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({}, "NO_RECIPIENTS"),
        ({"recipients": ["age1nobody"]}, "RECIPIENT_INVALID"),
        ({"recipients": [TO], "only": "both"}, "ARCHIVE_KIND"),
    ],
    ids=["nobody", "no key", "both"],
)
def test_what_cannot_be_is_refused(room, site, options, code):
    """Never plaintext, never to a typing error, never both in one."""
    before = len(room.acts(site))
    assert _refused(backup.create, site, room.folder / "out", **options) == code
    assert not (room.folder / "out").exists()
    assert len(room.acts(site)) == before


def test_it_never_lies_in_the_vault(room, site):
    """A backup in the vault would be lost with it."""
    (room.folder / "file").write_text("x")
    for out in (site.root, site.root / "models" / "x", room.folder / "file"):
        assert _refused(backup.create, site, out, recipients=[TO]) == "BACKUP_PLACE"


def test_a_dry_run_writes_nothing(room, site):
    """It counts, and leaves neither folder nor entry."""
    before = len(room.acts(site))
    done = backup.create(site, room.folder / "out", recipients=[TO], dry_run=True)
    assert done.dry_run
    assert done.bytes_estimate["vault"] > done.bytes_estimate["keystore"] > 0
    assert not (room.folder / "out").exists()
    assert len(room.acts(site)) == before


def test_who_may_not_is_denied(stranger, room):
    """Backing up is an operator's."""
    with pytest.raises(AccessDenied):
        backup.create(stranger, room.folder / "out", recipients=[TO])


def test_an_archive_the_log_does_not_know_is_removed(room, site, monkeypatch):
    """Where the last entry cannot be written, nothing of the backup is left."""
    real, calls = type(site).work, []

    def work(self):
        calls.append(1)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return real(self)

    monkeypatch.setattr(type(site), "work", work)
    with pytest.raises(OSError, match="No space"):
        backup.create(site, room.folder / "out", recipients=[TO])
    assert not _left(room, room.folder / "out")


def test_no_room_is_told_before_anything_is_copied(room, site, monkeypatch):
    """A snapshot that would fill the disk is not begun."""
    monkeypatch.setattr(backup.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    assert _refused(backup.create, site, room.folder / "out", recipients=[TO]) == "STORAGE_FULL"
    assert not _left(room, room.folder / "out")


def test_it_is_one_moment(room, site, monkeypatch, tmp_path):
    """What others write while it runs is in neither archive, and they do not wait for it."""
    first = room.consent(site, subject_ref="before")
    real = backup.snapshot.copy_out
    written = []

    def slow(connection, path, which):
        if not written:
            written.append(room.consent(room.open(), subject_ref="meanwhile"))
        real(connection, path, which)

    monkeypatch.setattr(backup.snapshot, "copy_out", slow)
    done = backup.create(site, room.folder / "out", recipients=[TO])
    assert len(written) == 1
    found = {}
    for kind, table in (("vault", "consent"), ("keystore", "data_key")):
        path = tmp_path / f"{kind}.db"
        path.write_bytes(_inside(done.archives[kind].path)[path.name])
        with closing(sqlite3.connect(path)) as connection:
            found[kind] = {row[0] for row in connection.execute(f"SELECT consent_id FROM {table}")}
    assert found["vault"] == {first}
    assert found["keystore"] == {first, None}
