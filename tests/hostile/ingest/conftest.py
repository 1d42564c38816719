"""A real vault for whole ingests of hostile files, and the check that its rows, its log and what was told agree."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fabnet_secure.audit.leaf import read_leaf
from fabnet_secure.config import load
from fabnet_secure.pipeline.applications import Application
from fabnet_secure.pipeline.auditing import check
from fabnet_secure.pipeline.consents import add
from fabnet_secure.pipeline.context import Place, open_site
from fabnet_secure.pipeline.create import create_vault
from fabnet_secure.pipeline.embed import open_tracklet
from fabnet_secure.pipeline.quarantine import open_held
from fabnet_secure.pipeline.withdraw import withdraw
from fabnet_secure.store import keystore, quarantine, tracks, videos
from fabnet_secure.store.database import read_only
from fabnet_secure.store.log_storage import SqlLogStorage
from fabnet_secure.synth.clip import write_clip
from fabnet_secure.types import TrackStatus

FRAMES = 14
WORD = "zaphod"  # in the name of every file: it may be in no error and in no file of the vault
YUV = ("-pix_fmt", "yuv420p")
FORMATS = {
    "h264.mp4": ("-c:v", "libx264", "-preset", "veryfast", *YUV),
    "h264-fragments.mp4": ("-c:v", "libx264", "-movflags", "frag_keyframe+empty_moov", "-g", "4", *YUV),
    "h264.ts": ("-c:v", "libx264", "-g", "5", *YUV),
    "h265.mkv": ("-c:v", "libx265", "-preset", "veryfast", "-x265-params", "log-level=none", *YUV),
    "vp9.webm": ("-c:v", "libvpx-vp9", "-deadline", "realtime", *YUV),
    "av1.mkv": ("-c:v", "libsvtav1", "-preset", "12", *YUV),
    "mjpeg.avi": ("-c:v", "mjpeg", "-q:v", "3"),
    "mpeg2.mpg": ("-c:v", "mpeg2video", "-q:v", "3"),
    "mpeg4.mov": ("-c:v", "mpeg4", "-q:v", "3"),
    "animated.gif": (),
}
FORMATS["h265.ts"], FORMATS["mpeg2.ts"] = FORMATS["h265.mkv"], FORMATS["mpeg2.mpg"]
FORMATS["mpeg4.ts"] = FORMATS["mpeg4.mov"]
VAULT_FILES = {"vault.json"} | {f"{name}.db{more}" for name in ("vault", "keystore") for more in ("", "-wal", "-shm")}


@dataclass(frozen=True)
class Books:
    """What the vault's rows, log and keystore say at one moment."""

    rows: frozenset
    entries: tuple

    @classmethod
    def of(cls, site, before=None):
        """Read them; what the log said ``before`` is not read again."""
        past = before.entries if before else ()
        with site.reading() as connection:
            storage = SqlLogStorage(connection)
            rows = {("video", row.video_id) for row in videos.list_videos(connection)}
            rows |= {("track", row.track_id) for row in tracks.list_tracks(connection)}
            rows |= {("tracklet", track_id) for track_id in tracks.count_crops(connection)}
            rows |= {("quarantine", row.video_id, row.state) for row in quarantine.list_quarantine(connection)}
            leaves = [read_leaf(blob) for blob in storage.read_entries(len(past), storage.size())]
        with read_only(site.keystore) as connection:
            rows |= {("key", one.key_id) for one in keystore.list_keys(connection)}
            rows |= {("secret", one.name) for one in keystore.list_secrets(connection)}
        return cls(frozenset(rows), (*past, *((leaf.act, dict(leaf.facts)) for leaf in leaves)))

    def entries_since(self, before, act):
        """Return the facts of the new entries of one act."""
        return [facts for one, facts in self.entries[len(before.entries) :] if one == act]


def assert_booked(site, outcome, before, after):
    """Check that what was told of one case, the rows that it added and the entries that it added are one story."""
    completed = after.entries_since(before, "ingest.completed")
    if outcome.status in ("refused", "skipped"):
        assert after.rows == before.rows
        assert completed == []
        codes = [facts["code"] for facts in after.entries_since(before, "ingest.refused")]
        assert codes == ([outcome.error.code] if outcome.error else [])
        return
    assert outcome.status in ("ingested", "quarantined")
    (facts,) = completed
    with site.reading() as connection:
        video = videos.get_video(connection, outcome.video_id)
        rows = tracks.list_tracks(connection, video_id=outcome.video_id)
        kept = {row.track_id: tracks.get_tracklet(connection, row.track_id) for row in rows}
    names = ("frames_read", "frames_persisted", "detected", "bound", "dropped", "quarantined", "drop_reasons")
    told = {name: getattr(outcome, name) for name in names}
    assert told == {name: getattr(video, name) for name in names} == {name: facts[name] for name in names}
    assert video.detected == video.bound + video.dropped + video.quarantined == len(rows) > 0
    assert video.frames_persisted == 0
    counts = Counter(row.status for row in rows)
    assert counts == +Counter(
        {
            TrackStatus.BOUND: video.bound,
            TrackStatus.DROPPED: video.dropped,
            TrackStatus.QUARANTINED: video.quarantined,
        }
    )
    assert sum(video.drop_reasons.values()) == video.dropped + video.quarantined
    for row in rows:
        assert 0 < row.frames <= video.frames_read
        if row.status is TrackStatus.BOUND:
            assert_whole(site, row, kept[row.track_id], outcome.source, video)
        else:
            assert (row.subject_id, row.consent_id, kept[row.track_id], row.crop_version) == (None, None, None, "")
    added = {("video", video.video_id)} | {("track", row.track_id) for row in rows}
    added |= {("tracklet", row.track_id) for row in rows if row.status is TrackStatus.BOUND}
    extra = {one for one in after.rows - before.rows if one not in added}
    held = after.entries_since(before, "quarantine.held")
    assert before.rows <= after.rows
    assert set(outcome.track_ids) == {row.track_id for row in rows if row.status is TrackStatus.BOUND}
    if outcome.status == "quarantined":
        assert {one[0] for one in extra} == {"quarantine", "secret"}
        assert (len(extra), len(held), video.bound) == (2, 1, 0)
        assert len(open_held(site, video.video_id).tracks) == video.quarantined
    else:
        assert (extra, held, video.quarantined) == (set(), [], 0)


def assert_whole(site, row, tracklet, source, video):
    """Check that a bound track has one tracklet, that the person's key opens it, and that its numbers fit."""
    assert row.consent_id in {*source.consent_ids, *(claim.consent_id for claim in source.boxes)}
    crops = open_tracklet(site, row, tracklet)
    assert crops.shape == (tracklet.n, tracklet.size, tracklet.size, 3)
    indices = list(tracklet.frame_indices)
    assert tracklet.n == len(indices) > 0
    assert indices == sorted(set(indices))
    assert 0 <= indices[0] <= indices[-1] < video.frames_read
    assert crops.max() > 0


def assert_told(outcome):
    """Check that an end is one of the four, and that a refusal says in words what to do, and names nothing."""
    assert outcome.status in ("ingested", "skipped", "refused", "quarantined")
    assert (outcome.error is None) == (outcome.status != "refused")
    if outcome.error is not None:
        assert outcome.error.code.replace("_", "").isalpha()
        assert outcome.error.code.isupper()
        assert outcome.error.message
        assert outcome.error.hint, outcome.error.code
        assert WORD not in outcome.error.message + outcome.error.hint


@dataclass
class Vault:
    """A vault with consents of ada and ben, and one of cleo that she withdrew; and folders that must stay empty."""

    folder: Path
    consents: dict[str, str] = field(default_factory=dict)

    @property
    def place(self):
        return Place(root=self.folder / "vault", key_file=self.folder / "vault.key")

    @property
    def outside(self):
        return self.folder / "outside"

    def make(self):
        """Create it, and the consents."""
        for name in ("account", "cache", "tmp", "here"):
            (self.outside / name).mkdir(parents=True)
        for name in ("notice.txt", "evidence.txt"):
            (self.folder / name).write_text(f"SYNTHETIC {name}\n", "utf-8")
        create_vault(self.place, load([]).settings)
        with self.open() as site:
            for name in ("ada", "ben", "cleo"):
                form = Application(
                    subject_ref=name,
                    purposes=("train_model",),
                    valid_for="P1Y",
                    notice=self.folder / "notice.txt",
                    evidence=self.folder / "evidence.txt",
                )
                self.consents[name] = add(site, [form])[0].consent_id
            withdraw(site, self.consents["cleo"], confirm=self.consents["cleo"])
        return self

    def open(self, **table):
        """Open it, under other settings of ``[ingest]`` if any are given."""
        settings = load([]).settings
        changed = settings.model_copy(update={"ingest": settings.ingest.model_copy(update=table)})
        return open_site(self.place, changed)

    def film(self, name):
        """Return the path of a film to be made: the word that may be told nowhere is in its name."""
        (self.folder / "films").mkdir(exist_ok=True)
        return self.folder / "films" / f"{WORD}-{name}"

    def books(self, site, before=None):
        """Say what the rows, the log and the keystore hold now."""
        return Books.of(site, before)

    def assert_sound(self, site, outcome, before):
        """Check one case: told in words, booked whole, nothing left anywhere; return the books after it."""
        after = Books.of(site, before)
        assert_told(outcome)
        assert_booked(site, outcome, before, after)
        assert self.leftovers() == set()
        return after

    def assert_log_verifies(self, site, books):
        """Check that the log verifies, and holds as many entries as the books."""
        assert check(site)[0] == len(books.entries)

    def told_nowhere(self, *files):
        """Tell whether no file of the vault, and none of these, holds the word."""
        stored = [path for path in self.place.root.rglob("*") if path.is_file()]
        return not any(WORD.encode() in path.read_bytes() for path in (*stored, *files))

    def leftovers(self):
        """Return every file that is where none may be."""
        stray = {path for path in self.outside.rglob("*") if not path.is_dir()}
        within = {path for path in self.place.root.rglob("*") if path.is_file() and path.name not in VAULT_FILES}
        return stray | within


@pytest.fixture
def vault(tmp_path):
    """A vault of its own."""
    return Vault(tmp_path / "site").make()


@pytest.fixture(scope="session")
def formats():
    """What FFmpeg is told to write each kind of file."""
    return FORMATS


@pytest.fixture(scope="session")
def films(tmp_path_factory, ffmpeg):
    """Small whole videos of one made-up person in every format, and of two people in two formats."""
    folder = tmp_path_factory.mktemp("films")
    found = {}
    for number, people in enumerate(([1], [2], [1, 3])):
        raw = folder / f"{number}.avi"
        write_clip(raw, people, frames=FRAMES, width=60 + 120 * len(people), height=160)
        chosen = {0: FORMATS, 1: ("h264.mp4", "mjpeg.avi"), 2: ("h264.mp4", "mpeg2.mpg")}[number]
        for name in chosen:
            path = folder / f"{number}-{name}"
            ffmpeg("-i", raw, "-an", *FORMATS[name], path)
            found[path.name] = path.read_bytes()
    return found
