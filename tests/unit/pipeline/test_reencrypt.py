"""Exchanging every data key: all that rests opens again, nothing is unreadable meanwhile, old keys open nothing."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from fabnet_secure.config import load
from fabnet_secure.crypto.envelope import Context, Sealed, unseal
from fabnet_secure.errors import AccessDenied, FabnetError, IntegrityFailure, KeyProblem
from fabnet_secure.pipeline import reencrypt as pipeline
from fabnet_secure.pipeline.context import open_site
from fabnet_secure.pipeline.coverage import find_consent
from fabnet_secure.pipeline.embed import Encoder, open_tracklet, seal_page
from fabnet_secure.pipeline.openable import check_openable
from fabnet_secure.pipeline.pages import census_of, open_keys
from fabnet_secure.pipeline.reencrypt import reencrypt
from fabnet_secure.pipeline.rekey import rekey
from fabnet_secure.pipeline.withdraw import withdraw
from fabnet_secure.store import consents, embeddings, keystore, meta, models, openings, tracks
from fabnet_secure.store.database import read_only
from fabnet_secure.types import Domain, new_id


@pytest.fixture
def people(room, site):
    """Three people with a consent, crops and a waiting page of embeddings each; one with two tracks."""
    model_id = _model(room, site)
    found = {}
    for name in ("ada", "ben", "cleo"):
        consent = room.consent(site, subject_ref=name)
        found[name] = (consent, room.track(site, consent))
        _embedded(site, model_id, *found[name])
    room.track(site, found["ada"][0])
    return found


def _model(room, site):
    model_id = new_id()
    with site.work() as work:
        row = models.ModelRow(
            model_id=model_id,
            run_id=None,
            kind=models.ModelKind.PUBLIC,
            status=models.ModelStatus.ACTIVE,
            weights_sha256="ab" * 32,
            card={},
            created_at=room.clock(),
            decision_due=None,
        )
        models.add_model(work.connection, row)
        work.log("test.model", facts={})
    return model_id


class Plain(Encoder):
    """An encoder that sees nothing."""

    def encode(self, crops):
        return np.full((len(crops), 4), 0.5, np.float16)


def _embedded(site, model_id, consent, track):
    with site.work() as work:
        record, _ = find_consent(work.connection, consent)
        encoder = Plain(model_id=model_id, model=None)
        crops = np.zeros((2, 64, 64, 3), np.uint8)
        seal_page(site, work, record=record, track_id=track, frames=(1, 5), crops=crops, encoder=encoder)
        work.log("test.page", facts={})


def keys_now(site):
    with read_only(site.keystore) as connection:
        return keystore.list_keys(connection)


def everything_opens(site):
    """Open every sealed row there is; return how many."""
    result = check_openable(site, None)
    assert result.shut == 0
    with site.reading() as connection:
        embeddings.check(connection, census_of(site))
        for track in tracks.list_tracks(connection):
            tracklet = tracks.get_tracklet(connection, track.track_id)
            if tracklet is not None:
                assert open_tracklet(site, track, tracklet).max() == 7
    return result.opened


def code_of(act, *arguments, kind=FabnetError, **named):
    with pytest.raises(kind) as caught:
        act(*arguments, **named)
    return caught.value.code


def test_all_that_rests_opens_under_fresh_keys_alone(room, site, people):
    """Crops, pages, openings and references; every key is another, the old ones are destroyed and open nothing."""
    before = {key.key_id: site.keyring.unwrap(key) for key in keys_now(site)}
    rows = everything_opens(site)
    done = reencrypt(site)
    assert (done.reencrypted, done.rows, done.epoch) == (len(before), rows, 1)
    after = keys_now(site)
    assert len(after) == len(before)
    assert not before.keys() & {key.key_id for key in after}
    assert everything_opens(site) == rows
    with read_only(site.keystore) as connection:
        assert all(keystore.is_destroyed(connection, key_id) for key_id in before)
        assert keystore.list_keys(connection, pending=True) == []
    consent, _ = people["ada"]
    with site.reading() as connection:
        for page in embeddings.pages_of_consent(connection, consent):
            for old in before.values():
                assert code_of(unseal, old, page.context, page.sealed, kind=IntegrityFailure)
        names = meta.list_meta(connection)
    assert {name for name in names if name.startswith("key/")} >= {f"key/{key.key_id}" for key in after}
    assert not {name for name in names if name.startswith("key/")} & {f"key/{key_id}" for key_id in before}
    assert room.facts(site, "keys.reencrypted") == {"keys": len(before), "rows": rows, "epoch": 1}
    room.track(site, consent)
    assert everything_opens(site) > rows


CUTS = {
    "begun": ("_mint", False),
    "some_minted": ("_fresh", True),
    "all_minted": ("prove", False),
    "some_rows": ("_anew", True),
    "before_the_exchange": ("_pairs", True),
    "at_the_end": ("_end", False),
}


@pytest.mark.parametrize("step", CUTS)
@pytest.mark.parametrize("times", [1, 5], ids=["first", "fifth"])
def test_a_killed_exchange_loses_nothing_and_the_same_command_finishes_it(room, site, people, monkeypatch, step, times):
    """SIGKILL at any step: everything opens at once, for writing too, and another run exchanges every key."""
    monkeypatch.setattr(pipeline, "AT_ONCE", 2)
    monkeypatch.setattr(pipeline, "_MINTED_AT_ONCE", 3)
    before = {key.key_id for key in keys_now(site)}
    room.stack.close()
    name, after = CUTS[step]
    child = os.fork()
    if child == 0:
        real, calls = getattr(pipeline, name), []

        def cut(*arguments, **named):
            calls.append(1)
            if after:
                real_answer = real(*arguments, **named)
            if len(calls) == times:
                os.kill(os.getpid(), signal.SIGKILL)
            return real_answer if after else real(*arguments, **named)

        setattr(pipeline, name, cut)
        try:
            with open_site(room.place, load([]).settings, clock=room.clock) as mine:
                reencrypt(mine)
            os._exit(0)
        finally:
            os._exit(1)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert ended == -signal.SIGKILL or (times == 5 and ended == 0)
    with open_site(room.place, load([]).settings, clock=room.clock) as between:
        rows = everything_opens(between)
        consent, _ = people["ben"]
        room.track(between, consent)
        assert everything_opens(between) > rows
        reencrypt(between)
        assert everything_opens(between) > rows
        assert not before & {key.key_id for key in keys_now(between)}
        with read_only(between.keystore) as connection:
            assert keystore.list_keys(connection, pending=True) == []


def test_readers_and_writers_beside_it_meet_no_closed_row(room, site, people, monkeypatch):
    """Asked between any two of its transactions, everything opens and new rows can be written."""
    monkeypatch.setattr(pipeline, "AT_ONCE", 2)
    beside = room.open()
    real, asked = pipeline._pass, []

    def between(*arguments):
        consent, _ = people["ada"]
        if len(asked) < 3:
            room.track(beside, consent)
        asked.append(everything_opens(beside))
        answer = real(*arguments)
        asked.append(everything_opens(beside))
        return answer

    monkeypatch.setattr(pipeline, "_pass", between)
    reencrypt(site)
    assert len(asked) > 10
    everything_opens(beside)


def test_a_row_that_was_written_meanwhile_goes_with_the_others(room, site, people, monkeypatch):
    """Sealed to the old public half after its rows were done: the next pass takes it along before the exchange."""
    consent, _ = people["ada"]
    real, written = pipeline._pass, []

    def late(inner, chunk):
        answer = real(inner, chunk)
        if answer[0] and not written:
            written.append(room.track(inner, consent))
        return answer

    monkeypatch.setattr(pipeline, "_pass", late)
    reencrypt(site)
    assert written
    everything_opens(site)


def test_a_withdrawal_meanwhile_takes_both_keys(room, site, people, monkeypatch):
    """Whatever its plan said: no key of the person is left, and the rest is exchanged."""
    monkeypatch.setattr(pipeline, "AT_ONCE", 2)
    gone, _ = people["ben"]
    real, withdrawn = pipeline._pass, []

    def between(*arguments):
        answer = real(*arguments)
        if not withdrawn:
            withdrawn.append(withdraw(room.open(), gone, confirm=gone))
        return answer

    monkeypatch.setattr(pipeline, "_pass", between)
    reencrypt(site)
    assert withdrawn[0].outcome == "complete"
    with read_only(site.keystore) as connection:
        assert keystore.keys_of_consent(connection, gone) == []
        assert keystore.list_keys(connection, pending=True) == []
    with site.reading() as connection:
        assert openings.list_openings(connection, consent_id=gone) == []
    assert check_openable(site, None).shut == 0


def test_a_changed_row_stops_it_and_nothing_is_lost(room, site, people):
    """A row that opens under no key is said (30); the others opened before and do after."""
    _, track = people["cleo"]
    with site.work() as work:
        blob = bytearray(tracks.get_tracklet(work.connection, track).sealed.blob)
        blob[-1] ^= 1
        tracks.replace_tracklet(work.connection, track, Sealed.from_storage(bytes(blob)))
        work.log("test.harm", facts={})
    assert code_of(reencrypt, site, kind=IntegrityFailure) == "SEAL_BROKEN"
    _, other = people["ada"]
    with site.reading() as connection:
        row = tracks.get_track(connection, other)
        assert open_tracklet(site, row, tracks.get_tracklet(connection, other)).max() == 7


def test_references_of_people_open_under_their_fresh_key(room, site, people):
    """The sealed name is sealed anew too, and found by its index as before."""
    reencrypt(site)
    with site.reading() as connection:
        record, _ = find_consent(connection, people["ada"][0])
        sealed = consents.get_sealed_reference(connection, record.subject_id)
    with read_only(site.keystore) as connection:
        key = keystore.find_key(connection, record.subject_id, None, Domain.IDENTITY)
    place = Context(format="identity/1", subject=record.subject_id)
    assert unseal(site.keyring.unwrap(key), place, sealed) == b"ada"


def test_keys_of_pages_are_both_at_hand_while_they_are_exchanged(room, site, people, monkeypatch):
    """What a search opens takes either key."""
    seen = []
    real = pipeline._pass

    def between(inner, chunk):
        keys = open_keys(inner, [people["ada"][0]])
        seen.append((len(keys.living), len(keys.second)))
        return real(inner, chunk)

    monkeypatch.setattr(pipeline, "_pass", between)
    reencrypt(site)
    assert seen
    assert set(seen) == {(1, 1)}


def test_both_renewals_go_together(room, site, people):
    """An exchange that was cut off goes on after a renewal of the epoch, and opens everything."""
    pipeline._mint(site)
    rekey(site)
    again = room.open()
    rows = everything_opens(again)
    assert reencrypt(again).reencrypted > 0
    assert everything_opens(again) == rows


def test_a_dry_run_counts_and_who_may_not_does_not(room, site, people, stranger):
    """Nothing is changed by either."""
    before = keys_now(site)
    assert reencrypt(site, dry_run=True).reencrypted == len(before)
    assert code_of(reencrypt, stranger, kind=AccessDenied)
    assert keys_now(site) == before


def test_it_takes_the_root(room, site, people):
    """A role's keyring exchanges no keys."""
    assert code_of(reencrypt, replace(site, root_key=None), kind=KeyProblem) == "KEY_NOT_ROOT"
