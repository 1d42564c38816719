"""One way to ask for permission: decide, record the decision, and go on only with a grant.

A denial is recorded in a transaction of its own before the error is raised; an allowance is recorded in the same
transaction as the act that it allows. Acts on people's data are decided once for each class of equal consents. Where a
keyring cannot sign the log (an auditor's), a denial is still a denial: it is not written down, and nothing was done.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fabnet_secure.access.decision import ConsentClass, Decision, Denied, Grant, Request, Resource, Vault
from fabnet_secure.access.premises import Premises
from fabnet_secure.config import Settings
from fabnet_secure.consent.state import EffectiveConsent
from fabnet_secure.crypto.digest import sha256_bytes
from fabnet_secure.errors import KeyProblem
from fabnet_secure.pipeline.context import Site
from fabnet_secure.store.database import Work
from fabnet_secure.store.decisions import DecisionRow, add_decision
from fabnet_secure.store.states import Outcome
from fabnet_secure.types import ConsentId, DecisionId, Json, Purpose, new_id

_VAULT = Vault()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One decision about all consents that are alike.

    Args:
        kind: what they have in common.
        request: the question that was put.
        decision: the answer.
        consents: the consents that it is about.
    """

    kind: ConsentClass
    request: Request
    decision: Decision
    consents: frozenset[ConsentId]


def premises_of(settings: Settings) -> Premises:
    """Return the place that policies are told of; its hours are on this machine's own clock and in its time zone."""
    return Premises(site=settings.access.site, open_hours=settings.access.open_hours)


def authorize(site: Site, action: str, *, purpose: Purpose | None = None, resource: Resource = _VAULT) -> Grant:
    """Decide whether the principal may do ``action`` now.

    Raises:
        AccessDenied: the policies do not allow it; the denial is already in the log.
    """
    try:
        return site.policies.require(request_of(site, action, purpose=purpose, resource=resource))
    except Denied as denial:
        _write_denial(site, denial, action=action, purpose=purpose)
        raise


def request_of(site: Site, action: str, *, purpose: Purpose | None = None, resource: Resource = _VAULT) -> Request:
    """Return the question whether this site's principal may do ``action`` here and now."""
    return Request(
        principal=site.principal,
        action=action,
        purpose=purpose,
        resource=resource,
        at=site.clock(),
        premises=premises_of(site.settings),
    )


def authorize_purpose(site: Site, action: str, purpose: Purpose) -> Grant:
    """Decide an act on people's data before any consent is at hand: whoever is denied this is denied in any case.

    Raises:
        AccessDenied: as :func:`authorize`.
    """
    return authorize(site, action, purpose=purpose, resource=ConsentClass(purposes=frozenset({purpose})))


def class_of(consent: EffectiveConsent) -> ConsentClass:
    """Return the class that decides about this consent and all that are like it."""
    record = consent.record
    return ConsentClass(purposes=frozenset(record.purposes), subject_category=record.subject_category)


def class_verdicts(
    site: Site, action: str, purpose: Purpose, effective: Mapping[ConsentId, EffectiveConsent]
) -> Mapping[ConsentClass, Verdict]:
    """Decide once for each class of equal consents, and record the denials, each with how many consents it kept out.

    The allowances are for :func:`record_verdicts`, beside the act. Costs about 0.1 ms a class, however many consents.

    Raises:
        KeyProblem: (KEY_CANNOT_SIGN) something was denied, and this keyring cannot write the log.
    """
    alike: dict[ConsentClass, set[ConsentId]] = {}
    for consent_id, consent in effective.items():
        alike.setdefault(class_of(consent), set()).add(consent_id)
    found: dict[ConsentClass, Verdict] = {}
    for kind, consents in alike.items():
        request = request_of(site, action, purpose=purpose, resource=kind)
        decision = site.policies.decide(request)
        found[kind] = Verdict(kind=kind, request=request, decision=decision, consents=frozenset(consents))
    denied = [verdict for verdict in found.values() if not verdict.decision.allowed]
    if denied:
        with site.work() as work:
            for verdict in denied:
                _record_verdict(site, work, verdict, rows=0)
    return found


def permitted(verdicts: Mapping[ConsentClass, Verdict]) -> frozenset[ConsentId]:
    """Return the consents whose class was allowed."""
    allowed_ones: Iterable[Verdict] = (one for one in verdicts.values() if one.decision.allowed)
    return frozenset().union(*(one.consents for one in allowed_ones))


def record_verdicts(
    site: Site, work: Work, verdicts: Mapping[ConsentClass, Verdict], *, rows: Mapping[ConsentClass, int] | None = None
) -> None:
    """Record, beside the act itself, each class that was allowed and how many rows of it were let out.

    Args:
        site: an open vault.
        work: the act's own transaction.
        verdicts: what :func:`class_verdicts` said; its denials are in the log already.
        rows: the rows that each class let out; a class that is not named let out none.
    """
    for kind, verdict in verdicts.items():
        if verdict.decision.allowed:
            _record_verdict(site, work, verdict, rows=(rows or {}).get(kind, 0))


def allowed(
    site: Site, action: str, purpose: Purpose, effective: Mapping[ConsentId, EffectiveConsent]
) -> frozenset[ConsentId]:
    """Decide once for each class of equal consents and return those whose class is allowed; denials are logged."""
    return permitted(class_verdicts(site, action, purpose, effective))


def record_refusal(site: Site, action: str, purpose: Purpose, code: str) -> None:
    """Record that an act was refused for want of a consent or of answers: a refusal is a decision too."""
    decision = Decision(
        decision_id=DecisionId(new_id()),
        allowed=False,
        policy_id=code.lower(),
        policy_set_sha256=site.policies.sha256,
        reason=code.lower().replace("_", " "),
    )
    with site.work() as work:
        _record(site, work, decision, action=action, purpose=purpose)


def record_grant(site: Site, work: Work, grant: Grant, *, rows: int = 0, answers: int = 0) -> None:
    """Record, beside the act itself, the decision that allowed it, how many rows it touched, and its answers a day."""
    _record(site, work, grant.decision, action=grant.action, purpose=grant.purpose, rows=rows, answers=answers)


def _write_denial(site: Site, denial: Denied, *, action: str, purpose: Purpose | None) -> None:
    try:
        with site.work() as work:
            _record(site, work, denial.decision, action=action, purpose=purpose)
    except KeyProblem as problem:
        if problem.code != "KEY_CANNOT_SIGN":
            raise
        denial.fields["recorded"] = False


def _record_verdict(site: Site, work: Work, verdict: Verdict, *, rows: int) -> None:
    asked = verdict.request
    facts = {"consents": len(verdict.consents)}
    _record(site, work, verdict.decision, action=asked.action, purpose=asked.purpose, rows=rows, more=facts)


def _record(
    site: Site,
    work: Work,
    decision: Decision,
    *,
    action: str,
    purpose: Purpose | None,
    rows: int = 0,
    answers: int = 0,
    more: Mapping[str, Json] | None = None,
) -> None:
    add_decision(
        work.connection,
        DecisionRow(
            decision_id=decision.decision_id,
            principal=site.principal.name,
            action=action,
            purpose=purpose or "",
            outcome=Outcome.ALLOW if decision.allowed else Outcome.DENY,
            policy_id=decision.policy_id,
            policy_sha256=decision.policy_set_sha256,
            rows=rows,
            at=site.clock(),
            answers=answers,
        ),
    )
    facts: dict[str, Json] = {
        "action": action,
        "purpose": purpose or "",
        "policy": decision.policy_id,
        "policies": decision.policy_set_sha256,
        "decision": sha256_bytes(decision.decision_id.encode()),
        "rows": rows,
        **(more or {}),
    }
    if answers:  # of the budget of a day, which is counted from the log (pipeline/query_budget.py)
        facts["answers"] = answers
    if decision.errors:  # a policy or the request did not evaluate: whoever keeps the policies has to know
        facts["undecided"] = list(decision.failed)
    work.log("access.allowed" if decision.allowed else "access.denied", facts=facts)
