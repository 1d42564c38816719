"""Says what the access policies would answer, and tests that they answer as their tables say.

Guarantees: nothing is done, granted or decided for good: no act follows from an explanation, and no person's data,
consent or key is read. Whoever asks about anybody but themselves needs ``policy_read``. Does not say whether consents
or keys would allow the act as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fabnet_secure.access.decision import (
    ACTIONS,
    CONSENT_ACTIONS,
    ROLES,
    ConsentClass,
    PolicySet,
    Principal,
    Request,
    Resource,
    Vault,
)
from fabnet_secure.access.examples import Verdict, read_tables, run
from fabnet_secure.access.explanation import Explanation
from fabnet_secure.access.explanation import explain as explain_request
from fabnet_secure.config import policies_dir
from fabnet_secure.consent.record import SubjectCategory
from fabnet_secure.errors import UsageError
from fabnet_secure.pipeline.approvers import NOBODY, uid_of
from fabnet_secure.pipeline.authorize import authorize, premises_of
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.purposes import read_purpose
from fabnet_secure.store import principals
from fabnet_secure.types import Purpose, parse_rfc3339

SHIPPED = "shipped"
"""What stands for the shipped tables among the directories of tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What somebody wants explained.

    Args:
        action: the act.
        account: whose act; None is one's own.
        roles: the act of a principal with these roles, in place of an account's.
        purpose: its purpose, if any.
        consents: the class of consents as ``purpose,…,category``; by default adults' that cover just the purpose.
        at: when (RFC 3339); None is now.
    """

    action: str
    account: str | None = None
    roles: tuple[str, ...] = ()
    purpose: str | None = None
    consents: str | None = None
    at: str | None = None


def explain(site: Site, asked: Asked) -> Explanation:
    """Say what the policies answer, by which policy, and what would have to be different.

    Raises:
        UsageError: (ACTION_UNKNOWN, ROLE_UNKNOWN, PURPOSE_INVALID, CLASS_INVALID, USAGE) a word that is none.
        AccessDenied: the question is about somebody else, and the principal may not read the policies.
    """
    if asked.roles or asked.account not in {None, site.principal.name}:
        authorize(site, "policy_read")
    _check_words("action", (asked.action,), ACTIONS)
    purpose = None if asked.purpose is None else read_purpose(asked.purpose)
    request = Request(
        principal=_principal(site, asked),
        action=asked.action,
        purpose=purpose,
        resource=_resource(asked, purpose),
        at=_moment(site, asked.at),
        premises=premises_of(site.settings),
    )
    return explain_request(site.policies, request)


def check_tables(site: Site | None, tables: Sequence[str] = (), *, own: Path | None = None) -> Verdict:
    """Put every example of the tables to the policies in force in a vault, or without one to those that are shipped.

    Args:
        site: an open vault, or None.
        tables: directories of tables; ``shipped`` is the shipped one, and so is none at all. Where two answer the same
            question, the later one's answer holds: so a site says what its own policies change.
        own: a directory of policies to try beside the shipped ones, before they are adopted.

    Raises:
        UsageError: (TABLE_INVALID) a table is malformed, or there is none.
        Gap: (POLICY_INVALID) the policies do not load.
        AccessDenied: with a vault, the principal may not read its policies.
    """
    if site is not None:
        authorize(site, "policy_read")
        policies = site.policies
    else:
        policies = PolicySet.load(policies_dir() / "access", *([] if own is None else [own]))
    directories = [policies_dir() / "tests" if name == SHIPPED else Path(name) for name in tables or (SHIPPED,)]
    return run(policies, read_tables(*directories, categories=tuple(SubjectCategory)))


def _principal(site: Site, asked: Asked) -> Principal:
    if asked.roles:
        if asked.account is not None:
            raise UsageError("an account has its own roles", hint="give --account or --role, not both")
        _check_words("role", asked.roles, ROLES)
        return Principal(name="somebody", uid=NOBODY, roles=asked.roles)
    if asked.account in {None, site.principal.name}:
        return site.principal
    account = str(asked.account)
    with site.reading() as connection:
        row = principals.find_by_os_user(connection, account)
    if row is None:
        return Principal(name=account[:200], uid=uid_of(account), roles=())
    return Principal(name=row.name, uid=uid_of(account), roles=row.roles)


def _check_words(kind: str, words: tuple[str, ...], known: tuple[str, ...]) -> None:
    strange = [word for word in words if word not in known]
    if strange:
        raise UsageError(
            f"unknown {kind}: {strange[0][:40]!r}",
            hint="one of: " + ", ".join(known),
            code=f"{kind.upper()}_UNKNOWN",
        )


def _resource(asked: Asked, purpose: Purpose | None) -> Resource:
    if asked.action not in CONSENT_ACTIONS:
        if asked.consents is not None:
            raise UsageError(
                f"{asked.action} is an act on the vault: it has no class of consents", code="CLASS_INVALID"
            )
        return Vault()
    if asked.consents is None:
        return ConsentClass(purposes=frozenset() if purpose is None else frozenset({purpose}))
    return read_class(asked.consents)


def read_class(text: str) -> ConsentClass:
    """Read ``purpose,…,category``: what the consents cover, and whom they come from (``adult`` where it is left out).

    Raises:
        UsageError: (CLASS_INVALID) a word is neither a purpose nor a category, or two are categories.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    purposes = [Purpose(word) for word in words if word in set(Purpose)]
    rest = [word for word in words if word not in set(Purpose)]
    if len(rest) > 1 or not set(rest) <= set(SubjectCategory):
        raise UsageError(
            f"no class of consents: {text[:80]!r}",
            hint="write purposes and at most one category, such as train_model,embed,adult; categories: "
            + ", ".join(SubjectCategory),
            code="CLASS_INVALID",
        )
    return ConsentClass(purposes=frozenset(purposes), subject_category=rest[0] if rest else SubjectCategory.ADULT)


def _moment(site: Site, text: str | None) -> datetime:
    return site.clock() if text is None else parse_rfc3339(text)
