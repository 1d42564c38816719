"""Explains a decision: which policy decided and why, which others matched, and what would have to be different.

Guarantees: the answer is what :meth:`PolicySet.decide` says to the same request, and each way out that is named was put
to the policies and allowed: nothing here knows a rule by itself. Does not do the act, reads nothing of a person, and
grants nothing: an explanation is no :class:`Grant`. Does not look at consents or keys: an act that the policies allow
may still find no effective consent, or a keyring that does not open what it needs.

The ways out are the smallest: single changes; where none is enough, two together, then three.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Final

from fabnet_secure.access.decision import (
    CONSENT_ACTIONS,
    ROLES,
    TWO_PEOPLE,
    ConsentClass,
    Decision,
    Matches,
    PolicySet,
    Request,
)
from fabnet_secure.access.premises import ALWAYS
from fabnet_secure.types import Purpose

_MOST_CHANGES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing about a request that could be different.

    Args:
        what: ``role``, ``purpose``, ``consent`` or ``hours``.
        value: the role, or the purpose that the act has or that the consents cover; "" for the hours.
    """

    what: str
    value: str = ""

    def __str__(self) -> str:
        """Say it in words that follow "it would be allowed"."""
        return {
            "role": f"with the role {self.value}",
            "purpose": f"for the purpose {self.value}",
            "consent": f"on consents that cover {self.value}",
            "hours": "during the site's open hours",
        }[self.what]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What the policies say to a request, and why.

    Args:
        request: the question.
        decision: the answer.
        matches: every policy that permits or forbids it, and those that could not be evaluated.
        ways: the smallest sets of changes after which it would be allowed; none for what is allowed as it is, and for
            what no such change would allow.
    """

    request: Request
    decision: Decision
    matches: Matches
    ways: tuple[tuple[Change, ...], ...]

    @property
    def two_people(self) -> bool:
        """Whether two people have to approve the act besides."""
        return self.request.action in TWO_PEOPLE

    def sentence(self) -> str:
        """Say in one sentence what was decided, by which policy, and why."""
        if not self.decision.allowed:
            return self.decision.reason
        besides = ", and two people have to approve it besides" if self.two_people else ""
        return (
            f"{self.request.action} is allowed by policy '{self.decision.policy_id}': {self.decision.reason}{besides}"
        )

    def otherwise(self) -> str:
        """Say in one sentence what would have to be different; "" for what is allowed."""
        if self.decision.allowed:
            return ""
        if self.decision.failed:
            return "the policy that did not evaluate has to be mended first"
        if not self.ways:
            return f"no role and no purpose makes {self.request.action} allowed here: a policy of the site's own would"
        return "it would be allowed " + ", or ".join(" and ".join(map(str, way)) for way in self.ways)


def explain(policies: PolicySet, request: Request) -> Explanation:
    """Decide ``request`` without recording or granting anything, and say why."""
    decision = policies.decide(request)
    return Explanation(
        request=request,
        decision=decision,
        matches=policies.matching(request),
        ways=() if decision.allowed or decision.failed else _ways(policies, request),
    )


def _ways(policies: PolicySet, request: Request) -> tuple[tuple[Change, ...], ...]:
    """Return the smallest sets of changes that make ``request`` allowed."""
    kinds = _candidates(request)
    for count in range(1, _MOST_CHANGES + 1):
        sets = (way for chosen in combinations(kinds, count) for way in product(*chosen))
        found = tuple(way for way in sets if policies.decide(_changed(request, way)).allowed)
        if found:
            return found
    return ()


def _candidates(request: Request) -> Sequence[Sequence[Change]]:
    """Return what could be different, a list for each kind of change; of each kind at most one is made."""
    kinds = [[Change(what="role", value=role) for role in ROLES if role not in request.principal.roles]]
    if request.action in CONSENT_ACTIONS:
        kinds.append([Change(what="purpose", value=one) for one in Purpose if one != request.purpose])
    if isinstance(request.resource, ConsentClass) and not _only_its_own(request):
        kinds.append([Change(what="consent", value=one) for one in _uncovered(request.resource)])
    if not request.premises.at(request.at).open:
        kinds.append([Change(what="hours")])
    return kinds


def _only_its_own(request: Request) -> bool:
    """Tell whether the class covers the act's purpose and no other: then it follows the purpose."""
    covers = request.resource.purposes if isinstance(request.resource, ConsentClass) else frozenset()
    return covers == (frozenset() if request.purpose is None else {request.purpose})


def _uncovered(resource: ConsentClass) -> Iterator[Purpose]:
    return (one for one in Purpose if one not in resource.purposes)


def _changed(request: Request, way: tuple[Change, ...]) -> Request:
    for change in way:
        resource = request.resource
        if change.what == "role":
            roles = (*request.principal.roles, change.value)
            request = replace(request, principal=replace(request.principal, roles=roles))
        elif change.what == "purpose":
            purpose = Purpose(change.value)
            if isinstance(resource, ConsentClass) and _only_its_own(request):
                resource = replace(resource, purposes=frozenset({purpose}))
            request = replace(request, purpose=purpose, resource=resource)
        elif change.what == "consent" and isinstance(resource, ConsentClass):
            covers = resource.purposes | {Purpose(change.value)}
            request = replace(request, resource=replace(resource, purposes=covers))
        else:
            request = replace(request, premises=replace(request.premises, open_hours=ALWAYS))
    return request
