"""Claims: one watcher has a file, a crash loses none, and nothing is overwritten."""

import json
import os
from pathlib import Path

import pytest

from fabnet_secure.errors import UsageError
from fabnet_secure.pipeline.claims import DONE, REFUSED, TAKEN, Desk
from fabnet_secure.pipeline.source import Source

GIVEN = Source(consent_ids=("c1",), camera="door", seats={"left": "c1"})


@pytest.fixture
def inbox(tmp_path):
    """A folder with two files of one name."""
    folder = tmp_path / "inbox"
    (folder / "c2").mkdir(parents=True)
    (folder / "clip.mp4").write_text("first")
    (folder / "c2" / "clip.mp4").write_text("second")
    return folder


@pytest.fixture
def desk(inbox):
    return Desk.open(inbox)


def _crash(desk):
    """Let go of the lock and nothing else, as the kernel does for a process that was killed."""
    os.close(desk._lock)


def _below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_claim_is_taken_once(inbox, desk):
    """The second of two watchers finds the file gone, and leaves nothing behind."""
    other = Desk.open(inbox)
    claim = desk.claim(Path("clip.mp4"), GIVEN)
    assert claim.source.path == claim.path
    assert claim.path.read_text() == "first"
    assert other.claim(Path("clip.mp4"), GIVEN) is None
    assert _below(other.folder) == ["lock"]


def test_a_file_is_put_away_and_nothing_is_overwritten(inbox, desk):
    """Where it lay before, below .done; a second of the same name gets a number."""
    for text in ("first", "again", "third"):
        (inbox / "clip.mp4").write_text(text)
        desk.claim(Path("clip.mp4"), GIVEN).put_away(DONE)
    desk.claim(Path("c2/clip.mp4"), GIVEN).put_away(REFUSED)
    desk.close()
    shelves = {name: (inbox / name).read_text() for name in _below(inbox)}
    assert shelves == {
        ".done/clip.mp4": "first",
        ".done/clip-2.mp4": "again",
        ".done/clip-3.mp4": "third",
        ".refused/c2/clip.mp4": "second",
    }
    assert (inbox / DONE).stat().st_mode & 0o077 == 0
    assert list((inbox / TAKEN).iterdir()) == []


def test_the_longest_names_get_a_number_too(inbox, desk):
    """A name of 255 bytes has room for none: it is shortened."""
    name = "ä" * 125 + ".mp4"
    for _ in range(2):
        (inbox / name).touch()
        desk.claim(Path(name), GIVEN).put_away(DONE)
    assert len(_below(inbox / DONE)) == 2


def test_a_deleted_file_ends_its_claim(inbox, desk):
    """What the policy deleted is not put away."""
    claim = desk.claim(Path("clip.mp4"), GIVEN)
    claim.path.unlink()
    claim.put_away(DONE)
    assert not (inbox / DONE).exists()
    assert list(desk.claims()) == []


def test_a_living_watcher_s_desk_is_not_taken_over(inbox, desk):
    """Its lock is held; a dead one's is free."""
    desk.claim(Path("clip.mp4"), GIVEN)
    assert list(Desk.abandoned(inbox)) == []
    _crash(desk)
    (taken,) = Desk.abandoned(inbox)
    assert list(Desk.abandoned(inbox)) == []
    assert taken.folder == desk.folder


def test_an_abandoned_claim_is_what_it_was(inbox, desk):
    """Where it lies, its consents, camera and seats, its origin and its tries."""
    claim = desk.claim(Path("c2/clip.mp4"), GIVEN).counted(1)
    _crash(desk)
    (taken,) = Desk.abandoned(inbox)
    (again,) = taken.claims()
    assert again == claim
    assert (again.tries, again.origin, again.source.consent_ids) == (2, Path("c2/clip.mp4"), ("c1",))
    again.put_away(DONE)
    taken.close()
    assert not desk.folder.exists()


def test_a_quarantined_file_stays_where_it_is(inbox, desk):
    """The desk outlives its watcher as long as a claim is in it."""
    held = desk.claim(Path("clip.mp4"), GIVEN).hold("v1")
    desk.close()
    (taken,) = Desk.abandoned(inbox)
    (again,) = taken.claims()
    assert (again.path, again.video_id) == (held.path, "v1")
    assert again.path.exists()


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"origin": "../../etc/passwd"}', None])
def test_a_damaged_card_leaves_no_consent(inbox, desk, damage):
    """The file is there, and nothing to ingest it under."""
    claim = desk.claim(Path("clip.mp4"), GIVEN)
    if damage is None:
        claim.card.unlink()
    else:
        claim.card.write_text(damage)
    (again,) = desk.claims()
    assert (again.source, again.path) == (None, claim.path)
    again.put_away(REFUSED)
    assert _below(inbox / REFUSED) == ["clip.mp4"]


def test_a_card_cannot_send_a_file_elsewhere(inbox, desk):
    """An origin outside the inbox is no origin."""
    claim = desk.claim(Path("clip.mp4"), GIVEN)
    for origin in ("../clip.mp4", "/etc/clip.mp4"):
        claim.card.write_text(json.dumps(json.loads(claim.card.read_text()) | {"origin": origin}))
        (again,) = desk.claims()
        assert (again.source, again.origin) == (None, Path("clip.mp4"))


@pytest.mark.parametrize("cut", ["folder", "part", "card"])
def test_a_claim_cut_off_before_the_rename_is_cleared_away(inbox, desk, cut, monkeypatch):
    """The file still waits in the inbox."""
    monkeypatch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        desk.claim(Path("clip.mp4"), GIVEN)
    monkeypatch.undo()
    (card,) = desk.folder.glob("*.json")
    if cut != "card":
        card.unlink()
    if cut == "part":
        card.with_suffix(".part").touch()
    assert list(desk.claims()) == []
    assert _below(desk.folder) == ["lock"]
    assert (inbox / "clip.mp4").exists()


def test_a_folder_that_cannot_be_written_to(inbox):
    """The inbox is refused, not half used."""
    (inbox / TAKEN).write_text("in the way")
    with pytest.raises(UsageError) as error:
        Desk.open(inbox)
    assert error.value.code == "INBOX_UNUSABLE"
