"""Decides an act by the access policies, and says by which one.

Guarantees: deny unless Cedar says Allow without a single error (Cedar skips a policy that fails to evaluate, even a
``forbid``, so an error means that a rule was not applied); a denial names the forbid that decided it where there is
one; a :class:`Grant` exists only where a decision allowed that very act. Does not know who is asking (the caller maps
the account to a :class:`Principal`), and does not write the decision down (the caller does, denials too).

Where no consent is at hand yet (an empty vault), ask for the class of consents that covers exactly the act's purpose:
whoever is denied that is denied in any case.

Source: Cedar (Cutler et al. 2024); ISO/IEC 29100 for purpose and principal.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias, final

import cedarpy

from fabnet_secure.access.policyfiles import Loaded, Policy, load_directory
from fabnet_secure.errors import AccessDenied, UsageError
from fabnet_secure.types import DecisionId, Purpose, new_id

ROLES: Final = ("ingestor", "trainer", "analyst", "dpo", "auditor", "operator")
"""What a principal can be; the duties are the policy files of the same names."""

VAULT_ACTIONS: Final = (
    "init", "consent_add", "consent_read", "track_list", "withdraw", "report", "audit_verify", "audit_export",
    "budget_read", "model_read", "role_grant", "key_rekey", "quarantine_list", "quarantine_release",
    "quarantine_destroy",
)  # fmt: skip
"""Acts on the vault as a whole (resource :class:`Vault`)."""

CONSENT_ACTIONS: Final = ("ingest", "train_plan", "train_run", "embed", "query_similar")
"""Acts on persons' data (resource :class:`ConsentClass`), each with a purpose."""

ACTIONS: Final = VAULT_ACTIONS + CONSENT_ACTIONS

_MINT: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who asks: an account of this host, with the roles it was given.

    Args:
        name: the principal's name in the vault.
        uid: the number of the account.
        roles: names out of :data:`ROLES`; a principal with an unknown one is denied everything.
    """

    name: str
    uid: int
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vault:
    """The vault as a whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentClass:
    """All consents that are alike; one decision serves them all.

    Args:
        purposes: what they cover.
        subject_category: whom they come from (``adult``, ``employee``…).
    """

    purposes: frozenset[Purpose]
    subject_category: str = "adult"


Resource: TypeAlias = Vault | ConsentClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question to the policies.

    Args:
        principal: who asks.
        action: what for, out of :data:`ACTIONS`.
        at: when (an aware time).
        purpose: the purpose of the act; acts on persons' data are denied without one.
        resource: on what.

    Raises:
        UsageError: the time names no offset.
    """

    principal: Principal
    action: str
    at: datetime
    purpose: Purpose | None = None
    resource: Resource = Vault()

    def __post_init__(self) -> None:
        """Refuse a time that could mean any of several moments."""
        if self.at.tzinfo is None:
            raise UsageError("the time of a request names no offset", code="TIME_WITHOUT_OFFSET")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The answer, as it is kept.

    Args:
        decision_id: its identifier.
        allowed: whether the act may be done.
        policy_id: the ``@id`` of the deciding policy; "" where no policy permits the act, or errors decided.
        policy_set_sha256: the digest of the policies that were asked.
        reason: one sentence, without names.
        errors: what Cedar could not evaluate; any makes a denial. May name the principal: not for messages or the log.
    """

    decision_id: DecisionId
    allowed: bool
    policy_id: str
    policy_set_sha256: str
    reason: str
    errors: tuple[str, ...] = ()


class Denied(AccessDenied):
    """A denial, with the decision that the caller writes down (``decision``)."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(
            decision.reason,
            hint="ask whoever grants roles here; the policies are in policies/access",
            decision_id=decision.decision_id,
            policy_id=decision.policy_id,
        )
        self.decision = decision


@final
class Grant:
    """Proof that a decision allowed an act. Made by :meth:`PolicySet.require` only; reads and journeys take it.

    Raises:
        TypeError: constructed directly, changed or pickled.
    """

    __slots__ = ("decision", "request")
    decision: Decision
    request: Request

    def __init__(self, *, request: Request, decision: Decision, minted_by: object = None) -> None:
        if minted_by is not _MINT:
            raise TypeError("only PolicySet.require makes a Grant")
        object.__setattr__(self, "request", request)
        object.__setattr__(self, "decision", decision)

    @property
    def principal(self) -> Principal:
        """Who was granted it."""
        return self.request.principal

    @property
    def action(self) -> str:
        """What was granted."""
        return self.request.action

    @property
    def purpose(self) -> Purpose | None:
        """For which purpose."""
        return self.request.purpose

    @property
    def decision_id(self) -> DecisionId:
        """The decision that granted it."""
        return self.decision.decision_id

    @property
    def policy_id(self) -> str:
        """The ``@id`` of the policy that permitted it."""
        return self.decision.policy_id

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise TypeError(f"a Grant does not change: {name}")

    def __repr__(self) -> str:
        return f"<Grant: {self.action} for {self.purpose} by {self.policy_id}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Grant is never pickled or copied")


@final
class PolicySet:
    """The access policies of a site, parsed once (about 0.1 ms a decision)."""

    __slots__ = ("_loaded",)

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded

    @classmethod
    def load(cls, directory: Path) -> "PolicySet":
        """Load ``directory``'s ``*.cedar`` files and ``schema.cedarschema``.

        Raises:
            Gap: (POLICY_INVALID) they do not parse or validate, or a policy lacks its ``@id`` or ``@title``.
        """
        return cls(load_directory(directory))

    @property
    def sha256(self) -> str:
        """Digest of the policies and the schema (hex)."""
        return self._loaded.sha256

    @property
    def policies(self) -> tuple[Policy, ...]:
        """Every policy's id, title and effect, in order."""
        return tuple(sorted(self._loaded.by_cedar_id.values(), key=lambda policy: policy.rank))

    def decide(self, request: Request) -> Decision:
        """Answer ``request``; everything but a clean Allow is a denial, whatever went wrong."""
        try:
            answer = self._ask(request)
        except ValueError as error:  # not even a well-formed question: an unknown role or purpose
            return self._denial(request, None, (str(error),))
        deciding = self._deciding(answer.diagnostics.reasons)
        errors = tuple(str(error) for error in answer.diagnostics.errors)
        if answer.decision is not cedarpy.Decision.Allow or errors or deciding is None or deciding.forbids:
            return self._denial(request, deciding, errors)
        return self._decision(deciding, allowed=True, reason=deciding.title)

    def require(self, request: Request) -> Grant:
        """Return the grant for ``request``.

        Raises:
            Denied: the policies do not allow it; its ``decision`` is for the caller to write down.
        """
        decision = self.decide(request)
        if not decision.allowed:
            raise Denied(decision)
        return Grant(request=request, decision=decision, minted_by=_MINT)

    def _ask(self, request: Request) -> cedarpy.AuthzResult:
        schema = self._loaded.schema
        entities = cedarpy.Entities.from_json_str(json.dumps(_entities(request)), schema=schema)
        question = {
            "principal": {"type": "Principal", "id": request.principal.name},
            "action": {"type": "Action", "id": request.action},
            "resource": _resource_uid(request.resource),
            "context": _context(request),
        }
        return cedarpy.is_authorized(question, self._loaded.policies, entities, schema=schema)

    def _deciding(self, cedar_ids: list[str]) -> Policy | None:
        """Return the first of the policies that decided: where several match, the author's order is the precedence."""
        matched = [self._loaded.by_cedar_id[cedar_id] for cedar_id in cedar_ids]
        return min(matched, key=lambda policy: policy.rank, default=None)

    def _denial(self, request: Request, deciding: Policy | None, errors: tuple[str, ...]) -> Decision:
        if deciding is not None and deciding.forbids:
            reason = f"{request.action} is forbidden by policy '{deciding.policy_id}': {deciding.title}"
            return self._decision(deciding, allowed=False, reason=reason, errors=errors)
        if errors:
            reason = f"{request.action} could not be decided, so it is denied: a policy or the request did not evaluate"
        else:
            roles = ", ".join(request.principal.roles) or "none"
            reason = f"no policy permits {request.action} for a principal with these roles: {roles}"
        return self._decision(None, allowed=False, reason=reason, errors=errors)

    def _decision(
        self, deciding: Policy | None, *, allowed: bool, reason: str, errors: tuple[str, ...] = ()
    ) -> Decision:
        return Decision(
            decision_id=DecisionId(new_id()),
            allowed=allowed,
            policy_id=deciding.policy_id if deciding else "",
            policy_set_sha256=self.sha256,
            reason=reason,
            errors=errors,
        )


def _entities(request: Request) -> list[dict[str, Any]]:
    principal = request.principal
    entities: list[dict[str, Any]] = [
        {
            "uid": {"type": "Principal", "id": principal.name},
            "attrs": {"uid": principal.uid},
            "parents": [{"type": "Role", "id": role} for role in principal.roles],
        }
    ]
    if isinstance(request.resource, ConsentClass):
        attributes = {
            "purposes": [_purpose(purpose) for purpose in sorted(request.resource.purposes)],
            "category": request.resource.subject_category,
        }
        entities.append({"uid": _resource_uid(request.resource), "attrs": attributes, "parents": []})
    return entities


def _resource_uid(resource: Resource) -> dict[str, str]:
    return {"type": type(resource).__name__, "id": "this"}


def _context(request: Request) -> dict[str, Any]:
    moment = request.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    context: dict[str, Any] = {"at": {"__extn": {"fn": "datetime", "arg": moment}}}
    if request.purpose is not None:
        context["purpose"] = _purpose(request.purpose)
    return context


def _purpose(purpose: Purpose) -> dict[str, dict[str, str]]:
    return {"__entity": {"type": "Purpose", "id": str(purpose)}}
