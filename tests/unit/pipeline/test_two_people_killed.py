"""kill -9 in the middle of a dangerous act: it was done with its approval and its entry, or it was not done at all."""

import os
import signal

import pytest

from fabnet_secure.config import load
from fabnet_secure.pipeline import adopt as adopting
from fabnet_secure.pipeline import hold_release, raise_cap
from fabnet_secure.pipeline.adopt import adopt
from fabnet_secure.pipeline.adopted import digest_of
from fabnet_secure.pipeline.context import open_site
from fabnet_secure.pipeline.hold_release import release
from fabnet_secure.pipeline.holds import held, place
from fabnet_secure.pipeline.maintain import sweep
from fabnet_secure.pipeline.withdraw import withdraw
from fabnet_secure.store import erasures


@pytest.fixture
def killed(room, monkeypatch):
    """Run an act in a process of its own that dies where ``module.name`` is called."""

    def run(act, module, name):
        child = os.fork()
        if child == 0:
            monkeypatch.setattr(module, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
            with open_site(room.place, load([]).settings, clock=room.clock) as site:
                act(site)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        assert os.WIFSIGNALED(status), os.waitstatus_to_exitcode(status)

    return run


def test_policies_half_adopted_are_not_adopted(room, site, pair, killed):
    """Dead after the copy and the use of the approval, before the commit: the vault opens as before; again works."""
    own = room.folder / "own"
    own.mkdir()
    (own / "own.cedar").write_text(
        '@id("own") @title("Nobody") forbid (principal, action == Action::"init", resource);'
    )
    digest = digest_of({"own.cedar": (own / "own.cedar").read_bytes()})
    files = pair.approve(site, "policy_change", policies=digest)
    killed(lambda there: adopt(there, own, confirm=digest, approvals=files), adopting.meta, "set_meta")
    assert room.open().policies.sha256 == site.policies.sha256
    assert "approval.used" not in room.acts(site)
    assert adopt(site, own, confirm=digest, approvals=files).policies == digest
    assert room.open().policies.sha256 != site.policies.sha256
    assert [path.name for path in (site.root / "policies").iterdir()] == [digest]


def test_a_raise_cut_off_raises_nothing(room, site, pair, killed):
    """Dead inside the transaction: no row, no entry, the approval is still good."""
    consent = room.consent(site, dp_epsilon_cap=8.0)
    paper = room.folder / "raise.txt"
    paper.write_text("SYNTHETIC: I agree\n")
    digest = raise_cap.raise_cap(
        site, consent, cap=9.0, evidence=paper, confirm=None, approvals=[], dry_run=True
    ).evidence_sha256
    files = pair.approve(site, "budget_raise", consent=consent, cap=9, evidence=digest)

    def lift(there):
        return raise_cap.raise_cap(there, consent, cap=9.0, evidence=paper, confirm=consent, approvals=files)

    killed(lift, raise_cap, "record_grant")
    assert "budget.cap_raised" not in room.acts(site)
    assert lift(site).cap == 9.0


def test_a_release_cut_off_before_its_commit_released_nothing(room, site, pair, killed):
    """The hold holds, and the approval is still good."""
    consent, files = _waiting(room, site, pair)
    act = _releasing(consent, files)
    killed(act, hold_release, "record_grant")
    assert _held(site) == {consent}
    assert act(site).erasure == "complete"


def test_a_release_cut_off_after_its_commit_is_carried_through_later(room, site, pair, killed):
    """Released but not yet erased: whatever sweeps next finishes it."""
    consent, files = _waiting(room, site, pair)
    killed(_releasing(consent, files), hold_release, "carry_waiting")
    assert _held(site) == set()
    sweep(site)
    with site.reading() as connection:
        assert not any(erasures.remaining(connection, consent).values())
    assert withdraw(site, consent, confirm=consent).outcome == "complete"


def _waiting(room, site, pair):
    consent = room.consent(site)
    room.track(site, consent)
    row = place(site, consent, ground="legal_claim")
    withdraw(site, consent, confirm=consent)
    return consent, pair.approve(site, "hold_release", consent=consent, hold=row.hold_id)


def _held(site):
    with site.reading() as connection:
        return set(held(site, connection))


def _releasing(consent, files):
    return lambda there: release(there, consent, confirm=consent, approvals=files)
