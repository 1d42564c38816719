"""Release: the same file, a person's word, consents required anew; what fails leaves the video held."""

import pytest

from fabnet_secure.errors import AccessDenied, NoEffectiveConsent, UnreadableSource, UsageError
from fabnet_secure.pipeline import release as journey
from fabnet_secure.pipeline.quarantine import destroy, list_held
from fabnet_secure.pipeline.release import look, release
from fabnet_secure.pipeline.source import BoxClaim, Outcome
from fabnet_secure.progress import Silent
from fabnet_secure.store import keystore, tracks, videos
from fabnet_secure.store.database import read_only
from fabnet_secure.types import new_id


class Ingest:
    """Stands for the ingest journey: keeps what it was asked, gives the outcome it was told, commits on 'ingested'."""

    def __init__(self, room):
        self.room, self.sources, self.status, self.error, self.disposition = room, [], "ingested", None, "keep"
        self.video_id, self.chosen = new_id(), None

    def __call__(self, site, sources, *, progress, dry_run, choose):
        assert progress is not None
        (source,) = sources
        self.sources.append((source, dry_run))
        try:
            self.chosen = choose and choose("observation", "declared")
        except UsageError as error:
            return (Outcome(source=source, status="refused", error=error),)
        if self.status == "ingested" and not dry_run:
            self.commit(site, source)
        outcome = Outcome(
            source=source,
            status=self.status,
            video_id=self.video_id,
            bound=1,
            disposition=self.disposition,
            error=self.error,
        )
        return (outcome,)

    def commit(self, site, source):
        row = videos.VideoRow(
            video_id=self.video_id,
            fingerprint=new_id(),
            content=journey.content_of(site, source.path),
            status=videos.VideoStatus.INGESTED,
            frames_read=30,
            frames_persisted=0,
            detected=2,
            bound=1,
            dropped=1,
            quarantined=0,
            drop_reasons={"unbound": 1},
            policy_sha256=site.policy_sha256,
            disposition=self.disposition,
            ingested_at=self.room.clock(),
        )
        with site.work() as work:
            videos.add_video(work.connection, row)
            work.log("ingest.completed", facts={})


@pytest.fixture
def ingest(room, monkeypatch):
    """Put the stand-in in the ingest journey's place."""
    stand_in = Ingest(room)
    monkeypatch.setattr(journey, "ingest", stand_in)
    return stand_in


@pytest.fixture
def claim(room, site):
    """The operator's word on one face, and the consent that it names."""
    return BoxClaim(consent_id=room.consent(site), frame=3, box=(1.0, 2.0, 30.0, 40.0))


def go(site, video_id, **named):
    return release(site, video_id, progress=Silent(), **named)


def state(site):
    return [row["state"] for row in list_held(site)]


def secrets(site):
    with read_only(site.keystore) as connection:
        return [row.name for row in keystore.list_secrets(connection) if row.name.startswith("quarantine/")]


def test_a_release_ingests_the_same_source_by_the_operators_word(room, site, film, quarantined, ingest, claim):
    """The source is as it was named, marked released, with the assignment; then nothing is held of it any more."""
    video_id = quarantined(site, [claim.consent_id], film, camera="door")
    outcome = go(site, video_id, boxes=[claim])
    assert (outcome.status, outcome.video_id) == ("ingested", ingest.video_id)
    ((source, dry_run),) = ingest.sources
    assert (source.path, source.camera, source.boxes, source.released) == (film, "door", (claim,), True)
    assert (source.consent_ids, dry_run) == ((claim.consent_id,), False)
    assert state(site) == ["released"]
    assert secrets(site) == []
    with site.reading() as connection:
        old = tracks.list_tracks(connection, video_id=video_id)
    assert {(row.status.value, row.reason) for row in old} == {("dropped", "released")}
    assert room.acts(site)[-2:] == ["quarantine.released", "access.allowed"]
    assert "quarantine_release" in {one.action for one in room.decisions(site)}


def test_a_second_release_is_refused(site, film, quarantined, ingest, claim):
    """What was released or destroyed waits no more, and the answer says which."""
    video_id, other = (quarantined(site, [claim.consent_id], film) for _ in range(2))
    go(site, video_id, boxes=[claim])
    destroy(site, other, other)
    for one, word in ((video_id, "released"), (other, "destroyed")):
        with pytest.raises(UsageError, match=word) as caught:
            go(site, one, boxes=[claim])
        assert caught.value.code == "QUARANTINE_OVER"
    assert len(ingest.sources) == 1


def test_past_the_deadline_nothing_is_released(room, site, film, quarantined, ingest, claim):
    """Even where no sweep ran."""
    video_id = quarantined(site, [claim.consent_id], film)
    room.clock.forward(days=14)
    with pytest.raises(UsageError) as caught:
        go(site, video_id, boxes=[claim])
    assert caught.value.code == "QUARANTINE_OVER"
    assert ingest.sources == []


@pytest.mark.parametrize("status", ["refused", "quarantined"])
def test_a_release_that_fails_leaves_the_video_held(room, site, film, quarantined, ingest, claim, status):
    """A refusal (a consent that is not in force, a box on nobody) comes back as it is, and everything still waits."""
    video_id = quarantined(site, [claim.consent_id], film)
    ingest.status, ingest.error = status, NoEffectiveConsent("no", code="CONSENT_WITHDRAWN")
    before = room.acts(site)
    assert go(site, video_id, boxes=[claim]).error is ingest.error
    assert state(site) == ["held"]
    assert len(secrets(site)) == 1
    assert room.acts(site) == before


def test_a_rehearsal_changes_nothing(room, site, film, quarantined, ingest, claim):
    """A dry run asks ingest for a dry run, and the video still waits."""
    video_id = quarantined(site, [claim.consent_id], film)
    before = room.acts(site)
    assert go(site, video_id, boxes=[claim], dry_run=True).status == "ingested"
    assert ingest.sources[0][1]
    assert state(site) == ["held"]
    assert room.acts(site) == before


def test_nobody_said_is_nobody_released(site, film, quarantined, ingest, claim):
    """Without a box and without an answer nothing is ingested: the policy would quarantine it again."""
    video_id = quarantined(site, [claim.consent_id], film)
    with pytest.raises(UsageError) as caught:
        go(site, video_id)
    assert caught.value.code == "ASSIGNMENT_MISSING"
    assert go(site, video_id, choose=lambda *_: ()).error.code == "ASSIGNMENT_MISSING"
    assert state(site) == ["held"]
    go(site, video_id, choose=lambda observation, declared: (observation, declared))
    assert ingest.chosen == ("observation", "declared")
    assert state(site) == ["released"]


def test_another_file_is_not_released(site, film, quarantined, ingest, claim):
    """The bytes must be those that were quarantined; the same bytes put back are."""
    video_id = quarantined(site, [claim.consent_id], film)
    before = film.read_bytes()
    film.write_bytes(b"another film")
    with pytest.raises(UnreadableSource) as caught:
        go(site, video_id, boxes=[claim])
    assert caught.value.code == "SOURCE_CHANGED"
    film.unlink()
    with pytest.raises(UnreadableSource) as caught:
        go(site, video_id, boxes=[claim])
    assert caught.value.code == "SOURCE_GONE"
    assert str(film) not in f"{caught.value} {caught.value.hint}"
    film.write_bytes(before)
    assert go(site, video_id, boxes=[claim]).status == "ingested"


def test_a_live_capture_is_not_released(site, room, quarantined, ingest, claim):
    """It cannot be read again; it can be destroyed."""
    video_id = quarantined(site, [claim.consent_id], None, url="rtsp://camera/door")
    with pytest.raises(UsageError) as caught:
        go(site, video_id, boxes=[claim])
    assert caught.value.code == "LIVE_NOT_RELEASABLE"
    destroy(site, video_id, video_id)
    assert state(site) == ["destroyed"]


def test_strangers_release_nothing(stranger, site, film, quarantined, ingest, claim):
    """An account without a role neither looks at a record nor releases it."""
    video_id = quarantined(site, [claim.consent_id], film)
    for call in (lambda: look(stranger, video_id), lambda: go(stranger, video_id, boxes=[claim])):
        with pytest.raises(AccessDenied):
            call()
    assert look(site, video_id).named == (claim.consent_id,)
    assert ingest.sources == []


def test_a_released_file_goes_where_the_policy_deletes(policy, film, quarantined, ingest, claim):
    """While it waits the file stays; once it is released it goes like that of any ingested video."""
    site = policy(source_disposition="delete")
    video_id = quarantined(site, [claim.consent_id], film)
    ingest.disposition = "delete_due"  # as ingest leaves it while the same bytes wait
    assert go(site, video_id, boxes=[claim]).disposition == "deleted"
    assert not film.exists()


def test_a_release_cut_off_after_the_ingest_is_finished_by_another(
    policy, film, quarantined, ingest, claim, monkeypatch
):
    """The video is ingested once; the second release ends the wait, also where the file is gone by then."""

    def cut(*arguments):
        raise KeyboardInterrupt

    site = policy(source_disposition="delete")
    video_id = quarantined(site, [claim.consent_id], film)
    real = journey.forget_released
    monkeypatch.setattr(journey, "forget_released", cut)
    with pytest.raises(KeyboardInterrupt):
        go(site, video_id, boxes=[claim])
    monkeypatch.setattr(journey, "forget_released", real)
    assert state(site) == ["held"]
    film.unlink()
    assert go(site, video_id, boxes=[claim], dry_run=True).status == "skipped"
    assert state(site) == ["held"]
    again = go(site, video_id, boxes=[claim])
    assert (again.status, again.video_id) == ("skipped", ingest.video_id)
    assert (state(site), len(ingest.sources)) == (["released"], 1)


def test_an_ingest_that_was_skipped_ends_the_wait_too(site, film, quarantined, ingest, claim):
    """The file was ingested under the same word before: nothing is left to wait for."""
    video_id = quarantined(site, [claim.consent_id], film)
    ingest.status = "skipped"
    assert go(site, video_id, boxes=[claim]).status == "skipped"
    assert state(site) == ["released"]
