"""``ropa``: the record of processing activities (GDPR Art. 30(1) and (2); APPI columns).

Guarantees that an entry is called complete only when no field that Article 30 asks for is empty, and names
the empty ones. Does not find processing that the program does not do itself.
"""

from dataclasses import dataclass
from typing import cast

from fabnet_secure.compliance.evidence import plain
from fabnet_secure.types import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """A controller, joint controller, representative or processor."""

    name: str
    contact: str = ""
    role: str = "controller"


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many of something: a category of persons, a table's rows."""

    name: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """One processing activity: one purpose, as the consents on file describe it.

    Periods are ISO 8601. The ``appi_*`` fields are the columns that Japan's Act adds: whether the data hold
    an individual identification code (個人識別符号), whether they hold special-care information (要配慮個人情報), and
    who else gets them by entrustment (委託) or joint use (共同利用); third parties are ``recipients`` and provision
    abroad is ``transfers``.
    """

    purpose: str
    legal_basis: tuple[str, ...]
    special_category: bool
    special_category_ground: str = "GDPR 9(2)(a)"
    subject_categories: tuple[Count, ...]
    data_categories: tuple[str, ...]
    operations: tuple[str, ...]
    recipients: tuple[str, ...]
    transfers: tuple[str, ...]
    retention: tuple[str, ...]
    storage_locations: tuple[str, ...]
    persons: int
    consents_effective: int
    consents_ended: int
    appi_identification_code: bool = True
    appi_special_care: bool = False
    appi_entrusted_to: tuple[str, ...] = ()
    appi_joint_use: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A technical or organisational measure (Art. 32(1)): a word, and what was observed of it."""

    name: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RopaFacts:
    """Everything that the record of processing activities says."""

    controller: Party
    activities: tuple[Activity, ...]
    measures: tuple[Measure, ...]
    holdings: tuple[Count, ...]
    persons: int
    consents_effective: int
    joint_controllers: tuple[Party, ...] = ()
    representative: Party | None = None
    processor_for: tuple[Party, ...] = ()


def build_ropa(facts: RopaFacts) -> dict[str, Json]:
    """Return the report's content: facts, summary, outcome (``complete`` or ``incomplete``) and missing fields."""
    missing: list[Json] = [
        {"purpose": activity.purpose, "field": name} for activity in facts.activities for name in empty_fields(activity)
    ]
    if not (facts.controller.name and facts.controller.contact):
        missing.append({"purpose": "", "field": "controller"})
    if not facts.measures:
        missing.append({"purpose": "", "field": "measures"})
    if not facts.activities:
        missing.append({"purpose": "", "field": "activities"})
    return {
        "outcome": "incomplete" if missing else "complete",
        "summary": {
            "activities": len(facts.activities),
            "persons": facts.persons,
            "consents_effective": facts.consents_effective,
            "transfers": sum(len(activity.transfers) for activity in facts.activities),
            "missing": len(missing),
        },
        "missing": missing,
        "facts": cast("dict[str, Json]", plain(facts)),
    }


def empty_fields(activity: Activity) -> tuple[str, ...]:
    """Return the fields that Art. 30(1)(b)-(f) asks for and ``activity`` leaves empty (no recipient is an answer)."""
    asked = ("legal_basis", "subject_categories", "data_categories", "operations", "retention", "storage_locations")
    return tuple(name for name in asked if not getattr(activity, name))
