"""An open vault with a clock that the test moves, and short ways to fill it without any video."""

import shutil
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from fabnet_secure.audit.leaf import read_leaf
from fabnet_secure.config import load
from fabnet_secure.crypto.envelope import Context, seal_to
from fabnet_secure.pipeline.applications import Application
from fabnet_secure.pipeline.consents import add
from fabnet_secure.pipeline.context import Place, Site, open_site
from fabnet_secure.pipeline.coverage import find_consent, recipient
from fabnet_secure.pipeline.create import create_vault
from fabnet_secure.pipeline.prints import content_of
from fabnet_secure.pipeline.quarantine import Held, HeldTrack, hold
from fabnet_secure.pipeline.source import Source
from fabnet_secure.store import tracks, videos
from fabnet_secure.store.decisions import list_decisions
from fabnet_secure.store.log_storage import SqlLogStorage
from fabnet_secure.types import Domain, TrackStatus, VideoId, new_id

START = datetime(2026, 5, 4, 3, 2, 1, 7, tzinfo=UTC)


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **spans: float) -> None:
        self.now += timedelta(**spans)


@dataclass
class Room:
    """A vault, its papers and its clock."""

    folder: Path
    clock: Clock
    stack: ExitStack = field(default_factory=ExitStack)

    @property
    def place(self) -> Place:
        return Place(root=self.folder / "vault", key_file=self.folder / "vault.key")

    def open(self) -> Site:
        """Open the vault for the account that this process seems to run under."""
        return self.stack.enter_context(open_site(self.place, load([]).settings, clock=self.clock))

    def application(self, **changes) -> Application:
        plain = {
            "subject_ref": "ada",
            "purposes": ("train_model", "embed", "query_internal"),
            "valid_for": "P1Y",
            "notice": self.folder / "notice.txt",
            "evidence": self.folder / "evidence.txt",
        }
        return Application(**plain | changes)

    def consent(self, site: Site, **changes) -> str:
        """Record a consent and return its id."""
        (recorded,) = add(site, [self.application(**changes)])
        return recorded.consent_id

    def track(self, site: Site, consent_id: str, *, lives: timedelta | None = timedelta(days=90)) -> str:
        """Add a bound track with two sealed crops and return its id."""
        with site.work() as work:
            record, _ = find_consent(work.connection, consent_id)
            video = videos.VideoRow(
                video_id=new_id(),
                fingerprint=new_id().replace("-", "") * 2,
                status=videos.VideoStatus.INGESTED,
                frames_read=9,
                frames_persisted=0,
                detected=1,
                bound=1,
                dropped=0,
                quarantined=0,
                drop_reasons={},
                policy_sha256=site.policy_sha256,
                disposition="keep",
                ingested_at=self.clock(),
            )
            videos.add_video(work.connection, video)
            row = tracks.TrackRow(
                track_id=new_id(),
                video_id=video.video_id,
                subject_id=record.subject_id,
                consent_id=consent_id,
                status=TrackStatus.BOUND,
                reason="",
                frames=9,
                crop_version="test/64",
                expires_at=self.clock() + lives if lives else None,
                created_at=self.clock(),
            )
            tracks.add_track(work.connection, row)
            context = Context(
                format="tracklet/1", subject=record.subject_id, consent=consent_id, track=row.track_id, n=2, dim=64
            )
            crops = np.full((2, 64, 64, 3), 7, np.uint8).tobytes()
            sealed = seal_to(recipient(site, record, Domain.TRACKLETS), context, crops)
            tracks.add_tracklet(work.connection, row.track_id, sealed, n=2, size=64, frame_indices=(1, 5))
            work.log("test.track", facts={})
        return row.track_id

    def acts(self, site: Site) -> list[str]:
        """Return what the log says was done, in order."""
        with site.reading() as connection:
            storage = SqlLogStorage(connection)
            return [read_leaf(blob).act for blob in storage.read_entries(0, storage.size())]

    def facts(self, site: Site, act: str) -> dict:
        """Return what the last entry of this act says."""
        with site.reading() as connection:
            storage = SqlLogStorage(connection)
            entries = [read_leaf(blob) for blob in storage.read_entries(0, storage.size())]
        return dict([entry for entry in entries if entry.act == act][-1].facts)

    def decisions(self, site: Site):
        """Return every decision, oldest first."""
        with site.reading() as connection:
            return list_decisions(connection)


@pytest.fixture(scope="session")
def fresh(tmp_path_factory) -> Path:
    """A folder with a vault that nothing was done with yet."""
    folder = tmp_path_factory.mktemp("room")
    (folder / "notice.txt").write_text("SYNTHETIC notice\n", "utf-8")
    (folder / "evidence.txt").write_text("SYNTHETIC evidence\n", "utf-8")
    place = Place(root=folder / "vault", key_file=folder / "vault.key")
    create_vault(place, load([]).settings, clock=Clock())
    return folder


@pytest.fixture
def room(fresh, tmp_path):
    """A copy of the fresh vault, closed again at the end."""
    folder = tmp_path / "room"
    shutil.copytree(fresh, folder)
    room = Room(folder, Clock())
    with room.stack:
        yield room


@pytest.fixture
def site(room) -> Site:
    """The room's vault, open for its operator."""
    return room.open()


@pytest.fixture
def stranger(room, site, monkeypatch) -> Site:
    """The same vault, open for an account without roles."""
    from fabnet_secure.pipeline import context

    monkeypatch.setattr(context, "os_account", lambda: "stranger")
    return room.open()


@pytest.fixture
def policy(room):
    """Open the vault again under other settings of ``[ingest]``."""

    def under(**table) -> Site:
        settings = load([]).settings
        changed = settings.model_copy(update={"ingest": settings.ingest.model_copy(update=table)})
        return room.stack.enter_context(open_site(room.place, changed, clock=room.clock))

    return under


@pytest.fixture
def film(room) -> Path:
    """A file that stands for a video."""
    path = room.folder / "film.mp4"
    path.write_bytes(b"moving pictures" * 100)
    return path


@pytest.fixture
def quarantined(room):
    """Hold a made-up video with two quarantined tracks; return its id."""

    def held(site: Site, consents, path: Path | None, **changes) -> str:
        source = Source(path=path, consent_ids=tuple(consents), **changes)
        content = content_of(site, path) if path is not None else new_id()
        video_id = VideoId(new_id())
        seen = tuple(HeldTrack(first=n, last=n + 9, boxes=((n, (1.0, 2.0, 30.5, 40.0)),)) for n in (0, 20))
        row = videos.VideoRow(
            video_id=video_id,
            fingerprint=new_id(),
            content=content,
            status=videos.VideoStatus.QUARANTINED,
            frames_read=30,
            frames_persisted=0,
            detected=2,
            bound=0,
            dropped=0,
            quarantined=2,
            drop_reasons={"crowd": 2},
            policy_sha256=site.policy_sha256,
            disposition="keep",
            ingested_at=room.clock(),
        )
        with site.work() as work:
            videos.add_video(work.connection, row)
            for _ in seen:
                tracks.add_track(
                    work.connection,
                    tracks.TrackRow(
                        track_id=new_id(),
                        video_id=video_id,
                        subject_id=None,
                        consent_id=None,
                        status=TrackStatus.QUARANTINED,
                        reason="crowd",
                        frames=10,
                        crop_version="",
                        expires_at=None,
                        created_at=room.clock(),
                    ),
                )
            record = Held(source=source, named=tuple(consents), content=content, reason="crowd", tracks=seen)
            hold(site, work, video_id, held=record)
        return video_id

    return held


@dataclass
class Pair:
    """Two people (alice and bob) with roles and SSH keys, and a third key (mallory's) that nobody enrolled."""

    room: Room
    keys: dict[str, Path]

    def form(self, site: Site, act: str, **params) -> Path:
        """Ask for an act; return the request's file."""
        from fabnet_secure.pipeline.approvals import request

        path = self.room.folder / f"request-{new_id()}.json"
        path.write_bytes(request(site, act, {name: str(value) for name, value in params.items()}).to_bytes())
        return path

    def sign(self, request: Path, who: str) -> Path:
        """Sign a request; return the approval's file."""
        from fabnet_secure.crypto.sshsig import sign

        path = request.with_name(f"{who}-{new_id()}.approval")
        path.write_bytes(request.read_bytes() + sign(request.read_bytes(), self.keys[who]))
        return path

    def approve(self, site: Site, act: str, **params) -> list[Path]:
        """Ask for an act and let both sign it."""
        asked = self.form(site, act, **params)
        return [self.sign(asked, who) for who in ("alice", "bob")]


@pytest.fixture(scope="session")
def ssh_keys(tmp_path_factory) -> dict[str, Path]:
    """An SSH key each for alice, bob and mallory, as ssh-keygen makes them."""
    folder = tmp_path_factory.mktemp("ssh")
    for name in ("alice", "bob", "mallory"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
        subprocess.run(command, check=True)
    return {name: folder / name for name in ("alice", "bob", "mallory")}


@pytest.fixture
def pair(room, site, ssh_keys) -> Pair:
    """Alice and bob, data protection officers and operators both, with enrolled keys."""
    from fabnet_secure.pipeline.approvers import enrol
    from fabnet_secure.pipeline.roles import set_roles

    for name in ("alice", "bob"):
        set_roles(site, name, ("dpo", "operator"))
        enrol(site, name, ssh_keys[name].with_suffix(".pub"))
    return Pair(room, ssh_keys)
