"""Quarantine: what waits is sealed, dated, and gone at its deadline, whatever a crash leaves."""

import base64
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from fabnet_secure.errors import AccessDenied, FabnetError, IntegrityFailure, UsageError
from fabnet_secure.pipeline import quarantine as journey
from fabnet_secure.pipeline.maintain import sweep
from fabnet_secure.pipeline.quarantine import Held, HeldTrack, destroy, list_held, open_held, sweep_held
from fabnet_secure.pipeline.source import Source
from fabnet_secure.pipeline.withdraw import withdraw
from fabnet_secure.store import keystore, quarantine, tracks, videos
from fabnet_secure.store.database import keystore_work, read_only
from fabnet_secure.types import TrackStatus, rfc3339
from fabnet_secure.video.detect import Detection
from fabnet_secure.video.track import Track, TrackedBox

FORTNIGHT = timedelta(days=14)


def secrets(site):
    with read_only(site.keystore) as connection:
        return [row.name for row in keystore.list_secrets(connection) if row.name.startswith("quarantine/")]


def row_of(site, video_id):
    with site.reading() as connection:
        return quarantine.get_quarantine(connection, video_id)


def statuses(site, video_id):
    with site.reading() as connection:
        return {(row.status.value, row.reason) for row in tracks.list_tracks(connection, video_id=video_id)}


def refusal(call, *arguments, kind=UsageError, **named):
    with pytest.raises(kind) as caught:
        call(*arguments, **named)
    return caught.value.code


# --- what is held


def test_what_is_held_comes_back(room, site, film, quarantined):
    """The record opens to the source, the consents, the bytes' name, the reason and where each face was."""
    consent = room.consent(site)
    video_id = quarantined(site, [consent], film, camera="door")
    held = open_held(site, video_id)
    assert (held.source.path, held.source.camera, held.named, held.reason) == (film, "door", (consent,), "crowd")
    assert [(one.first, one.last, one.boxes) for one in held.tracks] == [
        (0, 9, ((0, (1.0, 2.0, 30.5, 40.0)),)),
        (20, 29, ((20, (1.0, 2.0, 30.5, 40.0)),)),
    ]
    assert room.facts(site, "quarantine.held")["tracks"] == 2


def test_a_live_address_is_not_held():
    """Of a live source the record keeps no address, so no password either."""
    source = Source(url="rtsp://anna:geheim@10.0.0.9/door", seconds=5.0, consent_ids=("c",))
    blob = Held(source=source, named=("c",), content="x", reason="crowd", tracks=()).to_bytes()
    assert b"geheim" not in blob
    assert b"10.0.0.9" not in blob
    assert Held.from_bytes(blob).source.path is None


def test_a_path_of_any_bytes_survives_and_holds_from_anywhere(monkeypatch, tmp_path):
    """A name that is no UTF-8 comes back, and a relative path comes back absolute."""
    monkeypatch.chdir(tmp_path)
    odd = Path(os.fsdecode(b"caf\xe9\xff.mp4"))
    held = Held(source=Source(path=odd, consent_ids=()), named=(), content="", reason="", tracks=())
    assert Held.from_bytes(held.to_bytes()).source.path == tmp_path / odd


def test_a_track_is_described_by_a_few_boxes():
    """However long a track is, its ends and at most three places between them are held."""
    boxes = tuple(
        TrackedBox(index=n, detection=Detection(box=(float(n), 0.0, 9.0, 9.0), score=0.9, landmarks=((0.0, 0.0),) * 5))
        for n in range(100)
    )
    long, short = HeldTrack.of(Track(number=0, boxes=boxes)), HeldTrack.of(Track(number=1, boxes=boxes[:1]))
    assert [frame for frame, _ in long.boxes] == [0, 25, 50, 74, 99]
    assert (short.first, short.last, len(short.boxes)) == (0, 0, 1)


def test_nothing_of_the_record_is_readable_in_the_vault(room, site, film, quarantined):
    """Neither database holds the path, plain or as base64, anywhere in its files."""
    quarantined(site, [room.consent(site)], film)
    needles = (str(film).encode(), b"film.mp4", base64.b64encode(str(film).encode())[:-4])
    for path in room.place.root.glob("*.db*"):
        assert not any(needle in path.read_bytes() for needle in needles), path.name


# --- the register


def test_the_register_tells_the_state_now(room, site, film, quarantined):
    """'expired' is computed on read; nothing is opened and no path is listed."""
    video_id = quarantined(site, [room.consent(site)], film)
    (row,) = list_held(site)
    assert row == {
        "video_id": video_id, "reason": "crowd", "tracks": 2, "created_at": rfc3339(room.clock()),
        "deadline": rfc3339(room.clock() + FORTNIGHT), "state": "held", "resolved_at": None,
    }  # fmt: skip
    room.clock.forward(days=14)
    assert [row["state"] for row in list_held(site)] == ["expired"]


def test_the_period_is_the_policys(room, policy, film, quarantined):
    """A site that gives itself two days has two days."""
    hurried = policy(quarantine_period="P2D")
    quarantined(hurried, [room.consent(hurried)], film)
    assert list_held(hurried)[0]["deadline"] == rfc3339(room.clock() + timedelta(days=2))


def test_strangers_neither_list_nor_destroy(room, site, stranger, film, quarantined):
    """An account without a role is denied, and the denial is recorded."""
    video_id = quarantined(site, [room.consent(site)], film)
    for call in (lambda: list_held(stranger), lambda: destroy(stranger, video_id, video_id)):
        with pytest.raises(AccessDenied):
            call()
    assert {one.action for one in room.decisions(site) if one.outcome.value == "deny"} == {
        "quarantine_list", "quarantine_destroy",
    }  # fmt: skip
    assert row_of(site, video_id).state.value == "held"


# --- destroying


def test_destroying_destroys_key_and_record(room, site, film, quarantined):
    """The key's row goes, the record goes, tracks are erased, counts stay; the file stays where the policy keeps it."""
    video_id = quarantined(site, [room.consent(site)], film)
    sealed = row_of(site, video_id).sealed
    done = destroy(site, video_id, video_id)
    assert (done.tracks, done.disposition, done.dry_run) == (2, "keep", False)
    after = row_of(site, video_id)
    assert (after.state.value, after.sealed, after.resolved_at) == ("destroyed", None, room.clock())
    assert secrets(site) == []
    assert statuses(site, video_id) == {("erased", "operator")}
    with site.reading() as connection:
        assert videos.get_video(connection, video_id).quarantined == 2
    assert film.exists()
    assert room.acts(site)[-2:] == ["quarantine.destroyed", "access.allowed"]
    for path in room.place.root.glob("*.db*"):
        assert sealed.blob not in path.read_bytes()


def test_destroying_is_said_twice_and_can_be_rehearsed(room, site, policy, film, quarantined):
    """Without the id again nothing goes; a dry run tells what would, the file included, and changes nothing."""
    video_id = quarantined(site, [room.consent(site)], film)
    assert refusal(destroy, site, video_id, None) == "NOT_CONFIRMED"
    before = room.acts(site)
    assert destroy(site, video_id, None, dry_run=True).disposition == "keep"
    assert destroy(policy(source_disposition="delete"), video_id, None, dry_run=True).disposition == "delete_due"
    assert room.acts(site) == before
    assert open_held(site, video_id)


@pytest.mark.parametrize("wrong", ["nonsense", "5398560c-f21d-46c9-a111-a2075c6e4405", ""])
def test_what_never_waited_is_unknown(site, wrong):
    """An id of nothing, or no id, is told apart from a wait that is over."""
    assert refusal(open_held, site, wrong) == "QUARANTINE_UNKNOWN"
    assert refusal(destroy, site, wrong, wrong) == "QUARANTINE_UNKNOWN"


def test_a_wait_ends_once(room, site, film, quarantined):
    """A destroyed video is not destroyed or opened again."""
    video_id = quarantined(site, [room.consent(site)], film)
    destroy(site, video_id, video_id)
    assert refusal(destroy, site, video_id, video_id) == "QUARANTINE_OVER"
    assert refusal(open_held, site, video_id) == "QUARANTINE_OVER"


# --- deadline


def test_past_the_deadline_nothing_opens_even_without_a_sweep(room, site, film, quarantined):
    """The deadline is compared on reading."""
    video_id = quarantined(site, [room.consent(site)], film)
    room.clock.forward(days=13, hours=23)
    assert open_held(site, video_id)
    room.clock.forward(hours=1)
    assert refusal(open_held, site, video_id) == "QUARANTINE_OVER"
    assert row_of(site, video_id).state.value == "held"


def test_a_sweep_destroys_what_is_past_its_deadline(room, site, film, quarantined):
    """Key and record go, tracks are expired with their reason; the young stay; a second sweep does nothing."""
    consent = room.consent(site)
    old = quarantined(site, [consent], film)
    room.clock.forward(days=10)
    young = quarantined(site, [consent], film)
    room.clock.forward(days=4)
    assert sweep(site) == 1
    assert (row_of(site, old).state.value, row_of(site, young).state.value) == ("expired", "held")
    assert statuses(site, old) == {("expired", "crowd")}
    assert secrets(site) == [f"quarantine/{young}"]
    assert room.facts(site, "quarantine.expired")["cause"] == "deadline"
    before = room.acts(site)
    assert sweep(site) == 0
    assert room.acts(site) == before


def test_at_the_deadline_the_file_goes_where_the_policy_deletes(room, policy, film, quarantined):
    """Under 'delete' the source is deleted with its record, by its bytes; not a day before."""
    site = policy(source_disposition="delete")
    video_id = quarantined(site, [room.consent(site)], film)
    room.clock.forward(days=13)
    sweep(site)
    assert film.exists()
    room.clock.forward(days=1)
    sweep(site)
    assert not film.exists()
    with site.reading() as connection:
        assert videos.get_video(connection, video_id).disposition == "deleted"
    assert room.facts(site, "source.deleted")["bytes"] == 1500


def test_another_file_in_its_place_is_not_deleted(room, policy, film, quarantined):
    """At the deadline a file with other bytes stays, and the video says why."""
    site = policy(source_disposition="delete")
    video_id = quarantined(site, [room.consent(site)], film)
    film.write_bytes(b"another film")
    destroy(site, video_id, video_id)
    assert film.exists()
    with site.reading() as connection:
        row = videos.get_video(connection, video_id)
    assert (row.disposition, row.evidence["source"]["code"]) == ("delete_failed", "changed")


def test_bytes_that_wait_under_another_video_stay(room, policy, film, quarantined):
    """While the same file waits for another decision it is not deleted; the last to end deletes it."""
    site = policy(source_disposition="delete")
    consent = room.consent(site)
    first, second = quarantined(site, [consent], film), quarantined(site, [consent], film)
    assert destroy(site, first, first).disposition == "keep"
    assert film.exists()
    assert destroy(site, second, second).disposition == "deleted"
    assert not film.exists()


# --- consents


def test_a_withdrawal_destroys_every_record_that_names_the_consent(room, site, film, quarantined):
    """Whoever else is named with it: nothing of the video waits under a withdrawn consent."""
    ada, ben = room.consent(site), room.consent(site, subject_ref="ben")
    both, other = quarantined(site, [ada, ben], film), quarantined(site, [ben], film)
    withdraw(site, ada, confirm=ada)
    assert (row_of(site, both).state.value, row_of(site, other).state.value) == ("destroyed", "held")
    assert statuses(site, both) == {("erased", "withdrawn")}
    assert secrets(site) == [f"quarantine/{other}"]


def test_a_record_under_no_consent_in_force_is_destroyed(room, site, film, quarantined):
    """When the last consent that it names has expired nobody could release it; while one is in force it waits."""
    brief, long = room.consent(site, valid_for="P3D"), room.consent(site, subject_ref="ben")
    alone, beside = quarantined(site, [brief], film), quarantined(site, [brief, long], film)
    room.clock.forward(days=4)
    sweep(site)
    assert (row_of(site, alone).state.value, row_of(site, beside).state.value) == ("destroyed", "held")


def test_a_consent_withdrawn_before_does_not_count(room, site, film, quarantined):
    """Who was withdrawn before the video was quarantined is no reason to destroy it for the others."""
    ada, ben = room.consent(site), room.consent(site, subject_ref="ben")
    withdraw(site, ada, confirm=ada)
    room.clock.forward(seconds=1)
    video_id = quarantined(site, [ada, ben], film)
    assert sweep_held(site) == 0
    assert open_held(site, video_id)


# --- crashes


def test_a_hold_that_is_cut_off_leaves_a_key_that_is_swept(room, site, film, quarantined, monkeypatch):
    """The key is stored before the record is committed: a crash between leaves a key of nothing, which is swept."""

    def cut(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(journey.quarantine, "add_held", cut)
    with pytest.raises(KeyboardInterrupt):
        quarantined(site, [room.consent(site)], film)
    monkeypatch.undo()
    assert len(secrets(site)) == 1
    assert list_held(site) == []
    living = quarantined(site, [room.consent(site, subject_ref="ben")], film)
    sweep(site)
    assert secrets(site) == [f"quarantine/{living}"]
    assert room.facts(site, "quarantine.keys_swept") == {"keys": 1}


def test_a_destruction_that_is_cut_off_is_never_called_one(room, site, film, quarantined, monkeypatch):
    """With the key gone and the entry not written the video is held, opens no more, and the next sweep ends it."""

    def cut(*arguments, **named):
        raise KeyboardInterrupt

    video_id = quarantined(site, [room.consent(site)], film)
    monkeypatch.setattr(journey.quarantine, "resolve", cut)
    with pytest.raises(KeyboardInterrupt):
        destroy(site, video_id, video_id)
    monkeypatch.undo()
    assert "quarantine.destroyed" not in room.acts(site)
    assert row_of(site, video_id).state.value == "held"
    assert refusal(open_held, site, video_id, kind=IntegrityFailure) == "QUARANTINE_KEY_GONE"
    assert sweep_held(site) == 1
    assert row_of(site, video_id).state.value == "destroyed"
    assert room.acts(site).count("quarantine.destroyed") == 1


def test_a_withdrawal_cut_off_in_a_record_s_destruction_is_finished_by_another(
    room, site, film, quarantined, monkeypatch
):
    """Killed between the record's key and its row: the withdrawal run again leaves nothing held."""

    def cut(*arguments, **named):
        raise KeyboardInterrupt

    consent = room.consent(site)
    video_id = quarantined(site, [consent], film)
    with monkeypatch.context() as patch:
        patch.setattr(journey.quarantine, "resolve", cut)
        with pytest.raises(KeyboardInterrupt):
            withdraw(site, consent, confirm=consent)
    assert secrets(site) == []
    assert withdraw(site, consent, confirm=consent).outcome == "complete"
    assert row_of(site, video_id).state.value == "destroyed"


def test_a_record_without_its_key_goes_at_its_deadline(room, policy, film, quarantined):
    """It tells of no file, so none is deleted; the wait ends all the same."""
    site = policy(source_disposition="delete")
    video_id = quarantined(site, [room.consent(site)], film)
    with keystore_work(site.keystore) as connection:
        keystore.delete_secret(connection, f"quarantine/{video_id}")
    assert destroy(site, video_id, None, dry_run=True).disposition == "keep"
    room.clock.forward(days=14)
    assert sweep_held(site) == 1
    assert film.exists()


def test_a_record_moved_to_another_video_does_not_open(room, site, film, quarantined):
    """Record and key belong to one video: exchanged rows are found."""
    consent = room.consent(site)
    one, other = quarantined(site, [consent], film), quarantined(site, [consent], film)
    foreign = replace(row_of(site, one), sealed=row_of(site, other).sealed)
    with pytest.raises(FabnetError) as caught:
        journey._opened(site, foreign)
    assert caught.value.code == "SEAL_BROKEN"


def test_a_sweep_beside_another_one_does_not_stumble(room, site, film, quarantined, monkeypatch):
    """A record that another process let go between looking and locking is simply not counted."""
    video_id = quarantined(site, [room.consent(site)], film)
    room.clock.forward(days=14)
    real, done = journey._end, []

    def late(*arguments, **named):
        if not done:
            done.append(True)
            real(*arguments, **named)
        return real(*arguments, **named)

    monkeypatch.setattr(journey, "_end", late)
    assert sweep_held(site) == 0
    assert row_of(site, video_id).state.value == "expired"
    assert statuses(site, video_id) == {(TrackStatus.EXPIRED.value, "crowd")}
