"""The question that an access decision answers: who asks, what for, on what, when and where; and its form for Cedar.

Guarantees: a request's moment is one moment (it names an offset). Does not check the words of a request: what the
schema does not know, Cedar refuses, and :mod:`fabnet_secure.access.decision` denies.

Source: ISO/IEC 29100 for principal and purpose; Cedar's JSON forms of entities and requests.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from fabnet_secure.access.premises import Premises
from fabnet_secure.errors import UsageError
from fabnet_secure.types import Purpose

ROLES: Final = ("ingestor", "trainer", "analyst", "dpo", "auditor", "operator")
"""What a principal can be; the duties are the policy files of the same names."""

VAULT_ACTIONS: Final = (
    "init", "consent_add", "consent_read", "track_list", "withdraw", "report", "audit_verify", "audit_export",
    "audit_prove", "audit_witness", "budget_read", "budget_raise", "model_read", "role_grant", "key_list", "key_grant",
    "key_rekey", "key_reencrypt", "key_destroy", "key_recover", "backup_create", "backup_restore", "policy_read",
    "policy_change", "approval_request", "hold_place", "hold_release", "quarantine_list", "quarantine_release",
    "quarantine_destroy", "vector_export",
)  # fmt: skip
"""Acts on the vault as a whole (resource :class:`Vault`)."""

CONSENT_ACTIONS: Final = (
    "ingest", "train_plan", "train_run", "embed", "query_similar", "query_clip", "query_scores", "query_stats",
)  # fmt: skip
"""Acts on persons' data (resource :class:`ConsentClass`), each with a purpose."""

TWO_PEOPLE: Final = frozenset({"vector_export", "hold_release", "budget_raise", "policy_change", "key_destroy"})
"""Acts that need the approval of two people on top of a permit (pipeline/approvals.py)."""

ACTIONS: Final = VAULT_ACTIONS + CONSENT_ACTIONS

_ANYWHERE: Final = Premises()


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
        premises: where, and with it the hour that policies see.

    Raises:
        UsageError: the time names no offset.
    """

    principal: Principal
    action: str
    at: datetime
    purpose: Purpose | None = None
    resource: Resource = Vault()
    premises: Premises = _ANYWHERE

    def __post_init__(self) -> None:
        """Refuse a time that could mean any of several moments."""
        if self.at.tzinfo is None:
            raise UsageError("the time of a request names no offset", code="TIME_WITHOUT_OFFSET")


def cedar_entities(request: Request) -> str:
    """Return the principal and the resource, with their attributes, as Cedar's JSON."""
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
    return json.dumps(entities)


def cedar_question(request: Request) -> dict[str, Any]:
    """Return the request in the form that ``cedarpy.is_authorized`` takes."""
    moment = request.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    there = request.premises.at(request.at)
    context: dict[str, Any] = {
        "at": {"__extn": {"fn": "datetime", "arg": moment}},
        "hour": there.hour,
        "weekday": there.weekday,
        "site": there.site,
        "open": there.open,
    }
    if request.purpose is not None:
        context["purpose"] = _purpose(request.purpose)
    return {
        "principal": {"type": "Principal", "id": request.principal.name},
        "action": {"type": "Action", "id": request.action},
        "resource": _resource_uid(request.resource),
        "context": context,
    }


def _resource_uid(resource: Resource) -> dict[str, str]:
    return {"type": type(resource).__name__, "id": "this"}


def _purpose(purpose: Purpose) -> dict[str, dict[str, str]]:
    return {"__entity": {"type": "Purpose", "id": str(purpose)}}
