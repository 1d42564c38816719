"""Granting, revoking, listing keyrings, and destroying one key with two people."""

from dataclasses import replace

import pytest

from fabnet_secure.config import load
from fabnet_secure.crypto.keyfile import create_key_file
from fabnet_secure.errors import AccessDenied, FabnetError, KeyProblem, NoEffectiveConsent, UsageError
from fabnet_secure.pipeline import context, keys
from fabnet_secure.pipeline.context import open_site
from fabnet_secure.pipeline.embed import open_tracklet
from fabnet_secure.pipeline.rekey import rekey
from fabnet_secure.pipeline.roles import set_roles
from fabnet_secure.store import keystore, tracks
from fabnet_secure.store.database import read_only
from fabnet_secure.types import Domain, KeyDomain


@pytest.fixture
def ada(room):
    """The public half of Ada's own key file."""
    return create_key_file(room.folder / "ada.key").public.raw


def code_of(act, *arguments, kind=FabnetError, **named):
    with pytest.raises(kind) as caught:
        act(*arguments, **named)
    return caught.value.code


def test_a_grant_says_what_it_gave(room, site, ada):
    """Roles sorted, their domains, who lacks which role; in the log without a name, before it is done."""
    done = keys.grant(site, "ada", ("trainer", "analyst", "trainer"), ada)
    assert (done.holder.roles, done.epoch) == (("analyst", "trainer"), 1)
    assert done.holder.domains == (KeyDomain.EMBEDDINGS, KeyDomain.LOG, KeyDomain.TRACKLETS)
    assert done.missing_roles == ("analyst", "trainer")
    facts = room.facts(site, "keys.granted")
    assert facts["domains"] == ["embeddings", "log", "tracklets"]
    assert "ada" not in str(facts)
    set_roles(site, "ada", ("trainer",))
    assert keys.grant(site, "ada", ("trainer",), ada).missing_roles == ()


def test_a_second_grant_takes_the_place_of_the_first(room, site, ada, monkeypatch):
    """Other roles, another key: the former key opens nothing any more."""
    keys.grant(site, "ada", ("dpo",), ada)
    other = create_key_file(room.folder / "other.key").public.raw
    keys.grant(site, "ada", ("trainer",), other)
    (held,) = keys.overview(site).holders
    assert (held.holder.public, held.holder.roles, held.proven) == (other, ("trainer",), True)
    monkeypatch.setattr(context, "os_account", lambda: "ada")
    for name, opens in (("ada", False), ("other", True)):
        place = replace(room.place, key_file=room.folder / f"{name}.key")
        opening = open_site(place, load([]).settings, clock=room.clock)
        if opens:
            with opening as mine:
                assert mine.keyring.domains == {KeyDomain.LOG, KeyDomain.TRACKLETS}
        else:
            assert code_of(opening.__enter__, kind=KeyProblem) == "KEY_WRONG"


@pytest.mark.parametrize(
    ("account", "roles", "public", "code"),
    [
        ("Ada!", ("trainer",), bytes(32), "ACCOUNT_INVALID"),
        ("ada", ("emperor",), bytes(32), "ROLE_UNKNOWN"),
        ("ada", (), bytes(32), "ROLE_UNKNOWN"),
        ("ada", ("trainer",), bytes(31), "PUBLIC_KEY_INVALID"),
        ("ada", ("trainer",), b"", "PUBLIC_KEY_INVALID"),
    ],
    ids=["account", "role", "no_role", "short", "empty"],
)
def test_what_cannot_be_granted(room, site, account, roles, public, code):
    """Refused before anything is written."""
    before = room.acts(site)
    assert code_of(keys.grant, site, account, roles, public, kind=UsageError) == code
    assert (room.acts(site), keys.overview(site).holders) == (before, ())


def test_a_key_is_one_principals(room, site, ada):
    """Neither the root's own nor another's is granted anything."""
    keys.grant(site, "ada", ("trainer",), ada)
    assert code_of(keys.grant, site, "bob", ("dpo",), ada) == "PUBLIC_KEY_TAKEN"
    assert code_of(keys.grant, site, "bob", ("dpo",), site.root_key.public.raw) == "PUBLIC_KEY_TAKEN"


def test_an_unusable_public_key_is_refused_and_nothing_is_held(room, site):
    """A point of small order, which seals to nobody."""
    assert code_of(keys.grant, site, "ada", ("trainer",), bytes(32)) == "KEY_FORMAT"
    assert keys.overview(site).holders == ()


def test_a_key_is_made_only_where_it_would_be_granted(room, site):
    """What makes one is asked after every other check, and not by a dry run."""
    made = []

    def make():
        made.append(1)
        return create_key_file(room.folder / "new.key").public.raw

    assert code_of(keys.grant, site, "ada", ("emperor",), make) == "ROLE_UNKNOWN"
    assert keys.grant(site, "ada", ("trainer",), make, dry_run=True).holder.roles == ("trainer",)
    assert made == []
    keys.grant(site, "ada", ("trainer",), make)
    assert made == [1]


def test_a_dry_run_grants_and_revokes_nothing(room, site, ada):
    """The log and the holders stay."""
    keys.grant(site, "ada", ("trainer",), ada)
    before, held = room.acts(site), keys.overview(site).holders
    keys.grant(site, "bob", ("dpo",), create_key_file(room.folder / "bob.key").public.raw, dry_run=True)
    keys.revoke(site, "ada", dry_run=True)
    keys.revoke(site, "ada", rekeyed=True, dry_run=True)
    assert (room.acts(site), keys.overview(site).holders) == (before, held)


def test_revoking_is_logged_and_may_be_repeated(room, site, ada):
    """A second time says so; an unknown account is refused; the row stays as a record."""
    keys.grant(site, "ada", ("trainer",), ada)
    assert not keys.revoke(site, "ada").already
    assert keys.revoke(site, "ada").already
    assert code_of(keys.revoke, site, "bob") == "HOLDER_UNKNOWN"
    (held,) = keys.overview(site).holders
    assert held.holder.revoked_at == room.clock()
    assert room.acts(site).count("keys.revoked") == 2


def test_revoking_with_a_renewal_leaves_what_was_copied_nothing_to_open(room, site, ada):
    """The revoked holder gets no new keys; whoever is left does."""
    keys.grant(site, "ada", ("trainer",), ada)
    keys.grant(site, "bob", ("analyst",), create_key_file(room.folder / "bob.key").public.raw)
    done = keys.revoke(site, "ada", rekeyed=True)
    assert (done.rekeyed.destroyed_epoch, done.rekeyed.holders) == (1, 1)
    again = room.open()
    assert {one.holder.name: one.holder.revoked_at is None for one in keys.overview(again).holders} == {
        "ada": False,
        "bob": True,
    }


def test_the_overview_tells_the_epochs_age(room, site):
    """Every epoch, the present one's due date, the policy's period."""
    room.clock.forward(days=3)
    rekey(site)
    found = keys.overview(room.open())
    assert [(one.number, one.destroyed_at is None) for one in found.epochs] == [(1, False), (2, True)]
    assert (found.due_at - room.clock()).days == 30
    assert found.rotation_period == "P30D"


def test_who_may_not_does_not(stranger, ada):
    """An account without roles neither grants nor lists nor destroys."""
    for act, *arguments in (
        (keys.grant, stranger, "ada", ("trainer",), ada),
        (keys.revoke, stranger, "ada"),
        (keys.overview, stranger),
    ):
        assert code_of(act, *arguments, kind=AccessDenied)


@pytest.fixture
def consent(room, site):
    return room.consent(site)


def destroy(site, consent, files, **changes):
    named = {"confirm": consent, "approvals": files} | changes
    return keys.destroy(site, consent, Domain.TRACKLETS, **named)


def test_two_people_destroy_one_key_for_good(room, site, pair, consent):
    """The crops open no more, in this vault or after a renewal; the other domains' keys live."""
    track = room.track(site, consent)
    files = pair.approve(site, "key_destroy", consent=consent, domain="tracklets")
    assert destroy(site, consent, files).keys == 1
    with site.reading() as connection:
        row, tracklet = tracks.get_track(connection, track), tracks.get_tracklet(connection, track)
    assert code_of(open_tracklet, site, row, tracklet, kind=NoEffectiveConsent) == "KEY_DESTROYED"
    with read_only(site.keystore) as connection:
        assert {key.domain for key in keystore.keys_of_consent(connection, consent)} == {
            Domain.EMBEDDINGS,
            Domain.EVIDENCE,
        }
    assert code_of(room.track, site, consent, kind=NoEffectiveConsent) == "KEY_DESTROYED"
    facts = room.facts(site, "keys.destroyed")
    assert (facts["domain"], facts["keys"], len(facts["approvers"])) == ("tracklets", 1, 2)
    assert consent not in str(facts)
    assert [len(one.key_ids) for one in site.anchor.state().withdrawn] == [1]  # what a restored backup replays
    again = pair.approve(site, "key_destroy", consent=consent, domain="tracklets")
    assert code_of(destroy, site, consent, again) == "KEY_NOT_LIVING"


def test_nothing_is_destroyed_without_them(room, site, pair, consent):
    """No approval, another domain's, no confirmation, a dry run, an unknown consent: the key lives."""
    other = pair.approve(site, "key_destroy", consent=consent, domain="embeddings")
    right = pair.approve(site, "key_destroy", consent=consent, domain="tracklets")
    assert code_of(destroy, site, consent, []) == "APPROVALS_NEEDED"
    assert code_of(destroy, site, consent, other) == "APPROVAL_OTHER_ACT"
    assert code_of(destroy, site, consent, [right[0], right[0]]) == "SAME_PERSON"
    assert code_of(destroy, site, consent, right, confirm=None) == "NOT_CONFIRMED"
    assert destroy(site, consent, [], dry_run=True) == keys.KeyDestroyed(
        consent_id=consent, domain=Domain.TRACKLETS, keys=1, dry_run=True
    )
    assert code_of(destroy, site, "0" * 36, right) == "CONSENT_UNKNOWN"
    with read_only(site.keystore) as connection:
        assert len(keystore.keys_of_consent(connection, consent)) == 3
    assert destroy(site, consent, right).keys == 1
    assert code_of(destroy, site, consent, right) == "KEY_NOT_LIVING"


def test_a_destruction_that_was_cut_off_is_finished_by_the_same_command(room, site, pair, consent, monkeypatch):
    """Written down and approved, then cut before the key went: no new approval is asked for, nothing is sealed."""
    files = pair.approve(site, "key_destroy", consent=consent, domain="tracklets")
    with monkeypatch.context() as patch:
        patch.setattr(keys, "keystore_work", _cut)
        with pytest.raises(KeyboardInterrupt):
            destroy(site, consent, files)
    assert code_of(room.track, site, consent, kind=NoEffectiveConsent) == "KEY_DESTROYED"
    assert destroy(site, consent, []).keys == 1
    assert room.acts(site).count("keys.destroyed") == 1


def _cut(*arguments):
    raise KeyboardInterrupt
