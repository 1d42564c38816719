"""A site's own access policies: adopted by two people, kept in the vault, and read beside the shipped ones.

Guarantees that only what was adopted is in force: the vault remembers the digest of the files, under a digest that only
it can make, and does not open (``POLICY_CHANGED``, exit 30) when a file was changed, added or taken away, or the record
was. Policies that do not parse, do not fit the schema, or would lock out whoever adopts them are never adopted. A copy
is written, under its digest, before the record names it; what a crash leaves is a folder that nothing names.

Does not judge whether the policies are wise: a site may permit what the shipped policies do not, and a ``forbid`` of
the shipped ones always wins. ``doctor`` and the next adoption hold the record against the log; an ordinary start does
not read the log, so a record that was put back to an older one is found by those.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fabnet_secure.access.decision import PolicySet
from fabnet_secure.config import policies_dir
from fabnet_secure.errors import UsageError
from fabnet_secure.pipeline.adopted import (
    MARK,
    SHIPPED,
    adopted,
    changed,
    digest_of,
    folder_of,
    read_policies,
    record_of,
)
from fabnet_secure.pipeline.approvals import require
from fabnet_secure.pipeline.authorize import authorize, record_grant, request_of
from fabnet_secure.pipeline.context import Site
from fabnet_secure.store import meta
from fabnet_secure.store.database import Connection
from fabnet_secure.store.log_search import entries_of
from fabnet_secure.types import new_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """What was adopted, or would be: the digest (``none``: the shipped policies alone) and the files' names."""

    policies: str
    files: tuple[str, ...]


def adopt(
    site: Site, directory: Path | None, *, confirm: str | None, approvals: Sequence[Path], dry_run: bool = False
) -> Adopted:
    """Put a directory's ``*.cedar`` files in force beside the shipped policies, in place of any adopted before.

    Args:
        site: an open vault.
        directory: the site's own policies; None goes back to the shipped ones alone.
        confirm: the digest of the files (a dry run says it), or ``none``.
        approvals: the approvals of two people.
        dry_run: check them and say their digest; change nothing.

    Raises:
        AccessDenied: the principal may not change policies, or two people did not approve it.
        Gap: code ``POLICY_INVALID``.
        UsageError: code ``NO_POLICIES``, ``POLICY_LOCKS_OUT``, ``NOT_CONFIRMED``.
        IntegrityFailure: an approval's own.
    """
    grant = authorize(site, "policy_change")
    texts = {} if directory is None else read_policies(directory)
    digest = digest_of(texts)
    if dry_run:
        _try(site, texts)
        return Adopted(policies=digest, files=tuple(texts))
    if confirm != digest:
        hint = f"read them, then repeat their digest: --confirm {digest}"
        raise UsageError("the change of policies was not confirmed", hint=hint, code="NOT_CONFIRMED")
    _try(site, texts)
    approved = require(site, "policy_change", {"policies": digest}, approvals)
    if texts and not _is_there(folder_of(site.root, digest), digest):
        _write(folder_of(site.root, digest), texts)
    with site.work() as work:
        approved.use(work)
        check_log(site, work.connection)
        meta.set_meta(work.connection, MARK, record_of(site.index_key, digest))
        before, after = site.policies.sha256, _try(site, texts).sha256
        work.log("policy.adopted", facts={"adopted": digest, "before": before, "after": after, **approved.facts})
        record_grant(site, work, grant)
    _clear(site.root, keep=digest)
    return Adopted(policies=digest, files=tuple(texts))


def check_log(site: Site, connection: Connection) -> str:
    """Return what is adopted, held against the log.

    Raises:
        IntegrityFailure: code ``POLICY_CHANGED``.
    """
    digest = adopted(connection, site.index_key)
    told = [str(entry.facts["adopted"]) for entry in entries_of(connection, "policy.adopted")]
    if digest != (told[-1] if told else SHIPPED):
        raise changed("the vault names other policies than the log says were adopted last")
    return digest


def _try(site: Site, texts: Mapping[str, bytes]) -> PolicySet:
    """Load the policies as they would be in force, and see that whoever adopts them can still change them."""
    draft = site.root / f"policies-{new_id()}"
    try:
        if texts:
            _write(draft, texts)
        policies = PolicySet.load(policies_dir() / "access", *([draft] if texts else []))
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    if not policies.decide(request_of(site, "policy_change")).allowed:
        raise UsageError(
            "under these policies you could not change them again",
            hint="permit policy_change to the account that adopts them",
            code="POLICY_LOCKS_OUT",
        )
    return policies


def _is_there(folder: Path, digest: str) -> bool:
    """Tell whether these very files lie there already: what is in force is not taken away to be written again."""
    try:
        return digest_of(read_policies(folder)) == digest
    except UsageError:
        return False


def _write(folder: Path, texts: Mapping[str, bytes]) -> None:
    """Write a directory wholly or not at all; one that is there already is written anew."""
    draft = folder.with_name(f"{folder.name}.{new_id()}")
    draft.mkdir(mode=0o700, parents=True)
    for name, text in texts.items():
        descriptor = os.open(draft / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)


def _clear(root: Path, *, keep: str) -> None:
    """Remove what was adopted before, and what a crash left."""
    for path in (root / "policies").glob("*"):
        if path.name != keep:
            shutil.rmtree(path, ignore_errors=True)
