"""What a watcher takes, when, and under whose consent."""

import os
from pathlib import Path

import pytest

from fabnet_secure.errors import UsageError
from fabnet_secure.pipeline.inbox import Ending, Naming, Settling, look, watch
from fabnet_secure.pipeline.source import Source
from fabnet_secure.progress import Silent

CONSENT = "4dd1c0de-0000-4000-8000-000000000001"
OTHER = "4dd1c0de-0000-4000-8000-000000000002"


@pytest.fixture
def inbox(tmp_path):
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def _put(inbox, *names):
    for name in names:
        (inbox / name).parent.mkdir(parents=True, exist_ok=True)
        (inbox / name).write_text("x")


def test_what_is_looked_at(inbox):
    """Regular files in the folder and one level below; nothing hidden, unfinished, linked or special."""
    _put(inbox, "a.mp4", f"{CONSENT}/b.mp4", "room/c.mp4", "room/deep/d.mp4", ".e.mp4", ".done/f.mp4")
    _put(inbox, "g.mp4.part", "h.TMP", "i.mp4.crdownload")
    (inbox / "link.mp4").symlink_to("a.mp4")
    (inbox / "linked").symlink_to("room")
    os.mkfifo(inbox / "pipe")
    assert sorted(map(str, look(inbox))) == [f"{CONSENT}/b.mp4", "a.mp4", "room/c.mp4"]


def test_a_file_is_settled_when_nobody_wrote_to_it_for_a_while():
    """Size, time or inode changed: the while begins anew; gone and back: too."""
    now = [0.0]
    settling = Settling(seconds=2.0, clock=lambda: now[0])
    path, one, other = Path("a"), (1, 1, 1), (2, 1, 1)
    seen = []
    for moment, signature in enumerate([one, one, other, other, other, None, other, other, other, other]):
        now[0] = float(moment)
        seen.append(settling.look({} if signature is None else {path: signature}) == [path])
    assert seen == [False, False, False, False, True, False, False, False, True, True]


@pytest.fixture
def naming(inbox):
    """Names consents for files; remembers what it said."""
    said = []
    naming = Naming(folder=inbox, given=Source(consent_ids=()), say=said.append)
    return naming, said


def _ready(naming, inbox, *, settled=True):
    now = look(inbox)
    return naming.manifest(now, list(now) if settled else [])


def test_the_nearest_word_counts(inbox, naming):
    """The manifest's row, else the sub-folder's name, else what the watcher was given; else the file waits."""
    naming, said = naming
    naming.given = Source(consent_ids=("given",), camera="door", seats={"left": "given"})
    _put(inbox, "a.mp4", f"{CONSENT}/b.mp4", f"{CONSENT}/c.mp4", "room/d.mp4")
    (inbox / "manifest.csv").write_text(f"video,consent_id,camera\n{CONSENT}/c.mp4,{OTHER},hall\nlater.mp4,{OTHER},\n")
    assert _ready(naming, inbox)
    assert naming.source(Path("a.mp4")) == naming.given
    below = naming.source(Path(CONSENT, "b.mp4"))
    assert (below.consent_ids, below.camera, dict(below.seats)) == ((CONSENT,), "door", {})
    listed = naming.source(Path(CONSENT, "c.mp4"))
    assert (listed.consent_ids, listed.camera) == ((OTHER,), "hall")
    assert naming.source(Path("later.mp4")).camera == "door"
    assert naming.source(Path("room", "d.mp4")) is None
    assert naming.source(Path("room", "d.mp4")) is None
    assert said == ["d.mp4 waits: nothing says under whose consent it was recorded"]


def test_every_file_waits_for_the_manifest(inbox, naming):
    """One that is bad, or still being written, holds everything back; said once; a better one lets it go."""
    naming, said = naming
    naming.given = Source(consent_ids=("given",))
    manifest = inbox / "manifest.csv"
    manifest.write_text("video,consent_id\na.mp4\n")
    assert not _ready(naming, inbox, settled=False)
    assert not _ready(naming, inbox)
    assert not _ready(naming, inbox)
    assert len(said) == 1
    assert "line 2" in said[0]
    manifest.write_text(f"video,consent_id\na.mp4,{CONSENT}\n")
    assert _ready(naming, inbox)
    assert naming.source(Path("a.mp4")).consent_ids == (CONSENT,)
    manifest.unlink()
    assert _ready(naming, inbox)
    assert naming.source(Path("a.mp4")).consent_ids == ("given",)


@pytest.mark.parametrize(
    ("name", "code"), [("file", "NOT_A_DIRECTORY"), ("vault", "INBOX_IN_VAULT"), (".", "INBOX_IN_VAULT")]
)
def test_an_inbox_that_cannot_be_one(room, site, name, code):
    """No folder, or one within the vault or around it."""
    (room.folder / "file").touch()
    watching = watch(
        site,
        room.folder / name,
        given=Source(consent_ids=()),
        jobs=1,
        progress=Silent(),
        say=print,
        ending=lambda: Ending.NOW,
    )
    with pytest.raises(UsageError) as error:
        next(watching)
    assert error.value.code == code
