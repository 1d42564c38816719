"""Two people for what is dangerous: a request, two signatures over it, and one use.

:func:`require` believes an approval only when all of this holds: two files hold the same request, byte for byte; each
bears a signature over it, in our namespace, by a key that is enrolled now and was enrolled before the request was made;
the two keys are two people's, with two accounts, who may take part in approvals by today's policies; the request is for
exactly this act with exactly these values, in this vault, under the access policies in force; its time has come and is
not over; the whole log holds, begins with what the request says that it was, and records that the request was made; and
it was not used, by the log or by the table. :meth:`Approved.use` asks again, inside the transaction that commits the
act, for what may have changed since, and marks the request used there: of two processes one is refused, and an act that
was cut off used up nothing (until a backup is restored: that takes whatever the anchor names for used).

Does not judge whether the two people are wise, nor whether they are two in truth (``approvers.py`` says what it knows).
Every refusal by :func:`require` is in the log.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from fabnet_secure.access.decision import Principal
from fabnet_secure.audit.anchor import USED, Used
from fabnet_secure.audit.log import root_at
from fabnet_secure.audit.verify import check_log
from fabnet_secure.consent.duration import add_duration
from fabnet_secure.crypto.digest import random_bytes
from fabnet_secure.crypto.signing import verify_signature
from fabnet_secure.crypto.sshsig import broken, fingerprint_of, read_public_key, signer_of, verify
from fabnet_secure.errors import AccessDenied, FabnetError
from fabnet_secure.pipeline.approval_form import Form, Signed, command_for, read_params, read_signed, same
from fabnet_secure.pipeline.approvers import NOBODY, checked, uid_of
from fabnet_secure.pipeline.authorize import authorize, record_grant, request_of
from fabnet_secure.pipeline.context import Site
from fabnet_secure.store import approvals, principals
from fabnet_secure.store.approvals import ApproverRow
from fabnet_secure.store.database import Connection, Work
from fabnet_secure.store.log_search import entries_of
from fabnet_secure.store.log_storage import SqlLogStorage, latest_checkpoint
from fabnet_secure.types import Json

PEOPLE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """What two people approved, checked; it becomes good for an act by :meth:`use`, once.

    Attributes:
        site: the vault.
        form: the request.
        keys: the SHA-256 of the two keys (hex).
    """

    site: Site
    form: Form
    keys: tuple[str, str]

    @property
    def facts(self) -> dict[str, Json]:
        """What the act's own log entry says of it: the request's digest and the approvers' key fingerprints."""
        return {"request": self.form.sha256, "approvers": [fingerprint_of(key) for key in self.keys]}

    def use(self, work: Work) -> None:
        """Mark the request used, in the act's own transaction; it is undone with the act.

        Raises:
            AccessDenied: code ``APPROVAL_USED``, ``APPROVAL_EXPIRED`` or ``APPROVER_UNKNOWN``: meanwhile it was used
                by another process, its time went by, or a key was removed.
            IntegrityFailure: code ``APPROVER_CHANGED``.
        """
        _check_time(self.site, self.form)
        living = {row.fingerprint for row in checked(self.site, work.connection) if row.removed_at is None}
        if not living >= set(self.keys):
            raise _unknown()
        _check_unused(work.connection, self.form)
        # Said outside the databases, before it is committed: no backup gives it back.
        self.site.anchor.append(USED, nonce=self.form.nonce, act=self.form.act, request=self.form.sha256)
        approvals.use_approval(
            work.connection,
            nonce=self.form.nonce,
            act=self.form.act,
            request_sha256=self.form.sha256,
            at=self.site.clock(),
        )
        work.log("approval.used", facts={"act": self.form.act, **self.facts})


def use_again(site: Site, used: Sequence[Used]) -> int:
    """Mark what a restored backup does not know to be used; the anchor does. Return how many."""
    with site.reading() as connection:
        lost = {one.nonce: one for one in used if not approvals.is_used(connection, one.nonce)}
    if lost:
        with site.work() as work:
            for one in lost.values():
                approvals.use_approval(
                    work.connection, nonce=one.nonce, act=one.act, request_sha256=one.request, at=one.at
                )
                work.log("approval.used", facts={"act": one.act, "request": one.request, "restored": True})
    return len(lost)


def request(site: Site, act: str, params: Mapping[str, str], *, dry_run: bool = False) -> Form:
    """Make and log the request for an act; nothing is approved by it. One of a dry run is not logged, so good for none.

    Raises:
        AccessDenied: the principal may not take part in approvals.
        UsageError: code ``ACT_UNKNOWN`` or ``PARAM_INVALID``.
    """
    grant = authorize(site, "approval_request")
    plain = read_params(act, params)
    if dry_run:
        with site.reading() as connection:
            return _form(site, connection, act, plain)
    with site.work() as work:
        form = _form(site, work.connection, act, plain)
        work.log("approval.requested", facts={"act": act, "request": form.sha256})
        record_grant(site, work, grant)
    return form


def _form(site: Site, connection: Connection, act: str, params: Mapping[str, Json]) -> Form:
    now, storage = site.clock(), SqlLogStorage(connection)
    return Form(
        act=act,
        params=params,
        vault_id=site.vault_id,
        nonce=random_bytes(32).hex(),
        requested_by=site.principal.name,
        created=now,
        expires=add_duration(now, site.settings.approvals.valid_for),
        log_size=storage.size(),
        log_root=root_at(storage).hex(),
        policies=site.policies.sha256,
    )


def require(site: Site, act: str, params: Mapping[str, Json], files: Sequence[Path]) -> Approved:
    """Demand that two people approved exactly this act; every refusal is logged.

    Args:
        site: an open vault.
        act: the access action; the caller has authorised the principal for it already.
        params: exactly what it is about to be done with.
        files: two approvals.

    Raises:
        AccessDenied: code ``APPROVALS_NEEDED``, ``SAME_PERSON``, ``APPROVAL_EXPIRED``, ``APPROVAL_USED``,
            ``APPROVAL_OTHER_ACT`` or ``APPROVER_UNKNOWN``.
        IntegrityFailure: code ``APPROVAL_BROKEN``, ``APPROVER_CHANGED``, or the log's own.
        UsageError: a file cannot be read, or is no approval.
        FabnetError: code ``SSH_KEYGEN_MISSING``.
    """
    with _told(site, act):
        if len(files) != PEOPLE:
            raise AccessDenied(
                f"this takes the approval of two people; {len(files)} {'was' if len(files) == 1 else 'were'} given",
                hint=f"{command_for(act, params)}; let two people sign it; then give --approval FILE twice",
                code="APPROVALS_NEEDED",
                act=act,
                params=dict(params),
            )
        one, other = (read_signed(path) for path in files)
        if one.form != other.form:
            raise _other("the two approvals are of two different requests")
        _check_form(site, one.form, act, params)
        with site.reading() as connection:
            _check_log(site, connection, one.form)
            _check_unused(connection, one.form)
            rows = checked(site, connection)
            keys = tuple(_signer(site, connection, rows, signed) for signed in (one, other))
            _check_two(connection, keys)
    return Approved(site=site, form=one.form, keys=(keys[0].fingerprint, keys[1].fingerprint))


@contextmanager
def _told(site: Site, act: str) -> Iterator[None]:
    """Log a refusal: what was attempted, and why it was not believed."""
    try:
        yield
    except FabnetError as refusal:
        with site.work() as work:
            work.log("approval.refused", facts={"act": act, "code": refusal.code})
        raise


def _check_form(site: Site, form: Form, act: str, params: Mapping[str, Json]) -> None:
    if form.vault_id != site.vault_id:
        raise _other("it is for another vault")
    if form.act != act or not same(form.params, params):
        raise _other("it is for another act, or for other values")
    if form.policies != site.policies.sha256:
        raise _other("the access policies have changed since it was asked for")
    _check_time(site, form)


def _check_time(site: Site, form: Form) -> None:
    now = site.clock()
    if form.created > now or form.expires > add_duration(form.created, site.settings.approvals.valid_for):
        raise broken("it is from the future, or for longer than approvals are good for")
    if form.expires <= now:
        raise AccessDenied(
            "the approval's time is over",
            hint="ask for it again: fabnet-secure approval request",
            code="APPROVAL_EXPIRED",
        )


def _check_log(site: Site, connection: Connection, form: Form) -> None:
    """Believe the log only as a whole, and the request only where it is in it."""
    storage = SqlLogStorage(connection)
    verified = check_log(storage, latest_checkpoint(connection), site.log_vkey, verify_signature)
    if not 0 < form.log_size <= verified.size or root_at(storage, form.log_size).hex() != form.log_root:
        raise broken("it was asked for where the log was another than this vault's")
    asked = {entry.facts.get("request") for entry in entries_of(connection, "approval.requested")}
    if form.sha256 not in asked:
        raise broken("this vault did not make the request")


def _check_unused(connection: Connection, form: Form) -> None:
    used = {entry.facts.get("request") for entry in entries_of(connection, "approval.used")}
    if form.sha256 in used or approvals.is_used(connection, form.nonce):
        raise AccessDenied(
            "the approval was used: it is good for one act",
            hint="ask for it again: fabnet-secure approval request",
            code="APPROVAL_USED",
        )


def _signer(site: Site, connection: Connection, rows: Sequence[ApproverRow], signed: Signed) -> ApproverRow:
    """Return whose signature this is: an enrolled key's, over the request, by somebody who may approve."""
    digest = signer_of(signed.signature).digest
    row = next((row for row in rows if row.fingerprint == digest and row.removed_at is None), None)
    if row is None or row.added_at > signed.form.created:
        raise _unknown()
    if not verify(signed.form.to_bytes(), signed.signature, read_public_key(row.public_key)):
        raise broken("a signature is not over this request")
    person = principals.get_principal(connection, row.name)
    if person is None or not _may_approve(site, person):
        raise _unknown()
    return row


def _may_approve(site: Site, person: principals.PrincipalRow) -> bool:
    """Ask the policies about the approver as about anybody: whoever lost their roles approves nothing any more."""
    who = Principal(name=person.name, uid=uid_of(person.os_user), roles=person.roles)
    return site.policies.decide(replace(request_of(site, "approval_request"), principal=who)).allowed


def _check_two(connection: Connection, keys: Sequence[ApproverRow]) -> None:
    accounts = [person.os_user for row in keys if (person := principals.get_principal(connection, row.name))]
    numbers = [number for account in accounts if (number := uid_of(account)) != NOBODY]
    if len({row.name for row in keys}) < PEOPLE or len(set(numbers)) < len(numbers):
        raise AccessDenied(
            "both approvals are by the same person", hint="a second person signs the same request", code="SAME_PERSON"
        )


def _unknown() -> AccessDenied:
    return AccessDenied(
        "an approval is by a key that nobody here may approve with",
        hint="the key is enrolled before the request is made ('approval enrol'), and its owner may request approvals",
        code="APPROVER_UNKNOWN",
    )


def _other(why: str) -> AccessDenied:
    return AccessDenied(
        f"the approval does not fit: {why}",
        hint="ask for it again: fabnet-secure approval request",
        code="APPROVAL_OTHER_ACT",
    )
