"""Decides an act by the access policies, and says by which one.

Guarantees: deny unless Cedar says Allow without a single error (Cedar skips a policy that fails to evaluate, even a
``forbid``, so an error means that a rule was not applied); a denial names the forbid that decided it where there is
one; a :class:`Grant` exists only where a decision allowed that very act. Does not know who is asking (the caller maps
the account to a :class:`Principal`), and does not write the decision down (the caller does, denials too).

Where no consent is at hand yet (an empty vault), ask for the class of consents that covers exactly the act's purpose:
whoever is denied that is denied in any case.

Source: Cedar (Cutler et al. 2024); ISO/IEC 29100 for purpose and principal.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, final

import cedarpy

from fabnet_secure.access.policyfiles import Loaded, Policy, load_directories
from fabnet_secure.access.question import (
    ACTIONS,
    CONSENT_ACTIONS,
    ROLES,
    TWO_PEOPLE,
    VAULT_ACTIONS,
    ConsentClass,
    Principal,
    Request,
    Resource,
    Vault,
    cedar_entities,
    cedar_question,
)
from fabnet_secure.errors import AccessDenied
from fabnet_secure.types import DecisionId, Purpose, new_id

__all__ = [
    "ACTIONS", "CONSENT_ACTIONS", "ROLES", "TWO_PEOPLE", "VAULT_ACTIONS", "ConsentClass", "Decision", "Denied", "Grant",
    "Matches", "PolicySet", "Principal", "Request", "Resource", "Vault",
]  # fmt: skip
_MINT: Final = object()
_MOST_PARSED: Final = 1024
_FAILED: Final = re.compile(r"error while evaluating policy `(?P<policy_id>[^`]+)`")


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
        failed: the ``@id`` of each policy among them, for messages and the log.
    """

    decision_id: DecisionId
    allowed: bool
    policy_id: str
    policy_set_sha256: str
    reason: str
    errors: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches:
    """Every policy that says something about a request, whichever decided; each in the order of rank.

    Args:
        permits: those that permit it.
        forbids: those that forbid it.
        failed: the ``@id`` of those that could not be evaluated.
    """

    permits: tuple[Policy, ...]
    forbids: tuple[Policy, ...]
    failed: tuple[str, ...]


class Denied(AccessDenied):
    """A denial, with the decision that the caller writes down (``decision``)."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(
            decision.reason,
            hint=_hint(decision),
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

    __slots__ = ("_loaded", "_parsed")

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._parsed: dict[str, cedarpy.Entities] = {}

    @classmethod
    def load(cls, shipped: Path, *sites: Path) -> "PolicySet":
        """Load ``shipped``'s ``*.cedar`` files and ``schema.cedarschema``, and what a site's own directories add.

        Raises:
            Gap: (POLICY_INVALID) they do not parse or validate, a policy lacks its ``@id`` or ``@title``, or a site's
                policy takes the ``@id`` of another.
        """
        return cls(load_directories(shipped, *sites))

    @property
    def sha256(self) -> str:
        """Digest of the policies and the schema (hex)."""
        return self._loaded.sha256

    @property
    def policies(self) -> tuple[Policy, ...]:
        """Every policy's id, title and effect, in order."""
        return tuple(sorted(self._loaded.by_id.values(), key=_rank))

    def policy(self, policy_id: str) -> Policy | None:
        """Return the policy of this ``@id``, or None."""
        return self._loaded.by_id.get(policy_id)

    def decide(self, request: Request) -> Decision:
        """Answer ``request``; everything but a clean Allow is a denial, whatever went wrong."""
        try:
            answer = self._ask(request, self._loaded.policies)
        except (ValueError, TypeError, OverflowError) as error:  # no well-formed question: an unknown role…
            return self._denial(request, None, (str(error),))
        deciding = min(self._named(answer), key=_rank, default=None)
        errors = tuple(str(error) for error in answer.diagnostics.errors)
        if answer.decision is not cedarpy.Decision.Allow or errors or deciding is None or deciding.forbids:
            return self._denial(request, deciding, errors)
        return self._decision(deciding, allowed=True, reason=deciding.title)

    def matching(self, request: Request) -> Matches:
        """Return every policy that permits or forbids ``request``, those that did not decide too; decides nothing."""
        try:
            permits = self._ask(request, self._loaded.permits)
            forbids = self._ask(request, self._loaded.forbids)
        except (ValueError, TypeError, OverflowError):
            return Matches(permits=(), forbids=(), failed=())
        return Matches(
            permits=tuple(sorted(self._named(permits), key=_rank)),
            forbids=tuple(sorted(self._named(forbids), key=_rank)),
            failed=_failed((*permits.diagnostics.errors, *forbids.diagnostics.errors)),
        )

    def require(self, request: Request) -> Grant:
        """Return the grant for ``request``.

        Raises:
            Denied: the policies do not allow it; its ``decision`` is for the caller to write down.
        """
        decision = self.decide(request)
        if not decision.allowed:
            raise Denied(decision)
        return Grant(request=request, decision=decision, minted_by=_MINT)

    def _ask(self, request: Request, policies: cedarpy.PolicySet) -> cedarpy.AuthzResult:
        entities = self._entities(cedar_entities(request))
        return cedarpy.is_authorized(cedar_question(request), policies, entities, schema=self._loaded.schema)

    def _entities(self, text: str) -> cedarpy.Entities:
        """Parse a principal and a resource, or find them parsed: the same few ask about the same few classes."""
        known = self._parsed.get(text)
        if known is None:
            if len(self._parsed) >= _MOST_PARSED:
                self._parsed.clear()
            known = self._parsed[text] = cedarpy.Entities.from_json_str(text, schema=self._loaded.schema)
        return known

    def _named(self, answer: cedarpy.AuthzResult) -> list[Policy]:
        """Return the policies that an answer rests on: where several match, the author's order is the precedence."""
        return [self._loaded.by_id[policy_id] for policy_id in answer.diagnostics.reasons]

    def _denial(self, request: Request, deciding: Policy | None, errors: tuple[str, ...]) -> Decision:
        action, failed = str(request.action), _failed(errors)
        if deciding is not None and deciding.forbids:
            reason = f"{action} is forbidden by policy '{deciding.policy_id}': {deciding.title}"
            return self._decision(deciding, allowed=False, reason=reason, errors=errors)
        if failed:
            named = ", ".join(f"'{policy_id}'" for policy_id in failed)
            reason = f"{action} could not be decided, so it is denied: the policy {named} did not evaluate"
        elif errors:
            reason = f"{action} could not be decided, so it is denied: the request did not evaluate"
        else:
            roles = ", ".join(request.principal.roles) or "none"
            reason = f"no policy permits {action} for a principal with these roles: {roles}"
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
            failed=_failed(errors),
        )


def _rank(policy: Policy) -> int:
    return policy.rank


def _failed(errors: Iterable[str]) -> tuple[str, ...]:
    """Return the ids of the policies that Cedar's errors name; the rest of an error may hold a person's name."""
    found = (_FAILED.match(error) for error in errors)
    return tuple(sorted({one["policy_id"] for one in found if one}))


def _hint(decision: Decision) -> str:
    if decision.failed:
        return "whoever writes the policies mends it; until then everything that it might forbid is denied"
    return "ask whoever grants roles here; 'fabnet-secure policy explain ACTION' says what would have to be different"
