"""Duties apart by key: a real ingest under a keyring that can read nothing back, over the whole vault."""

import itertools

import pytest

from fabnet_secure.config import load
from fabnet_secure.crypto.envelope import Context, DataKey, unseal
from fabnet_secure.errors import FabnetError, KeyProblem
from fabnet_secure.pipeline import context
from fabnet_secure.pipeline.context import Place, open_site
from fabnet_secure.store import bundles, consents, embeddings, keystore, openings, tracks
from fabnet_secure.store.database import opening_context, read_only
from fabnet_secure.types import KeyDomain, new_id


@pytest.fixture
def camera(home, ok, monkeypatch):
    """Return a function that makes this process the account ``camera`` with an ingestor's keyring."""

    def become():
        key = home.folder / "camera.key"
        half = ok("keys", "new", str(key))["public_key"]
        ok("policy", "grant", "camera", "--role", "ingestor")
        ok("keys", "grant", "camera", "--role", "ingestor", "--public-key", half)
        monkeypatch.setattr(context, "os_account", lambda: "camera")
        monkeypatch.setenv("FABNET_KEY_FILE", str(key))
        return key

    return become


def sealed_rows(connection):
    """Yield every sealed row of the vault with the context that it is bound to."""
    for row in tracks.list_tracks(connection):
        tracklet = tracks.get_tracklet(connection, row.track_id)
        if tracklet is not None:
            where = {"subject": str(row.subject_id), "consent": str(row.consent_id), "track": row.track_id}
            yield Context(format="tracklet/1", **where, n=tracklet.n, dim=tracklet.size), tracklet.sealed
    for record, _ in consents.list_consents(connection):
        for page in embeddings.pages_of_consent(connection, record.consent_id):
            yield page.context, page.sealed
        reference = consents.get_sealed_reference(connection, record.subject_id)
        if reference is not None:
            yield Context(format="identity/1", subject=record.subject_id), reference
    for row in openings.list_openings(connection):
        place = opening_context(
            leaf_index=row.leaf_index, position=row.position, subject_id=row.subject_id, consent_id=row.consent_id
        )
        yield place, row.sealed


def test_an_ingestor_adds_and_reads_nothing_back(home, trained, clips, camera, ok, consent_of, program):
    """With its keyring and the whole vault: a real ingest works, and no row opens, not even those it just wrote."""
    added = ok(*consent_of("dan@example.org"))
    eve = ok(*consent_of("eve@example.org"))
    key = camera()
    done = ok("ingest", str(clips / "dan.mp4"), "--consent", added["consent_id"])
    assert done["track_ids"]
    held = program("ingest", str(clips / "two.mp4"), "--consent", eve["consent_id"])
    assert held.status in (0, 3)
    with open_site(Place(root=home.vault, key_file=key), load().settings) as site:
        assert site.keyring.domains == {KeyDomain.LOG}
        with read_only(site.keystore) as connection:
            wrapped = keystore.list_keys(connection)
            secrets = keystore.list_secrets(connection)
        for one in wrapped:
            with pytest.raises(KeyProblem, match="does not open"):
                site.keyring.unwrap(one)
        assert {row.name for row in secrets if _opens(site, row)} == {"log_signing", "index"}
        in_hand = [site.place.open_key(), *site.keyring.domain_keys(site.keyring.newest).values()]
        in_hand += [DataKey(site.index_key), DataKey(site.log_signer.seed)]
        with site.reading() as connection:
            rows = list(sealed_rows(connection))
            mine = {track for track in done["track_ids"] if tracks.get_tracklet(connection, track)}
            packed = bundles.list_segments(connection)
            waiting = embeddings.list_waiting(connection)
        kinds = {place.format for place, _ in rows}
        assert {"tracklet/1", "identity/1", "opening/1"} < kinds
        assert mine or any(one.track_id in done["track_ids"] for one in waiting)
        assert packed or waiting
        for (place, sealed), one in itertools.product(rows, in_hand):
            with pytest.raises(FabnetError):
                unseal(DataKey(one.reveal()), place, sealed)
    said = program("query", "similar", "--track", trained.tracks["ada"][0], "--purpose", "query_internal")
    assert said.status in (12, 21)


def _opens(site, row):
    try:
        return bool(site.keyring.unwrap_secret(row))
    except KeyProblem:
        return False


def test_what_an_ingestor_added_is_there_for_whoever_may(home, trained, clips, camera, ok, consent_of, monkeypatch):
    """The trainer's and the analyst's part goes on with it: opened, embedded and found."""
    root = home.key
    added = ok(*consent_of("dan@example.org"))
    camera()
    done = ok("ingest", str(clips / "dan.mp4"), "--consent", added["consent_id"])
    monkeypatch.undo()
    with home.entered():
        monkeypatch.setenv("FABNET_KEY_FILE", str(root))
        ok("embed", "--model", trained.model)
        assert ok("query", "similar", "--track", done["track_ids"][0], "--purpose", "query_internal")
        assert ok("keys", "rekey")["holders"] == 1
        assert ok("query", "similar", "--track", done["track_ids"][0], "--purpose", "query_internal")


@pytest.fixture
def become(home, ok, monkeypatch):
    """Return a function that makes this process an account with one role, by policy and by key."""

    def change(role):
        monkeypatch.undo()
        with home.entered():
            key = home.folder / f"{role}-{new_id()}.key"
            half = ok("keys", "new", str(key))["public_key"]
            ok("policy", "grant", f"our-{role}", "--role", role)
            ok("keys", "grant", f"our-{role}", "--role", role, "--public-key", half)
        monkeypatch.chdir(home.folder)
        monkeypatch.setenv("FABNET_VAULT", str(home.vault))
        monkeypatch.setenv("FABNET_KEY_FILE", str(key))
        monkeypatch.setattr(context, "os_account", lambda: f"our-{role}")

    return change


SIMILAR = ("query", "similar", "--purpose", "query_internal", "--track")


def test_every_role_does_its_duty_with_its_own_keyring(home, trained, become, ok, program):
    """Training, embedding, searching, withdrawing, reporting, verifying: each with no more keys than it needs."""
    ada, ben = trained.tracks["ada"][0], trained.consents["ben"]
    become("trainer")
    assert ok("train", "run", "--plan", trained.long_plan)["model_id"]
    assert program(*SIMILAR, ada).status in (12, 21)
    become("analyst")
    assert ok(*SIMILAR, ada)
    assert program("train", "run", "--plan", trained.plan).status in (12, 21)
    become("auditor")
    assert ok("audit", "verify")
    assert ok("keys", "list")
    assert program("subject", "withdraw", ben, "--confirm", ben).status == 21
    become("dpo")
    assert ok("subject", "withdraw", ben, "--confirm", ben)["outcome"] == "complete"
    assert ok("report", "erasure", "--out", "erasure.json")
    assert program(*SIMILAR, ada).status in (12, 21)
    become("operator")
    assert ok("quarantine", "list") is not None
    assert program("keys", "rekey").last["code"] == "KEY_NOT_ROOT"
    become("analyst")
    assert ok(*SIMILAR, ada)
