"""One way to ask for permission: decide, record the decision, and go on only with a grant.

A denial is recorded in a transaction of its own before the error is raised; an allowance is recorded in the same
transaction as the act that it allows. Acts on people's data are decided once for each class of equal consents.
"""

from collections.abc import Mapping

from fabnet_secure.access.decision import ConsentClass, Decision, Denied, Grant, Request, Resource, Vault
from fabnet_secure.consent.state import EffectiveConsent
from fabnet_secure.crypto.digest import sha256_bytes
from fabnet_secure.pipeline.context import Site
from fabnet_secure.store.database import Work
from fabnet_secure.store.decisions import DecisionRow, add_decision
from fabnet_secure.store.states import Outcome
from fabnet_secure.types import ConsentId, DecisionId, Purpose, new_id

_VAULT = Vault()


def authorize(site: Site, action: str, *, purpose: Purpose | None = None, resource: Resource = _VAULT) -> Grant:
    """Decide whether the principal may do ``action`` now.

    Raises:
        AccessDenied: the policies do not allow it; the denial is already in the log.
    """
    request = Request(principal=site.principal, action=action, purpose=purpose, resource=resource, at=site.clock())
    try:
        return site.policies.require(request)
    except Denied as denial:
        with site.work() as work:
            _record(site, work, denial.decision, action=action, purpose=purpose, rows=0)
        raise


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


def allowed(
    site: Site, action: str, purpose: Purpose, effective: Mapping[ConsentId, EffectiveConsent]
) -> frozenset[ConsentId]:
    """Decide once for each class of equal consents and return those whose class is allowed; denials are logged."""
    verdicts: dict[ConsentClass, bool] = {}
    for consent in effective.values():
        kind = class_of(consent)
        if kind not in verdicts:
            try:
                authorize(site, action, purpose=purpose, resource=kind)
                verdicts[kind] = True
            except Denied:
                verdicts[kind] = False
    return frozenset(consent_id for consent_id, consent in effective.items() if verdicts[class_of(consent)])


def record_refusal(site: Site, action: str, purpose: Purpose, code: str) -> None:
    """Record that an act was refused for want of a consent: a refusal is a decision too."""
    decision = Decision(
        decision_id=DecisionId(new_id()),
        allowed=False,
        policy_id=code.lower(),
        policy_set_sha256=site.policies.sha256,
        reason="no effective consent",
    )
    with site.work() as work:
        _record(site, work, decision, action=action, purpose=purpose, rows=0)


def record_grant(site: Site, work: Work, grant: Grant, *, rows: int = 0) -> None:
    """Record, beside the act itself, the decision that allowed it and how many rows it touched."""
    _record(site, work, grant.decision, action=grant.action, purpose=grant.purpose, rows=rows)


def _record(site: Site, work: Work, decision: Decision, *, action: str, purpose: Purpose | None, rows: int) -> None:
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
        ),
    )
    work.log(
        "access.allowed" if decision.allowed else "access.denied",
        facts={
            "action": action,
            "purpose": purpose or "",
            "policy": decision.policy_id,
            "policies": decision.policy_set_sha256,
            "decision": sha256_bytes(decision.decision_id.encode()),
            "rows": rows,
        },
    )
