"""A person's word for the log's head: when the anchor is lost or the clock was wrong, and never against the budget."""

import base64

import pytest

from fabnet_secure.errors import IntegrityFailure, UsageError
from fabnet_secure.pipeline.auditing import check
from fabnet_secure.pipeline.reanchor import accept, standing


@pytest.mark.parametrize("content", [None, b"junk\n"], ids=["missing", "damaged"])
def test_a_person_can_accept_the_head_when_the_anchor_is_lost(room, content, opened, head_of):
    """With the log's size and root and the vault's id; logged; a damaged anchor is kept aside."""
    room.place.anchor_file.unlink()
    if content:
        room.place.anchor_file.write_bytes(content)
    head, vault_id = head_of(room)
    with opened(room, anchored=False) as site:
        accept(site, head, confirm=vault_id)
    with opened(room) as site:
        assert "anchor.accepted" in room.acts(site)[-2:]
        assert standing(site).problem is None
    assert len(list(room.folder.glob("vault.anchor.set-aside-*"))) == (1 if content else 0)


def test_accepting_wants_the_true_head_and_the_vault_s_id(room, opened, head_of):
    """A wrong root, a size the log has not, no id, or no head at all: refused, and nothing is written."""
    room.place.anchor_file.unlink()
    head, vault_id = head_of(room)
    wrong = head.split(":")[0] + ":" + base64.b64encode(b"\1" * 32).decode()
    larger = "999:" + head.split(":")[1]
    for given, confirm, code in (
        (wrong, vault_id, "ROLLED_BACK"),
        (larger, vault_id, "ROLLED_BACK"),
        (head, "", "CONFIRM"),
        ("5", vault_id, "HEAD_INVALID"),
        ("5:!!", vault_id, "HEAD_INVALID"),
    ):
        with opened(room, anchored=False) as site:
            before = check(site)[0]
            with pytest.raises((IntegrityFailure, UsageError)) as refused:
                accept(site, given, confirm=confirm)
            assert (refused.value.code, check(site)[0]) == (code, before)
    assert not room.place.anchor_file.exists()


def test_a_dry_run_accepts_nothing(room, refusal, opened, head_of):
    """It checks, and leaves log and anchor alone."""
    room.place.anchor_file.unlink()
    head, vault_id = head_of(room)
    with opened(room, anchored=False) as site:
        assert accept(site, head, confirm=vault_id, dry_run=True) == int(head.split(":")[0])
    assert refusal(room) == "ANCHOR_MISSING"


def test_accepting_an_older_copy_does_not_rewind_the_budget(room, opened, kept, put_back, head_of):
    """What was spent since then stays spent: the copy is refused even when a person vouches for its head."""
    copy = kept(room)
    with opened(room) as site, site.work() as work:
        site.anchor.append("spent", entry_id="spent since", epsilon=1.0, delta=1e-6)
        work.log("test.act", facts={})
    put_back(room, copy)
    head, vault_id = head_of(room)
    with opened(room, anchored=False) as site, pytest.raises(IntegrityFailure) as refused:
        accept(site, head, confirm=vault_id)
    assert refused.value.code == "BUDGET_REWOUND"


def test_a_clock_that_was_wrong_is_accepted_by_a_person(room, act, refusal, opened, head_of):
    """A clock that ran a year ahead and was set right stops the vault until somebody says so."""
    room.clock.forward(days=365)
    with opened(room) as site:
        act(site)
    room.clock.forward(days=-365)
    assert refusal(room) == "CLOCK_BACK"
    head, vault_id = head_of(room)
    with opened(room, anchored=False) as site:
        accept(site, head, confirm=vault_id)
    with opened(room) as site:
        act(site)


def test_the_withdrawals_that_are_shown_are_consents(room, opened):
    """A consent that was remembered twice is one; keys and grants that ended without a consent are none."""
    with opened(room) as site:
        for consent_id in ("one", "one", "two", ""):
            site.anchor.append("withdrawn", consent_id=consent_id, key_ids=["k"])
        assert standing(site).withdrawn == 2
