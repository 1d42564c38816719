"""Answers a day: counted from the decisions, in the transaction that gives them."""

import sqlite3
from datetime import timedelta

import pytest

from fabnet_secure.access.decision import Denied
from fabnet_secure.errors import BudgetExceeded, IntegrityFailure
from fabnet_secure.pipeline.authorize import authorize_purpose, record_grant
from fabnet_secure.pipeline.query_budget import SCORES_COST, allowance, cost_of, refusals_logged, require_answers
from fabnet_secure.types import Purpose


@pytest.fixture
def frugal(room):
    """Open the vault under a budget of five answers a day."""

    def opened():
        from fabnet_secure.config import load
        from fabnet_secure.pipeline.context import open_site

        settings = load([]).settings
        table = settings.query.model_copy(update={"daily_budget": 5})
        return room.stack.enter_context(
            open_site(room.place, settings.model_copy(update={"query": table}), clock=room.clock)
        )

    return opened


def answer(site, cost=1):
    """Take some answers."""
    grant = authorize_purpose(site, "query_similar", Purpose.QUERY_INTERNAL)
    with site.work() as work:
        left = require_answers(site, work.connection, cost)
        work.log("test.answered", facts={})
        record_grant(site, work, grant, rows=3, answers=cost)
    return left


def test_answers_run_out_and_come_back(frugal, room):
    """Five in 24 hours; the sixth is refused; a day later the first ones count no more."""
    site = frugal()
    assert [answer(site, 2), answer(site, 2), answer(site)] == [3, 1, 0]
    with pytest.raises(BudgetExceeded) as refused:
        answer(site)
    assert (refused.value.code, refused.value.exit_code) == ("QUERY_BUDGET", 22)
    room.clock.forward(hours=23, minutes=59)
    with pytest.raises(BudgetExceeded):
        answer(site)
    room.clock.forward(minutes=1)
    assert answer(site, 5) == 0


@pytest.mark.parametrize(
    "change",
    [
        "update decision set answers = 0",
        "update decision set answers = answers - 1",
        "update decision set answers = answers + 1",
        "update decision set principal = 'nobody'",
        "update decision set at = '2020-01-01T00:00:00.000000Z'",
        "delete from decision",
        (
            "insert into decision (decision_id, principal, action, purpose, outcome, policy_id, policy_sha256, "
            "row_count, at, answers) select 'x' || substr(decision_id, 2), principal, action, purpose, outcome, "
            "policy_id, policy_sha256, row_count, at, answers from decision limit 1"
        ),
    ],
)
def test_a_changed_decision_gives_nothing_back(frugal, room, change):
    """Answers are counted from the log; decisions that do not agree with it stop every further answer."""
    site = frugal()
    answer(site, 3)
    with sqlite3.connect(room.place.root / "vault.db") as vault:
        vault.execute(change)
    with pytest.raises(IntegrityFailure) as refused:
        answer(frugal())
    assert (refused.value.code, refused.value.exit_code) == ("DECISIONS_CHANGED", 30)


def test_a_changed_entry_gives_nothing_back(frugal, room):
    """The entries that are counted are held against the signed root."""
    site = frugal()
    answer(site, 3)
    with sqlite3.connect(room.place.root / "vault.db") as vault:
        vault.execute("update decision set answers = 0")
        old, new = b'"answers":3', b'"answers":0'
        (row,) = [row for row in vault.execute("select leaf_index, body from log_entry") if old in row[1]]
        vault.execute("update log_entry set body = ? where leaf_index = ?", (row[1].replace(old, new), row[0]))
    with pytest.raises(IntegrityFailure) as refused:
        answer(frugal())
    assert refused.value.code == "LOG_BROKEN"


def test_two_openings_share_one_budget(frugal):
    """What another process took is seen inside the transaction."""
    one, other = frugal(), frugal()
    answer(one, 3)
    assert answer(other, 2) == 0
    for site in (one, other):
        with pytest.raises(BudgetExceeded):
            answer(site)


def test_each_principal_has_a_budget_of_their_own(frugal, monkeypatch):
    """A stranger's answers are not the operator's, and a denial costs nothing."""
    from fabnet_secure.pipeline import context

    site = frugal()
    answer(site, 5)
    monkeypatch.setattr(context, "os_account", lambda: "stranger")
    stranger = frugal()
    with stranger.reading() as connection:
        assert allowance(stranger, connection).left == 5
    with pytest.raises(Denied):
        answer(stranger)
    with stranger.reading() as connection:
        assert allowance(stranger, connection).used == 0


def test_a_refusal_is_written_down(frugal, room):
    """Decision and log name the budget as what refused; what was asked for leaves no other trace."""
    site = frugal()
    with (
        pytest.raises(BudgetExceeded),
        refusals_logged(site, "query_clip", Purpose.QUERY_INTERNAL),
        site.work() as work,
    ):
        require_answers(site, work.connection, 6)
    (denied,) = room.decisions(site)
    assert (denied.action, denied.outcome, denied.policy_id, denied.answers) == (
        "query_clip",
        "deny",
        "query_budget",
        0,
    )
    assert room.facts(site, "access.denied")["policy"] == "query_budget"


def test_scores_cost_more():
    """Ten ranks lists for one list with scores, for each track of a batch."""
    assert (cost_of(3), cost_of(3, scores=True)) == (3, 3 * SCORES_COST)


def test_what_is_shown(frugal, room):
    """``budget show`` prints what was used in the last 24 hours and what is left."""
    site = frugal()
    answer(site, 4)
    room.clock.forward(seconds=timedelta(hours=1).total_seconds())
    with site.reading() as connection:
        shown = allowance(site, connection).to_json()
    assert shown == {"principal": site.principal.name, "daily_budget": 5, "used": 4, "left": 1, "window_hours": 24}
