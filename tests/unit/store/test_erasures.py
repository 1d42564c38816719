"""Erasure deletes, reads back, and never certifies what is still there."""

import os

import pytest

from fabnet_secure.errors import IntegrityFailure, UsageError, VaultLocked
from fabnet_secure.store import embeddings, erasures, tracks
from fabnet_secure.store.database import Opening, keystore_work, open_keystore, read_only
from fabnet_secure.store.keystore import add_epoch, add_keys, destroy_keys
from fabnet_secure.store.openings import list_openings
from fabnet_secure.store.wipe import checkpoint_wal
from fabnet_secure.types import Domain, TrackStatus, new_id

NONE = {"tracklets": 0, "embedding_pages": 0, "embeddings": 0, "openings": 0, "tracks": 0}


def fill(site, work, *, ref="anna", size=100):
    """Store a tracklet, a page of two embeddings and a log opening under a fresh consent."""
    subject_id, consent_id = site.enrol(work.connection, ref=ref)
    tracklet = site.sealed(os.urandom(size))
    page = site.sealed(os.urandom(size))
    track_id = site.track(work.connection, subject_id, consent_id, sealed=tracklet)
    model_id, _ = site.model(work.connection, [(consent_id, subject_id, track_id)])
    embeddings.add_page(
        work.connection,
        site.counted(work.connection),
        track_id=track_id,
        subject_id=subject_id,
        consent_id=consent_id,
        model_id=model_id,
        page=0,
        sealed=page,
        n=2,
        dim=8,
        frame_indices=(0, 1),
    )
    opening = Opening(
        label="consent", value=consent_id, consent_id=consent_id, subject_id=subject_id, recipient=site.key.public
    )
    work.log("ingest.completed", facts={}, subjects=[opening])
    return subject_id, consent_id, track_id, (tracklet.blob, page.blob)


def opened(site, work, consent_id, subject_id, make):
    return erasures.open_erasure(
        work.connection,
        erasure_id=new_id(),
        consent_id=consent_id,
        subject_id=subject_id,
        requested_at=make.at,
        planned={"tracklets": 1},
    )


def test_deletion_takes_one_consent_and_leaves_the_other(site):
    """Everything under the consent goes and is counted, the track stays as erased, another person's stays whole."""
    with site.work() as work:
        _, anna, track_id, _ = fill(site, work, ref="anna")
        _, ben, _, _ = fill(site, work, ref="ben")
    with site.work() as work:
        whole = {"tracklets": 1, "embedding_pages": 1, "embeddings": 2, "openings": 1, "tracks": 1}
        assert erasures.remaining(work.connection, anna) == whole
        assert erasures.delete_consent_artifacts(work.connection, site.census, anna) == whole
        assert erasures.remaining(work.connection, anna) == NONE
        assert erasures.delete_consent_artifacts(work.connection, site.census, anna) == NONE
        assert erasures.remaining(work.connection, ben) == whole
        row = tracks.get_track(work.connection, track_id)
        work.log("erasure.done", facts={})
    assert (row.status, row.consent_id) == (TrackStatus.ERASED, anna)


def test_complete_is_refused_while_rows_remain(site, make):
    """A certificate of completeness cannot be stored before the rows are gone; partial can, and then complete."""
    certificate = {"outcome": "x"}
    with site.work() as work:
        subject_id, consent_id, *_ = fill(site, work)
        row = opened(site, work, consent_id, subject_id, make)
        assert erasures.pending(work.connection) == [row]
        finish = {"certificate": certificate, "finished_at": make.at}
        with pytest.raises(IntegrityFailure) as caught:
            erasures.finish_erasure(work.connection, row.erasure_id, state=erasures.ErasureState.COMPLETE, **finish)
        assert caught.value.code == "ERASURE_INCOMPLETE"
        erasures.finish_erasure(work.connection, row.erasure_id, state=erasures.ErasureState.PARTIAL, **finish)
        assert erasures.pending(work.connection) == []
        erasures.delete_consent_artifacts(work.connection, site.census, consent_id)
        erasures.finish_erasure(work.connection, row.erasure_id, state=erasures.ErasureState.COMPLETE, **finish)
        (done,) = erasures.list_erasures(work.connection, consent_id=consent_id)
        assert (done.state, done.certificate) == (erasures.ErasureState.COMPLETE, certificate)
        with pytest.raises(UsageError):
            erasures.finish_erasure(work.connection, row.erasure_id, state=erasures.ErasureState.PARTIAL, **finish)
        assert erasures.list_erasures(work.connection, consent_id=new_id()) == []


def test_unfinished_erasure_carries_no_certificate(site, make):
    """The database refuses to move a finished erasure back to pending with its certificate."""
    with site.refused() as work:
        subject_id, consent_id, *_ = fill(site, work)
        row = opened(site, work, consent_id, subject_id, make)
        erasures.finish_erasure(
            work.connection,
            row.erasure_id,
            state=erasures.ErasureState.PENDING,
            certificate={"outcome": "x"},
            finished_at=make.at,
        )


def test_forgetting_a_subject_takes_its_openings_of_no_consent(site, make):
    """Openings about the person under no consent go with the person."""
    with site.work() as work:
        subject_id, _ = site.enrol(work.connection)
        loose = Opening(label="s", value=subject_id, consent_id=None, subject_id=subject_id, recipient=site.key.public)
        work.log("test.entry", facts={}, subjects=[loose])
    with site.work() as work:
        assert erasures.forget_subject(work.connection, subject_id, make.at) == {"openings": 1, "subjects": 1}
        assert list_openings(work.connection) == []
        work.log("test.entry", facts={})


def pieces(blob):
    """Short runs from all over a ciphertext: SQLite scatters a long value over pages."""
    return [blob[start : start + 24] for start in range(40, len(blob) - 24, 1500)]


def found_in(path, blobs):
    """Count the pieces of the blobs that any of a database's files holds."""
    held = b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
    return sum(piece in held for blob in blobs for piece in pieces(blob))


def test_deleted_ciphertext_is_in_no_sqlite_file(lite, tmp_path):
    """Before deletion the bytes are found; after deletion and checkpoint_wal no piece is in database, WAL or shm."""
    path = tmp_path / "vault.db"
    with lite.work() as work:
        _, consent_id, _, blobs = fill(lite, work, size=30_000)
    with read_only(lite.engine) as keeps_the_wal:
        assert keeps_the_wal.in_transaction()
        assert found_in(path, blobs) == sum(len(pieces(blob)) for blob in blobs) > 30
    with lite.work() as work:
        erasures.delete_consent_artifacts(work.connection, lite.census, consent_id)
        work.log("erasure.done", facts={})
        checkpoint_later = lite.engine.connect()  # another open connection: the WAL is not dropped by the last close
        checkpoint_later.exec_driver_sql("SELECT 1").all()
        checkpoint_later.rollback()
    checkpoint_wal(lite.engine)
    assert found_in(path, blobs) == 0
    wal = tmp_path / "vault.db-wal"
    assert not wal.exists() or wal.stat().st_size == 0
    checkpoint_later.close()


def test_destroyed_key_bytes_are_in_no_keystore_file(tmp_path, template, make):
    """After destroy_keys and checkpoint_wal the wrapped key is nowhere in the keystore's files."""
    path = tmp_path / "keystore.db"
    path.write_bytes((template / "keystore.db").read_bytes())
    engine = open_keystore(f"sqlite:///{path}")
    from fabnet_secure.crypto.epoch import Epoch
    from fabnet_secure.crypto.keyring import WrappedKey
    from fabnet_secure.types import KeyDomain

    key = WrappedKey(
        key_id=new_id(),
        epoch=1,
        domain=Domain.TRACKLETS,
        subject_id=new_id(),
        consent_id=new_id(),
        wrapped=os.urandom(120),
        public=os.urandom(32),
    )
    with keystore_work(engine) as connection:
        public = {domain: os.urandom(32) for domain in KeyDomain}
        add_epoch(connection, Epoch(number=1, wrapped=b"e" * 60, public=public), make.at)
        add_keys(connection, [key])
    with keystore_work(engine) as connection:
        assert key.wrapped in b"".join(file.read_bytes() for file in tmp_path.glob("keystore.db*"))
        assert destroy_keys(connection, [key.key_id], make.at) == 1
    checkpoint_wal(engine)
    held = b"".join(file.read_bytes() for file in tmp_path.glob("keystore.db*"))
    assert key.wrapped not in held
    assert key.public not in held


def test_a_reader_keeps_the_wal_from_being_emptied_and_that_is_said(lite):
    """While a snapshot from before the deletion is open, checkpoint_wal raises WAL_BUSY instead of pretending."""
    with lite.work() as work:
        work.log("test.entry", facts={})
    with read_only(lite.engine):
        with lite.work() as work:
            work.log("test.entry", facts={})
        with pytest.raises(VaultLocked) as caught:
            checkpoint_wal(lite.engine)
    assert caught.value.code == "WAL_BUSY"
    checkpoint_wal(lite.engine)


def test_checkpoint_wal_runs_on_both_databases(site, keystore):
    """The upkeep after a deletion works on a used vault and keystore of either kind."""
    with site.work() as work:
        work.log("test.entry", facts={})
    checkpoint_wal(site.engine)
    checkpoint_wal(keystore)
    with site.work() as work:
        work.log("test.entry", facts={})
