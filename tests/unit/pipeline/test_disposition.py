"""What becomes of a source: exactly the file that was read is deleted, or it stays and the vault says why."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from fabnet_secure.errors import IntegrityFailure, UnreadableSource, VaultLocked
from fabnet_secure.pipeline import disposition as journey
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.disposition import Identity, dispose, filesystem_of
from fabnet_secure.pipeline.prints import content_of
from fabnet_secure.pipeline.quarantine import destroy
from fabnet_secure.pipeline.source import Outcome, Source
from fabnet_secure.store import videos
from fabnet_secure.types import new_id


@pytest.fixture
def site(policy):
    """The room's vault under the policy 'delete'."""
    return policy(source_disposition="delete")


@pytest.fixture
def committed(room, site):
    """Commit a made-up video of this file; return its outcome, as ingest gives it."""

    def commit(path, **changes):
        row = videos.VideoRow(
            **{
                "video_id": new_id(),
                "fingerprint": new_id(),
                "content": content_of(site, path) if path.is_file() else "",
                "status": videos.VideoStatus.INGESTED,
                "frames_read": 9,
                "frames_persisted": 0,
                "detected": 1,
                "bound": 1,
                "dropped": 0,
                "quarantined": 0,
                "drop_reasons": {},
                "policy_sha256": site.policy_sha256,
                "disposition": "delete_due",
                "evidence": {"passes": 1},
                "ingested_at": room.clock(),
            }
            | changes
        )
        with site.work() as work:
            videos.add_video(work.connection, row)
            work.log("test.video", facts={})
        return Outcome(
            source=Source(path=path, consent_ids=()), status="ingested", video_id=row.video_id, disposition="delete_due"
        )

    return commit


def found(site, outcome):
    with site.reading() as connection:
        row = videos.get_video(connection, outcome.video_id)
    return row.disposition.value, row.evidence.get("source", {})


def test_the_file_that_was_read_is_deleted(room, site, film, committed):
    """It goes; the video says so beside its evidence; the entry tells size and file system and no name."""
    outcome = committed(film)
    after = dispose(site, outcome, Identity.of(film))
    assert after == replace(outcome, disposition="deleted")
    assert not film.exists()
    state, told = found(site, outcome)
    assert (state, told["bytes"], told["how"]) == ("deleted", 1500, "unlink")
    facts = room.facts(site, "source.deleted")
    assert set(facts) == {"video", "bytes", "how", "filesystem"}
    assert "film" not in str(facts)
    assert outcome.video_id not in str(facts)


def test_a_policy_that_keeps_touches_nothing(room, policy, film, committed):
    """Under 'keep' nothing is deleted, recorded or logged, whatever the row says."""
    outcome = committed(film)
    before = room.acts(policy())
    assert dispose(policy(source_disposition="keep"), outcome, Identity.of(film)) == outcome
    assert film.exists()
    assert room.acts(policy()) == before


def _rewritten(path):
    size = path.stat().st_size
    path.write_bytes(b"x" * size)
    os.utime(path, ns=(1, 1))


def _replaced(path):
    twin = path.with_name("twin")
    twin.write_bytes(path.read_bytes())
    os.utime(twin, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    twin.rename(path)


def _grown(path):
    stamp = path.stat().st_mtime_ns
    with path.open("ab") as stream:
        stream.write(b"more")
    os.utime(path, ns=(stamp, stamp))


def _linked(path):
    os.link(path, path.with_name("second-name.mp4"))


def _symlinked(path):
    real = path.with_name("real.mp4")
    path.rename(real)
    path.symlink_to(real)


def _folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_rewritten, "changed"),
        (_replaced, "changed"),
        (_grown, "changed"),
        (_folder, "changed"),
        (_linked, "hard_linked"),
        (_symlinked, "symlink"),
        (Path.unlink, "gone"),
    ],
    ids=["rewritten", "replaced", "grown", "folder", "hard-linked", "symlink", "gone"],
)
def test_any_other_file_stays(room, site, film, committed, change, code):
    """What is not surely the one name of the very file that was read is left alone, and the reason recorded."""
    outcome, identity = committed(film), Identity.of(film)
    change(film)
    others = {path: path.is_file() and path.read_bytes() for path in film.parent.glob("*.mp4")}
    assert dispose(site, outcome, identity).disposition == "delete_failed"
    assert {path: path.is_file() and path.read_bytes() for path in film.parent.glob("*.mp4")} == others
    assert found(site, outcome)[1]["code"] == code
    assert room.facts(site, "source.delete_failed")["code"] == code


def test_a_symlink_given_by_its_name_is_left_with_its_target(site, room, film, committed):
    """The reader follows a link; deletion follows none and removes none."""
    link = room.folder / "link.mp4"
    link.symlink_to(film)
    assert dispose(site, committed(link), Identity.of(link)).disposition == "delete_failed"
    assert link.is_symlink()
    assert film.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_a_folder_that_may_not_be_written_to(site, room, film, committed):
    """A refused deletion is recorded as such."""
    outcome, identity = committed(film), Identity.of(film)
    room.folder.chmod(0o500)
    try:
        assert dispose(site, outcome, identity).disposition == "delete_failed"
    finally:
        room.folder.chmod(0o700)
    assert found(site, outcome)[1]["code"] == "denied"


@pytest.mark.parametrize(
    ("number", "code"), [(13, "denied"), (30, "read_only"), (16, "system")], ids=["EACCES", "EROFS", "EBUSY"]
)
def test_what_the_system_refuses_is_recorded(site, film, committed, monkeypatch, number, code):
    """Whatever the system answers, the file is said to be still there."""

    def refuse(*arguments, **named):
        raise OSError(number, "no")

    outcome, identity = committed(film), Identity.of(film)
    monkeypatch.setattr(journey.os, "unlink", refuse)
    assert dispose(site, outcome, identity).disposition == "delete_failed"
    assert found(site, outcome)[1]["code"] == code


def test_a_deletion_that_does_not_settle_is_not_called_one(site, film, committed, monkeypatch):
    """Where the directory cannot be synced the deletion may not survive a power cut, so it is not claimed."""

    def refuse(descriptor):
        raise OSError(5, "no")

    outcome, identity = committed(film), Identity.of(film)
    monkeypatch.setattr(journey.os, "fsync", refuse)
    assert dispose(site, outcome, identity).disposition == "delete_failed"
    assert found(site, outcome)[1]["code"] == "not_synced"


def test_a_failure_is_made_good_by_the_next_try(site, film, committed):
    """Trying again when the cause is gone deletes the file and records it."""
    outcome, identity = committed(film), Identity.of(film)
    _linked(film)
    assert dispose(site, outcome, identity).disposition == "delete_failed"
    film.with_name("second-name.mp4").unlink()
    assert dispose(site, outcome, identity).disposition == "deleted"
    assert "code" not in found(site, outcome)[1]


def test_a_video_of_which_nothing_was_bound_keeps_its_file(room, site, film, committed):
    """Where nothing of a video is kept its file is not deleted either: the policy may have been wrong."""
    outcome = committed(film, bound=0, dropped=1)
    assert dispose(site, outcome, Identity.of(film)).disposition == "keep"
    assert film.exists()
    assert room.facts(site, "source.kept")["code"] == "nothing_bound"


def test_a_file_that_waits_in_quarantine_is_not_deleted(room, site, film, committed, quarantined):
    """While the same bytes wait for a person under another video, or under this one, the file stays and is due."""
    waiting = quarantined(site, [room.consent(site)], film)
    outcome, identity = committed(film), Identity.of(film)
    assert dispose(site, outcome, identity).disposition == "delete_due"
    assert dispose(site, replace(outcome, video_id=waiting), identity).disposition == "keep"
    assert film.exists()
    destroy(site, waiting, waiting)
    assert not film.exists()


def test_what_the_vault_does_not_know_is_not_deleted(site, film):
    """A video that is not committed has no file to dispose of."""
    stray = Outcome(source=Source(path=film, consent_ids=()), status="ingested", video_id=new_id())
    with pytest.raises(IntegrityFailure) as caught:
        dispose(site, stray, Identity.of(film))
    assert caught.value.code == "VIDEO_UNKNOWN"
    assert film.exists()


def test_where_the_vault_cannot_be_written_nothing_is_deleted(site, film, committed, monkeypatch):
    """The file is unlinked under the write lock: without it, not at all."""

    def busy(site):
        raise VaultLocked("another process is writing")

    outcome, identity = committed(film), Identity.of(film)
    monkeypatch.setattr(Site, "work", busy)
    with pytest.raises(VaultLocked):
        dispose(site, outcome, identity)
    assert film.exists()


@pytest.mark.parametrize("kind", ["nothing", "folder", "fifo", "nul"])
def test_only_a_plain_file_has_an_identity(tmp_path, kind):
    """What is no file, or not there, is refused without waiting for it."""
    path = tmp_path / ("a\0b" if kind == "nul" else "x")
    if kind == "folder":
        path.mkdir()
    if kind == "fifo":
        os.mkfifo(path)
    with pytest.raises(UnreadableSource) as caught:
        Identity.of(path)
    assert caught.value.code == "SOURCE_GONE"


def test_the_kind_of_file_system_is_that_of_the_deepest_mount(tmp_path):
    """Of the mount points above a file the deepest counts, the later of two at one place; spaces are escaped there."""
    (tmp_path / "my films").mkdir()
    mounts = tmp_path / "mountinfo"
    escaped = str(tmp_path).replace(" ", "\\040")
    mounts.write_text(
        "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        f"22 21 0:9 / {escaped}/my\\040films rw,relatime shared:1 - xfs none rw\n"
        f"23 22 0:9 / {escaped}/my\\040films rw,relatime shared:1 - btrfs none rw\n"
        f"24 21 0:9 / {escaped}/my rw - vfat none rw\n"
        "broken line\n"
    )
    assert filesystem_of(tmp_path / "my films" / "a.mp4", mounts) == "btrfs"
    assert filesystem_of(tmp_path / "a.mp4", mounts) == "ext4"
    assert filesystem_of(tmp_path / "a.mp4", tmp_path / "none") == "unknown"
    assert filesystem_of(tmp_path / "gone" / "a.mp4", mounts) == "unknown"
