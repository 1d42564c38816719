"""Taking one track's embeddings out of the vault: by two people, for a purpose that the person's consent covers.

What leaves is a NumPy archive (``.npz``) of plain arrays: ``vectors`` (n × dim, float16), ``frames`` (n, int32) and
``model`` (the model's id as bytes). It holds no pickle and loads with ``allow_pickle=False``. Once out it is protected
by nothing: a withdrawal no longer reaches it, which is why two people answer for it.

Order: the file is written whole, under no name; the export is committed to the log, and its approval used up; only then
does the file get its name. So nothing is outside that the log does not tell, and a crash leaves no part of it anywhere.
"""

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fabnet_secure.crypto.digest import sha256_bytes
from fabnet_secure.errors import NoEffectiveConsent, UsageError
from fabnet_secure.pipeline.approvals import require
from fabnet_secure.pipeline.authorize import authorize, record_grant, record_refusal
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.coverage import opening, require_consent
from fabnet_secure.pipeline.unlock import unlock
from fabnet_secure.store import embeddings, tracks
from fabnet_secure.store.database import Connection
from fabnet_secure.types import ConsentId, Json, ModelId, Purpose, TrackId, is_id

PURPOSES = (Purpose.QUERY_INTERNAL, Purpose.SHARE_THIRD_PARTY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was taken out, or would be."""

    track_id: TrackId
    purpose: Purpose
    vectors: int
    dim: int
    sha256: str
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Archive:
    """A file's bytes, and what is in it."""

    blob: bytes
    vectors: int
    dim: int

    @property
    def sha256(self) -> str:
        return sha256_bytes(self.blob)


def export_vectors(
    site: Site,
    track_id: str,
    out: Path,
    *,
    purpose: str,
    confirm: str | None,
    approvals: Sequence[Path],
    dry_run: bool = False,
) -> Exported:
    """Write the embeddings of one track, of the newest model that embedded it, to a new file (mode 0600).

    Args:
        site: an open vault.
        track_id: a bound track that was embedded.
        out: the file; one that exists is never written over.
        purpose: query_internal or share_third_party; the person's consent must cover it now.
        confirm: the track's id again: what is out cannot be had back.
        approvals: the approvals of two people.
        dry_run: say how much would go out, and change nothing.

    Raises:
        AccessDenied: the principal may not export, or two people did not approve it.
        NoEffectiveConsent: the consent does not cover the purpose now.
        UsageError: code ``PURPOSE_INVALID``, ``TRACK_UNKNOWN``, ``NOT_EMBEDDED``, ``FILE_EXISTS``, ``OUT_UNUSABLE``,
            ``NOT_CONFIRMED``.
        IntegrityFailure: a page is not what was sealed, or an approval's own.
    """
    wanted = _purpose(purpose)
    grant = authorize(site, "vector_export", purpose=wanted)
    with site.reading() as connection:
        row = _track(connection, track_id)
        _required(site, connection, row, wanted)
        model_id = _model(connection, row)
        if dry_run:
            found = _archive(site, connection, row, model_id)
            return _exported(row, wanted, found, dry_run=True)
    if confirm != track_id:
        hint = f"repeat the id: --confirm {row.track_id}"
        raise UsageError("the export was not confirmed", hint=hint, code="NOT_CONFIRMED")
    params: dict[str, Json] = {"track": row.track_id, "purpose": wanted.value}
    approved = require(site, "vector_export", params, approvals)
    with site.reading() as connection:
        found = _archive(site, connection, row, model_id)
    with _nameless(out, found.blob) as draft:
        with site.work() as work:
            consent = require_consent(site, work.connection, str(row.consent_id), wanted)
            approved.use(work)
            counts = {"vectors": found.vectors, "dim": found.dim}
            work.log(
                "vectors.exported",
                facts={**counts, "purpose": wanted.value, "file": found.sha256, **approved.facts},
                subjects=(
                    opening(site, consent.record, "consent", consent.consent_id),
                    opening(site, consent.record, "track", row.track_id),
                ),
            )
            record_grant(site, work, grant, rows=found.vectors)
        _name(draft, out)
    return _exported(row, wanted, found, dry_run=False)


def _exported(row: tracks.TrackRow, purpose: Purpose, found: _Archive, *, dry_run: bool) -> Exported:
    return Exported(
        track_id=row.track_id,
        purpose=purpose,
        vectors=found.vectors,
        dim=found.dim,
        sha256="" if dry_run else found.sha256,
        dry_run=dry_run,
    )


def _purpose(text: str) -> Purpose:
    if text not in PURPOSES:
        hint = "one of: " + ", ".join(PURPOSES)
        raise UsageError(f"vectors are not exported for the purpose {text[:40]!r}", hint=hint, code="PURPOSE_INVALID")
    return Purpose(text)


def _track(connection: Connection, track_id: str) -> tracks.TrackRow:
    row = tracks.get_track(connection, TrackId(track_id)) if is_id(track_id) else None
    if row is None or row.consent_id is None:
        hint = "run 'fabnet-secure track list'"
        raise UsageError(f"no bound track has the id {track_id[:60]!r}", hint=hint, code="TRACK_UNKNOWN")
    return row


def _required(site: Site, connection: Connection, row: tracks.TrackRow, purpose: Purpose) -> None:
    try:
        require_consent(site, connection, str(row.consent_id), purpose)
    except NoEffectiveConsent as refusal:
        record_refusal(site, "vector_export", purpose, refusal.code)
        raise


def _model(connection: Connection, row: tracks.TrackRow) -> ModelId:
    found = embeddings.models_of_track(connection, row.track_id)
    if not found:
        hint = "run 'fabnet-secure embed --model ID'"
        raise UsageError("this track has no embeddings yet", hint=hint, code="NOT_EMBEDDED")
    return found[-1]


def _archive(site: Site, connection: Connection, row: tracks.TrackRow, model_id: ModelId) -> _Archive:
    """Open the track's embeddings, whole and as they were sealed, and lay them out; what was opened is zeroed."""
    consents = frozenset({ConsentId(str(row.consent_id))})
    with unlock(site, connection, model_id, consents, where=(row.track_id,)) as matrix:
        rows = [number for part in matrix.of_track(row.track_id) for number in range(part.start, part.stop)]
        vectors = matrix.vectors[rows]
        frames = np.asarray([matrix.locate(number).frame for number in rows], np.int32)
    try:
        out = io.BytesIO()
        np.savez(out, allow_pickle=False, vectors=vectors, frames=frames, model=np.bytes_(model_id))
    finally:
        vectors.fill(0)
    return _Archive(blob=out.getvalue(), vectors=len(rows), dim=int(vectors.shape[1]))


@contextmanager
def _nameless(out: Path, blob: bytes) -> Iterator[int]:
    """Write a file that has no name, in the directory where it will have one; without a name it does not stay."""
    if out.is_symlink() or out.exists():
        raise _taken()
    try:
        draft = os.open(out.absolute().parent, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        hint = f"{error.strerror}; give --out a place on a local disk (ext4, XFS, tmpfs)"
        raise UsageError("the export cannot be written there", hint=hint, code="OUT_UNUSABLE") from error
    try:
        with os.fdopen(os.dup(draft), "wb") as stream:
            stream.write(blob)
            stream.flush()
            os.fsync(draft)
        yield draft
    finally:
        os.close(draft)


def _name(draft: int, out: Path) -> None:
    """Give the written file its name; it takes nobody else's."""
    folder = os.open(out.absolute().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # With a folder given, Python follows the link in /proc to the file itself (linkat, AT_SYMLINK_FOLLOW).
        os.link(f"/proc/self/fd/{draft}", out.name, dst_dir_fd=folder)
        os.fsync(folder)
    except FileExistsError as error:
        raise _taken() from error
    finally:
        os.close(folder)


def _taken() -> UsageError:
    return UsageError("the file is there already", hint="give --out a new name", code="FILE_EXISTS")
