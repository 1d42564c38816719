"""Access decisions are rows that only get more."""

from datetime import timedelta

from fabnet_secure.store import decisions
from fabnet_secure.types import new_id


def make_decision(make, **changes):
    values = {
        "decision_id": new_id(),
        "principal": "ana",
        "action": "query_similar",
        "purpose": "query_internal",
        "outcome": decisions.Outcome.ALLOW,
        "policy_id": "analyst-query",
        "policy_sha256": make.sha,
        "rows": 5,
        "at": make.at,
    }
    return decisions.DecisionRow(**{**values, **changes})


def test_decisions_round_trip_within_a_period(site, make):
    """Decisions come back equal, oldest first; a period includes its start and not its end."""
    first = make_decision(make)
    second = make_decision(
        make, outcome=decisions.Outcome.DENY, policy_id="", purpose="", rows=0, at=make.at + timedelta(hours=1)
    )
    with site.work() as work:
        for row in (second, first):
            decisions.add_decision(work.connection, row)
        work.log("test.entry", facts={})
        assert decisions.list_decisions(work.connection) == [first, second]
        assert decisions.list_decisions(work.connection, until=second.at) == [first]
        assert decisions.list_decisions(work.connection, since=second.at) == [second]


def test_decision_is_written_once(site, make):
    """The same decision id twice is refused."""
    row = make_decision(make)
    with site.refused() as work:
        decisions.add_decision(work.connection, row)
        decisions.add_decision(work.connection, row)


def test_answers_are_counted_by_principal_and_time(site, make):
    """The sum of what a principal's decisions count as, after a moment; nobody else's, none at the moment itself."""
    rows = [
        make_decision(make, answers=3, at=make.at + timedelta(hours=1)),
        make_decision(make, answers=2, at=make.at),
        make_decision(make, answers=5, principal="ben", at=make.at + timedelta(hours=1)),
        make_decision(make, at=make.at + timedelta(hours=2)),
    ]
    with site.work() as work:
        for row in rows:
            decisions.add_decision(work.connection, row)
        work.log("test.entry", facts={})
        assert sum(decisions.answers_since(work.connection, "ana", since=make.at).values()) == 3
        assert sum(decisions.answers_since(work.connection, "ana", since=make.at - timedelta(seconds=1)).values()) == 5
        assert decisions.answers_since(work.connection, "nobody", since=make.at) == {}
