"""What is tried or restored from the wrong key, archive, place, anchor or account is refused and leaves nothing."""

from dataclasses import replace

import pytest

from fabnet_secure.crypto.age import Identity, encrypting
from fabnet_secure.errors import UsageError
from fabnet_secure.pipeline import (
    archive,
    context,
)
from fabnet_secure.pipeline.reencrypt import reencrypt


def test_the_wrong_identity(room, site, copy, code_of, nothing_left):
    """Verify and restore tell that the key is wrong, and leave nothing."""
    other = room.folder / "other.key"
    other.write_text(Identity.generate().reveal(), "utf-8")
    other.chmod(0o600)
    assert code_of(copy.verify, site, identity=other) == "IDENTITY_WRONG"
    assert code_of(copy.restore, identity=other) == "IDENTITY_WRONG"
    assert nothing_left()


def test_archives_in_each_others_place(room, site, copy, code_of):
    """They are told apart, whatever they are called."""
    assert code_of(copy.verify, site, vault_archive=copy.keystore, keystore_archive=copy.vault) == "ARCHIVE_KIND"


def test_another_vaults_archives(room, site, copy, other_vault, code_of, nothing_left):
    """One of them, or both."""
    assert code_of(copy.verify, site, keystore_archive=other_vault.keystore) == "ARCHIVE_OTHER_VAULT"
    assert code_of(other_vault.verify, site) == "ARCHIVE_OTHER_VAULT"
    assert code_of(copy.restore, keystore_archive=other_vault.keystore) == "ARCHIVE_OTHER_VAULT"
    assert nothing_left()


def test_another_key_file(room, copy, other_vault, code_of, nothing_left):
    """The archives open, and nothing in them does."""
    target = copy.target(key_file=room.folder / "second.key")
    assert code_of(copy.restore, target=replace(target, unlocked=type(target.unlocked)())) == "KEY_WRONG"
    assert nothing_left()


def test_a_keystore_older_than_the_vault(room, site, keys, copy, copied, code_of):
    """Rows sealed in between could not open: refused, not found out later. A newer one is right."""
    room.clock.forward(seconds=5)
    room.consent(site, subject_ref="cleo")
    later = copied(site)
    assert code_of(later.verify, site, keystore_archive=copy.keystore) == "ARCHIVE_MISMATCH"
    assert copy.verify(site, keystore_archive=later.keystore).opened == 5


def test_archives_that_the_vault_did_not_make(room, site, copy, monkeypatch, ours, code_of, nothing_left):
    """Whoever knows the public age key and the format, but not the log's key, is found out."""
    folder = room.folder / "forged"
    folder.mkdir()
    got = archive.read_archive(copy.vault, (ours,), kind="vault", into=folder)
    path = room.folder / "forged.age"
    parts = {entry.name: folder / entry.name for entry in got.manifest.files}
    archive.write_archive(path, got.manifest, parts, recipients=[ours.recipient], sign=lambda _: b"\x01" * 64)
    assert code_of(copy.verify, site, vault_archive=path) == "ARCHIVE_FORGED"
    assert code_of(copy.restore, vault_archive=path) == "ARCHIVE_FORGED"
    assert nothing_left()


def test_damage(room, site, copy, code_of, nothing_left):
    """A flipped bit, a cut end, no file: verify and restore refuse and leave nothing."""
    blob = copy.vault.read_bytes()
    bad = room.folder / "bad.age"
    for content in (blob[:-9], blob[:5000] + bytes([blob[5000] ^ 1]) + blob[5001:], b""):
        bad.write_bytes(content)
        assert code_of(copy.verify, site, vault_archive=bad) == "ARCHIVE_DAMAGED"
        assert code_of(copy.restore, vault_archive=bad) == "ARCHIVE_DAMAGED"
    assert code_of(copy.restore, vault_archive=room.folder / "none.age") == "ARCHIVE_MISSING"
    assert nothing_left()


def test_an_archive_that_is_something_else(room, site, copy, ours, code_of, nothing_left):
    """Encrypted to us, and no backup."""
    junk = room.folder / "junk.age"
    with junk.open("wb") as target, encrypting(target, [ours.recipient]) as tar:
        tar.write(b"junk" * 10_000)
    assert code_of(copy.restore, vault_archive=junk) == "ARCHIVE_FORMAT"
    assert nothing_left()


def test_never_over_anything(room, site, copy, code_of, nothing_left):
    """Not over a vault, a file, a full folder; not without the vault's id."""
    (room.folder / "full").mkdir()
    (room.folder / "full" / "x").write_text("x")
    (room.folder / "file").write_text("x")
    for name in ("vault", "full", "file"):
        assert code_of(copy.restore, name) == "RESTORE_PLACE"
    with pytest.raises(UsageError, match="not confirmed"):
        copy.restore(confirm="yes")
    assert nothing_left()
    (room.folder / "new").mkdir()
    assert copy.restore().vault == room.folder / "new"  # empty is new


def test_an_ended_epoch(room, site, copy, code_of, nothing_left):
    """Once its epoch file is another one, an old keystore archive opens nothing, and this is said so."""
    room.place.gate.write_text(room.place.gate.read_text().replace("\n1\n", "\n2\n"))
    assert code_of(copy.restore) == "ARCHIVE_EPOCH_ENDED"
    room.place.gate.unlink()
    assert code_of(copy.restore) == "GATE_MISSING"
    assert nothing_left()


def test_without_an_anchor_it_is_refused(room, site, copy, code_of, nothing_left):
    """Missing, another's, damaged, or older than the backup."""
    old = room.folder / "old.anchor"
    old.write_bytes(b"".join(room.place.anchor_file.read_bytes().splitlines(keepends=True)[:3]))
    assert code_of(copy.restore, anchor=old) == "ANCHOR_BEHIND"
    old.write_text("{}\n")
    assert code_of(copy.restore, anchor=old) == "ANCHOR_BROKEN"
    assert code_of(copy.restore, anchor=room.folder / "none") == "ANCHOR_MISSING"
    assert code_of(copy.restore, original=None) in {"ANCHOR_MISSING", "GATE_MISSING"}
    assert code_of(copy.restore, original=None, epoch_file=room.place.gate) == "ANCHOR_MISSING"
    assert nothing_left()


def test_a_newer_file_in_the_place_is_not_written_over(room, site, copy, code_of):
    """Another epoch file, or another anchor, than the given one stays as it is."""
    other = room.folder / "new.epoch"
    other.write_text("FABNET-SECURE-EPOCH-1\n9\n")
    assert code_of(copy.restore, epoch_file=room.place.gate) == "RESTORE_PLACE"
    other.unlink()
    other = room.folder / "new.anchor"
    other.write_text("{}")
    assert code_of(copy.restore, anchor=room.place.anchor_file) == "RESTORE_PLACE"


def test_a_pair_from_both_sides_of_a_reencryption(room, site, keys, copy, copied, code_of, nothing_left):
    """Rows sealed under keys that were exchanged since open with no newer keystore: found, not restored."""
    reencrypt(site)
    room.clock.forward(seconds=5)
    later = copied(site)
    assert later.verify(site).opened == 5
    assert code_of(copy.verify, site, keystore_archive=later.keystore) == "BACKUP_UNOPENABLE"
    assert code_of(copy.restore, keystore_archive=later.keystore) == "BACKUP_UNOPENABLE"
    assert nothing_left()
    assert copy.restore().replayed.withdrawn == 0  # the old pair still is one


def test_who_may_not_restore_is_denied(room, site, copy, monkeypatch, code_of, nothing_left):
    """Asked of the vault when it is tried, of the copy itself when it is restored; nothing is left of it."""
    monkeypatch.setattr(context, "os_account", lambda: "stranger")
    assert code_of(copy.verify, room.open()) == "ACCESS_DENIED"
    assert code_of(copy.restore) == "ACCESS_DENIED"
    assert nothing_left()
