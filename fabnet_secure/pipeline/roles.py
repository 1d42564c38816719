"""Who may do what: accounts of this machine and their roles, changed only by an operator and always logged."""

import re

from fabnet_secure.access.decision import ROLES
from fabnet_secure.errors import UsageError
from fabnet_secure.pipeline.authorize import authorize, record_grant
from fabnet_secure.pipeline.context import Site
from fabnet_secure.store import principals
from fabnet_secure.store.database import Connection

_ACCOUNT = re.compile(r"[a-z_][a-z0-9_.-]{0,31}\Z")


def listing(site: Site) -> tuple[principals.PrincipalRow, ...]:
    """Return every account that was ever given a role."""
    authorize(site, "role_grant")
    with site.reading() as connection:
        return tuple(principals.list_principals(connection))


def set_roles(site: Site, account: str, roles: tuple[str, ...], *, dry_run: bool = False) -> principals.PrincipalRow:
    """Give an account exactly these roles; with ``dry_run`` only say whether that could be done.

    Raises:
        UsageError: the account or a role has no such name, or the vault would be left without an operator.
    """
    grant = authorize(site, "role_grant")
    if not _ACCOUNT.match(account):
        raise UsageError(f"not the name of an account: {account[:40]!r}", code="ACCOUNT_INVALID")
    unknown = sorted(set(roles) - set(ROLES))
    if unknown:
        hint = "one of: " + ", ".join(ROLES)
        raise UsageError(f"unknown roles: {', '.join(unknown)[:60]}", hint=hint, code="ROLE_UNKNOWN")
    if dry_run:
        with site.reading() as connection:
            return _after(connection, account, roles)
    with site.work() as work:
        row = _after(work.connection, account, roles)
        if principals.find_by_os_user(work.connection, account) is None:
            principals.add_principal(work.connection, row)
        else:
            principals.set_roles(work.connection, row.name, roles)
        work.log("access.roles_set", facts={"roles": sorted(roles)})
        record_grant(site, work, grant)
    return row


def _after(connection: Connection, account: str, roles: tuple[str, ...]) -> principals.PrincipalRow:
    """Return the account's row as it would be; somebody must still be an operator then."""
    known = principals.find_by_os_user(connection, account)
    others = [row for row in principals.list_principals(connection) if row.os_user != account]
    if not any("operator" in held for held in (roles, *(row.roles for row in others))):
        raise UsageError(
            "no operator would be left",
            hint="give another account the role operator first",
            code="LAST_OPERATOR",
        )
    return principals.PrincipalRow(name=known.name if known else account, os_user=account, roles=roles)
