"""Whose SSH keys approve: enrolled, replaced and removed by whoever grants roles, and never in silence.

Guarantees that a key is one person's for ever, that a person has one key in use, and that every change is in the log
with the key's fingerprint. The log is what counts: before an approval is believed, every row must bear a digest that
only this vault can make *and* say what the log says, so a row that was changed, added, removed or put back behind the
program's back is refused (``APPROVER_CHANGED``, exit 30), and nothing is approved until it is set right.

Does not stop whoever grants roles from enrolling a key of their own under another account's name: the log says that it
was done, when, and by whom; whoever reads it (an auditor, a witness) sees two names with keys that came from one hand.
"""

import pwd
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fabnet_secure.crypto.digest import fingerprint
from fabnet_secure.crypto.sshsig import SshKey, fingerprint_of, read_public_key
from fabnet_secure.errors import IntegrityFailure, UsageError
from fabnet_secure.pipeline.applications import read_small
from fabnet_secure.pipeline.authorize import authorize, record_grant
from fabnet_secure.pipeline.context import Site
from fabnet_secure.store import approvals, principals
from fabnet_secure.store.approvals import ApproverRow
from fabnet_secure.store.database import Connection, Work
from fabnet_secure.store.log_search import entries_of
from fabnet_secure.types import rfc3339

NOBODY = -1
"""The number of an account that this machine does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """What enrolling did, or would do: ``replaced`` is the fingerprint of the person's key before, "" for none."""

    account: str
    fingerprint: str
    replaced: str
    already: bool = False


def enrol(site: Site, account: str, key_file: Path, *, dry_run: bool = False) -> Enrolled:
    """Let a person approve with this key from now on, in place of any other of theirs.

    Args:
        site: an open vault.
        account: the operating-system account, which has roles already.
        key_file: the public key (``id_ed25519.pub``).
        dry_run: say what would be done, and change nothing.

    Raises:
        AccessDenied: the principal may not grant roles.
        UsageError: code ``SSH_KEY_INVALID``, ``ACCOUNT_UNKNOWN``, or ``KEY_TAKEN``: it is or was in use already.
        IntegrityFailure: code ``APPROVER_CHANGED``.
    """
    grant = authorize(site, "role_grant")
    key = read_public_key(read_small(key_file, "key").decode("utf-8", "replace"))
    with site.reading() as connection:
        planned = _planned(site, connection, account, key)
    if dry_run or planned.already:
        return planned
    with site.work() as work:
        planned = _planned(site, work.connection, account, key)
        name = _principal(work.connection, account).name
        if planned.replaced:
            _end(site, work, _living_of(site, work.connection, name))
        at = site.clock()
        bare = ApproverRow(
            fingerprint=key.digest, name=name, public_key=key.line, added_at=at, removed_at=None, proof=""
        )
        approvals.add_approver(work.connection, _proven(site, bare))
        facts = {"key": key.fingerprint, "holder": _mark(site, name), "replaces": planned.replaced}
        work.log("approver.enrolled", facts=facts)
        record_grant(site, work, grant)
    return planned


def remove(site: Site, account: str, *, dry_run: bool = False) -> Enrolled:
    """End the use of a person's key; nobody enrols it again.

    Raises:
        AccessDenied, IntegrityFailure: as :func:`enrol`.
        UsageError: code ``ACCOUNT_UNKNOWN``, or ``NO_KEY``: the person has none in use.
    """
    grant = authorize(site, "role_grant")
    with site.reading() as connection:
        row = _living_of(site, connection, _principal(connection, account).name)
    done = Enrolled(account=account, fingerprint="", replaced=fingerprint_of(row.fingerprint))
    if dry_run:
        return done
    with site.work() as work:
        row = _living_of(site, work.connection, row.name)
        _end(site, work, row)
        work.log("approver.removed", facts={"key": done.replaced, "holder": _mark(site, row.name)})
        record_grant(site, work, grant)
    return done


def listing(site: Site) -> tuple[ApproverRow, ...]:
    """Return every key that was ever enrolled.

    Raises:
        AccessDenied, IntegrityFailure: as :func:`enrol`.
    """
    authorize(site, "role_grant")
    with site.reading() as connection:
        return checked(site, connection)


def checked(site: Site, connection: Connection) -> tuple[ApproverRow, ...]:
    """Return every key, each exactly as the log says that it was enrolled, replaced or removed.

    Raises:
        IntegrityFailure: code ``APPROVER_CHANGED``.
    """
    rows = approvals.list_approvers(connection)
    told = {fingerprint_of(row.fingerprint): (_mark(site, row.name), row.removed_at is None) for row in rows}
    sound = all(row == _proven(site, row) and _is_its_own(row) for row in rows)
    if not sound or told != _logged(connection):
        raise IntegrityFailure(
            "the keys of those who approve are not the ones that the log says were enrolled",
            hint="compare 'fabnet-secure approval keys' with the log, and restore the database; nothing was approved",
            code="APPROVER_CHANGED",
        )
    return tuple(rows)


def uid_of(account: str) -> int:
    """Return the number of an account on this machine; :data:`NOBODY` where there is none."""
    try:
        return pwd.getpwnam(account).pw_uid
    except (KeyError, ValueError):  # a name that no account can have, too
        return NOBODY


def _planned(site: Site, connection: Connection, account: str, key: SshKey) -> Enrolled:
    name = _principal(connection, account).name
    rows = checked(site, connection)
    held = next((row for row in rows if row.name == name and row.removed_at is None), None)
    if held is not None and held.fingerprint == key.digest:
        return Enrolled(account=account, fingerprint=key.fingerprint, replaced="", already=True)
    if any(row.fingerprint == key.digest for row in rows):
        raise UsageError(
            "this key is, or was, somebody's already: a key belongs to one person, once",
            hint="make another: ssh-keygen -t ed25519",
            code="KEY_TAKEN",
        )
    replaced = fingerprint_of(held.fingerprint) if held else ""
    return Enrolled(account=account, fingerprint=key.fingerprint, replaced=replaced)


def _principal(connection: Connection, account: str) -> principals.PrincipalRow:
    row = principals.find_by_os_user(connection, account)
    if row is None:
        raise UsageError(
            "no account of this name has a role here",
            hint="give it one first: fabnet-secure policy grant ACCOUNT --role …",
            code="ACCOUNT_UNKNOWN",
        )
    return row


def _living_of(site: Site, connection: Connection, name: str) -> ApproverRow:
    for row in checked(site, connection):
        if row.name == name and row.removed_at is None:
            return row
    raise UsageError("this account has no key in use", hint="run 'fabnet-secure approval keys'", code="NO_KEY")


def _end(site: Site, work: Work, row: ApproverRow) -> None:
    now = site.clock()
    ended = _proven(site, replace(row, removed_at=now))
    approvals.remove_approver(work.connection, row.fingerprint, at=now, proof=ended.proof)


def _proven(site: Site, row: ApproverRow) -> ApproverRow:
    """Return the row with the digest over all of it that only this vault can make."""
    ended = rfc3339(row.removed_at) if row.removed_at else ""
    parts = ["approver", row.fingerprint, row.name, row.public_key, rfc3339(row.added_at), ended]
    return replace(row, proof=fingerprint(site.index_key, parts))


def _is_its_own(row: ApproverRow) -> bool:
    """Tell whether the fingerprint that the row is found by is its key's."""
    try:
        return read_public_key(row.public_key).digest == row.fingerprint
    except UsageError:
        return False


def _mark(site: Site, name: str) -> str:
    """Return how the log names a person: only this vault can tell who it is."""
    return fingerprint(site.index_key, ["approver", name])


def _logged(connection: Connection) -> Mapping[str, tuple[str, bool]]:
    """Fold the log: of every key whose it is, and whether it is in use."""
    keys: dict[str, tuple[str, bool]] = {}
    for entry in entries_of(connection, "approver."):
        key, holder = str(entry.facts["key"]), str(entry.facts["holder"])
        keys[key] = (holder, entry.act == "approver.enrolled")
        if replaced := str(entry.facts.get("replaces", "")):
            keys[replaced] = (holder, False)
    return keys
