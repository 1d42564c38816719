"""Two people for what is dangerous: every way in which an approval is not one is refused, and logged."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fabnet_secure.access.question import TWO_PEOPLE
from fabnet_secure.config import load
from fabnet_secure.errors import AccessDenied, ExitCode, FabnetError, IntegrityFailure, UsageError
from fabnet_secure.pipeline import approvals, approvers
from fabnet_secure.pipeline.approval_form import SENTENCES, parse
from fabnet_secure.pipeline.approvals import request, require
from fabnet_secure.pipeline.approvers import enrol, remove
from fabnet_secure.pipeline.context import Place, open_site
from fabnet_secure.pipeline.create import create_vault
from fabnet_secure.pipeline.roles import set_roles

CONSENT = "4dd1e2a0-0000-4000-8000-000000000001"
PARAMS = {"consent": CONSENT, "domain": "embeddings"}
ACT = "key_destroy"


def refused(site, files, *, act=ACT, params=None, code, error=AccessDenied):
    with pytest.raises(error) as caught:
        require(site, act, PARAMS if params is None else params, files)
    assert caught.value.code == code
    return caught.value


def use(site, approved):
    with site.work() as work:
        approved.use(work)


def test_two_people_are_enough_once(room, site, pair):
    """Two approvals make one act good; its log entry names the request and both keys; the second use is refused."""
    files = pair.approve(site, ACT, **PARAMS)
    approved = require(site, ACT, PARAMS, files)
    use(site, approved)
    facts = room.facts(site, "approval.used")
    assert facts["request"] == approved.form.sha256
    assert len(set(facts["approvers"])) == 2
    refused(site, files, code="APPROVAL_USED")
    with pytest.raises(AccessDenied) as caught:
        use(site, approved)
    assert caught.value.code == "APPROVAL_USED"


def test_a_use_is_noted_outside_the_databases(site, pair):
    """So that no backup gives it back: nonce, act and request stand in the anchor."""
    approved = require(site, ACT, PARAMS, pair.approve(site, ACT, **PARAMS))
    use(site, approved)
    (noted,) = site.anchor.state().used
    assert (noted.nonce, noted.act, noted.request) == (approved.form.nonce, ACT, approved.form.sha256)


def test_a_request_says_what_when_and_where(site, pair):
    """It binds the act, its values, the vault, the log's head, the policies, the asker and an end."""
    form = request(site, ACT, PARAMS)
    assert (form.act, dict(form.params), form.vault_id) == (ACT, PARAMS, site.vault_id)
    assert form.requested_by == site.principal.name
    assert (form.expires - form.created).total_seconds() == 24 * 3600
    assert len(form.nonce) == 64
    assert parse(form.to_bytes()) == form
    assert CONSENT in form.sentence


@pytest.mark.parametrize("count", [0, 1, 3])
def test_one_is_too_few_and_three_are_too_many(site, pair, count):
    """Exactly two approvals; the refusal names the command that asks for them."""
    files = (pair.approve(site, ACT, **PARAMS) * 2)[:count]
    error = refused(site, files, code="APPROVALS_NEEDED")
    assert f"approval request {ACT} --param consent={CONSENT} --param domain=embeddings" in error.hint
    assert error.exit_code is ExitCode.DENIED


def test_the_same_person_twice_is_refused(site, pair):
    """Two signatures by one person are one approval."""
    asked = pair.form(site, ACT, **PARAMS)
    refused(site, [pair.sign(asked, "alice"), pair.sign(asked, "alice")], code="SAME_PERSON")


def test_two_accounts_of_one_number_are_one_person(site, pair, monkeypatch):
    """Two names for one uid are the same person."""
    monkeypatch.setattr(approvals, "uid_of", lambda _account: 1000)
    refused(site, pair.approve(site, ACT, **PARAMS), code="SAME_PERSON")


def test_one_key_under_two_names_cannot_be(room, site, pair, ssh_keys):
    """A key is enrolled once; a row that says otherwise is found."""
    with pytest.raises(UsageError):
        enrol(site, "bob", ssh_keys["alice"].with_suffix(".pub"))
    files = pair.approve(site, ACT, **PARAMS)
    with closing(sqlite3.connect(room.folder / "vault" / "vault.db")) as connection, connection:
        connection.execute(
            "UPDATE approver SET public_key = (SELECT public_key FROM approver WHERE name = 'alice') WHERE name = 'bob'"
        )
    refused(site, files, code="APPROVER_CHANGED", error=IntegrityFailure)


def test_a_swapped_identity_is_refused(site, pair):
    """A signature by a key that nobody enrolled counts for nobody."""
    asked = pair.form(site, ACT, **PARAMS)
    refused(site, [pair.sign(asked, "alice"), pair.sign(asked, "mallory")], code="APPROVER_UNKNOWN")


def test_a_signature_that_claims_anothers_key_is_refused(site, pair):
    """Bob's key put into mallory's signature does not verify under bob's key."""
    asked = pair.form(site, ACT, **PARAMS)
    alice, bob, mallory = (pair.sign(asked, who) for who in ("alice", "bob", "mallory"))
    claims = _with_key_of(bob.read_bytes(), mallory.read_bytes())
    mallory.write_bytes(asked.read_bytes() + claims)
    refused(site, [alice, mallory], code="APPROVAL_BROKEN", error=IntegrityFailure)


def _with_key_of(bob, mallory):
    import base64

    def blob(approval):
        return base64.b64decode(approval.split(b"-----")[2])

    ours, theirs = blob(bob), blob(mallory)
    length = 10 + 4 + int.from_bytes(ours[10:14], "big")
    joined = base64.encodebytes(ours[:length] + theirs[length:])
    return b"-----BEGIN SSH SIGNATURE-----\n" + joined + b"-----END SSH SIGNATURE-----\n"


def test_a_key_enrolled_after_the_request_does_not_count(room, site, pair, ssh_keys):
    """Whoever swaps a key in once a request is out gains nothing by it."""
    asked = pair.form(site, ACT, **PARAMS)
    room.clock.forward(seconds=1)
    enrol(site, "bob", ssh_keys["mallory"].with_suffix(".pub"))
    refused(site, [pair.sign(asked, "alice"), pair.sign(asked, "mallory")], code="APPROVER_UNKNOWN")


def test_a_removed_key_and_a_lost_role_do_not_count(room, site, pair):
    """Today's keys and today's roles count, not those of the day of the request."""
    files = pair.approve(site, ACT, **PARAMS)
    set_roles(site, "bob", ("auditor",))
    refused(site, files, code="APPROVER_UNKNOWN")
    set_roles(site, "bob", ("dpo",))
    approved = require(site, ACT, PARAMS, files)
    remove(site, "alice")
    with pytest.raises(AccessDenied) as caught:
        use(site, approved)
    assert caught.value.code == "APPROVER_UNKNOWN"


def test_an_expired_approval_is_refused(room, site, pair):
    """After its time it is good for nothing, even when it was checked before."""
    files = pair.approve(site, ACT, **PARAMS)
    approved = require(site, ACT, PARAMS, files)
    room.clock.forward(hours=24)
    refused(site, files, code="APPROVAL_EXPIRED")
    with pytest.raises(AccessDenied) as caught:
        use(site, approved)
    assert caught.value.code == "APPROVAL_EXPIRED"


@pytest.mark.parametrize(
    ("act", "params"),
    [
        (ACT, PARAMS | {"consent": CONSENT.replace("1", "2")}),
        (ACT, PARAMS | {"more": "x"}),
        ("budget_raise", PARAMS),
    ],
    ids=["another consent", "one value more", "another act"],
)
def test_other_acts_and_values_are_refused(site, pair, act, params):
    """An approval is for one act with its own values."""
    refused(site, pair.approve(site, ACT, **PARAMS), act=act, params=params, code="APPROVAL_OTHER_ACT")


def test_two_requests_for_the_same_thing_are_two(site, pair):
    """Each person signs the very same request; two like ones do not add up."""
    one, other = pair.form(site, ACT, **PARAMS), pair.form(site, ACT, **PARAMS)
    refused(site, [pair.sign(one, "alice"), pair.sign(other, "bob")], code="APPROVAL_OTHER_ACT")


def test_another_vaults_approval_is_refused(room, site, pair, tmp_path):
    """What was approved for one vault is approved for no other, by the same people with the same keys."""
    place = Place(root=tmp_path / "other", key_file=tmp_path / "other.key")
    create_vault(place, load([]).settings, clock=room.clock)
    with open_site(place, load([]).settings, clock=room.clock) as other:
        for name in ("alice", "bob"):
            set_roles(other, name, ("dpo", "operator"))
            enrol(other, name, pair.keys[name].with_suffix(".pub"))
        refused(other, pair.approve(site, ACT, **PARAMS), code="APPROVAL_OTHER_ACT")


def forged(site, pair, path: Path, **changes) -> list[Path]:
    """Return approvals, soundly signed by both, of a request that somebody wrote by hand."""
    import json

    from fabnet_secure.types import canonical_json

    body = json.loads(path.read_bytes()) | changes
    path.write_bytes(canonical_json(body) + b"\n")
    return [pair.sign(path, who) for who in ("alice", "bob")]


FORGED = {
    "from the future": {"created": "2027-01-01T00:00:00.000000Z", "expires": "2027-01-02T00:00:00.000000Z"},
    "good for years": {"expires": "2036-01-01T00:00:00.000000Z"},
    "a longer log": {"log": {"size": 99, "root": "ab" * 32}},
    "another log": {"log": {"size": 3, "root": "ab" * 32}},
    "no log": {"log": {"size": 0, "root": "ab" * 32}},
    "a nonce of its own": {"nonce": "ab" * 32},
    "somebody else's wish": {"requested_by": "carol"},
    "a word too many": {"comment": "please"},
    "a short nonce": {"nonce": "ab"},
    "another version": {"schema": "fabnet-secure/approval/v2"},
    "a size in words": {"log": {"size": "3", "root": "ab" * 32}},
}


@pytest.mark.parametrize("changes", FORGED.values(), ids=FORGED.keys())
def test_a_request_that_this_vault_did_not_make_is_broken(site, pair, changes):
    """Even two true signatures do not make a request good that the log does not know, or that names another log."""
    files = forged(site, pair, pair.form(site, ACT, **PARAMS), **changes)
    error = refused(site, files, code="APPROVAL_BROKEN", error=IntegrityFailure)
    assert error.exit_code is ExitCode.INTEGRITY


def test_other_policies_end_what_was_asked_for_under_these(site, pair):
    """A request names the policies that it was made under."""
    files = forged(site, pair, pair.form(site, ACT, **PARAMS), policies="ab" * 32)
    refused(site, files, code="APPROVAL_OTHER_ACT")


@pytest.mark.parametrize("place", [20, 200, -60, -150])
def test_a_changed_byte_is_refused(site, pair, place):
    """In the request or in the signature: nothing of an approval may change."""
    alice, bob = pair.approve(site, ACT, **PARAMS)
    blob = bytearray(bob.read_bytes())
    blob[place] = ord("A") if blob[place] != ord("A") else ord("B")
    bob.write_bytes(bytes(blob))
    with pytest.raises(FabnetError) as caught:
        require(site, ACT, PARAMS, [alice, bob])
    assert caught.value.code in ("APPROVAL_BROKEN", "APPROVAL_OTHER_ACT", "APPROVER_UNKNOWN")


def test_another_form_of_the_same_request_is_refused(site, pair):
    """A space more, and it is not what was signed."""
    alice, bob = pair.approve(site, ACT, **PARAMS)
    bob.write_bytes(bob.read_bytes().replace(b'{"act":', b'{"act": ', 1))
    refused(site, [alice, bob], code="APPROVAL_BROKEN", error=IntegrityFailure)


def test_files_that_are_no_approvals_are_told_apart(site, pair, tmp_path):
    """A request that nobody signed, a signature alone, a missing file and a flood of bytes each get their own word."""
    asked = pair.form(site, ACT, **PARAMS)
    approved = pair.sign(asked, "alice")
    alone, flood = tmp_path / "x.sig", tmp_path / "flood"
    alone.write_bytes(approved.read_bytes().partition(b"\n")[2])
    flood.write_bytes(b"x" * 100_000)
    for path, code, kind in (
        (asked, "NOT_SIGNED", UsageError),
        (alone, "SIGNATURE_ALONE", UsageError),
        (tmp_path / "none", "FILE_UNREADABLE", UsageError),
        (flood, "APPROVAL_BROKEN", IntegrityFailure),
    ):
        refused(site, [approved, path], code=code, error=kind)


def test_a_use_whose_act_fails_uses_nothing_up(site, pair):
    """What is undone is undone with its approval."""
    files = pair.approve(site, ACT, **PARAMS)
    approved = require(site, ACT, PARAMS, files)
    with pytest.raises(ZeroDivisionError), site.work() as work:  # noqa: PT012  the unit of work fails as a whole
        approved.use(work)
        raise ZeroDivisionError
    use(site, require(site, ACT, PARAMS, files))


def test_taking_the_use_out_of_the_table_does_not_give_it_back(room, site, pair):
    """The log remembers what was used."""
    files = pair.approve(site, ACT, **PARAMS)
    use(site, require(site, ACT, PARAMS, files))
    with closing(sqlite3.connect(room.folder / "vault" / "vault.db")) as connection, connection:
        assert connection.execute("DELETE FROM approval_used").rowcount == 1
    refused(site, files, code="APPROVAL_USED")


def test_a_log_that_does_not_hold_approves_nothing(room, site, pair):
    """Who changed an old entry gets nothing approved."""
    files = pair.approve(site, ACT, **PARAMS)
    with closing(sqlite3.connect(room.folder / "vault" / "vault.db")) as connection, connection:
        connection.execute("UPDATE log_entry SET body = replace(body, 'created', 'creaked') WHERE leaf_index = 0")
    with pytest.raises(IntegrityFailure) as caught:
        require(site, ACT, PARAMS, files)
    assert caught.value.exit_code is ExitCode.INTEGRITY


def test_every_refusal_is_in_the_log(room, site, pair):
    """What was attempted, and why it was refused."""
    refused(site, [], code="APPROVALS_NEEDED")
    assert room.facts(site, "approval.refused") == {"act": ACT, "code": "APPROVALS_NEEDED"}


def test_who_may_not_ask_does_not(stranger):
    """A request is an act like any other: it wants a permit."""
    with pytest.raises(AccessDenied):
        request(stranger, ACT, PARAMS)


def test_every_act_that_takes_two_people_has_its_request():
    """Whatever the access policies' words call an act for two people can be asked for, and nothing else."""
    assert set(SENTENCES) == TWO_PEOPLE


@pytest.mark.parametrize(
    ("act", "params", "code"),
    [("withdraw", {}, "ACT_UNKNOWN"), (ACT, {}, "PARAM_INVALID"), (ACT, PARAMS | {"also": "y"}, "PARAM_INVALID"),
     ("budget_raise", {"consent": "x", "cap": "much", "evidence": "y"}, "PARAM_INVALID")],
    ids=["no such act", "nothing", "too much", "no number"],
)  # fmt: skip
def test_requests_that_mean_nothing_are_refused(site, pair, act, params, code):
    """Only the acts that need two people, with exactly their values."""
    with pytest.raises(UsageError) as caught:
        request(site, act, params)
    assert caught.value.code == code


def test_of_two_processes_with_one_approval_one_wins(room, site, pair):
    """Both check it before either uses it; the write lock decides, and exactly one act is done."""
    files = pair.approve(site, ACT, **PARAMS)
    barrier, ready = os.pipe(), []
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            os._exit(_race(room, files, barrier[0]))
        children.append(child)
    os.write(barrier[1], b"gg")
    ready = sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)
    assert ready == [0, 21]
    assert room.acts(site).count("approval.used") == 1


def _race(room, files, gate) -> int:
    try:
        with open_site(room.place, load([]).settings, clock=room.clock) as site:
            approved = require(site, ACT, PARAMS, files)
            os.read(gate, 1)
            with site.work() as work:
                approved.use(work)
    except FabnetError as error:
        return int(error.exit_code)
    except Exception:  # noqa: BLE001  a child of a test ends here, whatever happened
        return 99
    return 0


def test_accounts_unknown_to_the_machine_have_no_number():
    """Such an account is nobody's twin."""
    assert approvers.uid_of("no-such-account-here") == approvers.NOBODY
