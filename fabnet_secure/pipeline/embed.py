"""Embed: sealed crops in, sealed embeddings out, for people who consent to it now.

Crops are opened in memory, encoded, and zeroed. A page of embeddings is sealed under the person's embedding key with
the model, the track and the shape as associated data.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fabnet_secure.consent.record import ConsentRecord
from fabnet_secure.crypto.envelope import Context, DataKey, Sealed, seal_to, unseal
from fabnet_secure.crypto.keyring import WrappedKey
from fabnet_secure.errors import IntegrityFailure, NoEffectiveConsent, UsageError
from fabnet_secure.pipeline.authorize import allowed, authorize_purpose, record_grant
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.coverage import covering, opening, recipient, require_consent
from fabnet_secure.pipeline.maintain import living_tracks
from fabnet_secure.pipeline.pages import census_of
from fabnet_secure.progress import Progress
from fabnet_secure.store import embeddings, keystore, models, tracks
from fabnet_secure.store.database import Work, read_only
from fabnet_secure.store.states import ModelStatus
from fabnet_secure.types import ConsentId, Domain, ModelId, Purpose, SubjectId, TrackId, is_id

if TYPE_CHECKING:
    from fabnet_secure.fabnet.model import FabNet


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """A model that is ready to embed."""

    model_id: ModelId
    model: "FabNet"

    def encode(self, crops: np.ndarray) -> np.ndarray:
        """Return the embeddings (n, dim) float16 of crops (n, size, size, 3) uint8 RGB."""
        from fabnet_secure.fabnet.embed import embed as encode

        return encode(self.model, crops)


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """How much an embedding run added."""

    model_id: ModelId
    tracks: int
    embeddings: int
    skipped: dict[str, int]


def load_encoder(site: Site, model_id: str) -> Encoder:
    """Load a registered model and check its weights against the digest in the vault.

    Raises:
        UsageError: no model has this id, or it is retired.
        IntegrityFailure: the weights are gone or are not the registered ones.
    """
    from fabnet_secure.fabnet.weights import load

    with site.reading() as connection:
        row = models.get_model(connection, ModelId(model_id)) if is_id(model_id) else None
    if row is None or row.status is ModelStatus.RETIRED:
        hint = "run 'fabnet-secure model list'"
        raise UsageError(f"no model in use has the id {model_id[:60]!r}", hint=hint, code="MODEL_UNKNOWN")
    return Encoder(model_id=row.model_id, model=load(site.models / f"{row.model_id}.safetensors", row.weights_sha256))


def current_encoder(site: Site) -> Encoder | None:
    """Load the newest model in use, if there is one."""
    with site.reading() as connection:
        row = models.latest_model(connection)
    return load_encoder(site, row.model_id) if row else None


def embed(site: Site, model_id: str, *, progress: Progress, dry_run: bool = False) -> Embedded:
    """Embed every tracklet whose person consents to embedding now and that this model has not embedded yet.

    With ``dry_run`` only count them.

    Raises:
        AccessDenied: the principal may not embed.
        UsageError: there is no such model.
    """
    grant = authorize_purpose(site, "embed", Purpose.EMBED)
    encoder = load_encoder(site, model_id)
    with site.reading() as connection:
        done = embeddings.embedded_tracks(connection, encoder.model_id)
        living = [row for row in living_tracks(site, connection) if row.track_id not in done]
        effective = covering(site, connection, Purpose.EMBED).effective
        crops = tracks.count_crops(connection)
    permitted = allowed(site, "embed", Purpose.EMBED, effective)
    waiting = [row for row in living if row.consent_id in permitted]
    skipped = {"no_consent": len(living) - len(waiting)} if len(living) > len(waiting) else {}
    if dry_run:
        frames = sum(crops[row.track_id] for row in waiting)
        return Embedded(model_id=encoder.model_id, tracks=len(waiting), embeddings=frames, skipped=skipped)
    added = 0
    count = 0
    for number, row in enumerate(waiting, start=1):
        try:
            count += _embed_one(site, row, encoder)
            added += 1
        except NoEffectiveConsent as refusal:
            skipped[refusal.code.lower()] = skipped.get(refusal.code.lower(), 0) + 1
        progress.advance("tracks embedded", number, len(waiting))
    with site.work() as work:
        work.log("embed.completed", facts={"tracks": added, "embeddings": count, "skipped": dict(skipped)})
        record_grant(site, work, grant, rows=count)
    return Embedded(model_id=encoder.model_id, tracks=added, embeddings=count, skipped=skipped)


def _embed_one(site: Site, row: tracks.TrackRow, encoder: Encoder) -> int:
    with site.reading() as connection:
        record = require_consent(site, connection, str(row.consent_id), Purpose.EMBED).record
        tracklet = tracks.get_tracklet(connection, row.track_id)
    if tracklet is None:
        return 0
    crops = open_tracklet(site, row, tracklet)
    try:
        with site.work() as work:
            require_consent(site, work.connection, record.consent_id, Purpose.EMBED)
            if row.track_id in embeddings.embedded_tracks(work.connection, encoder.model_id):
                work.log("embed.skipped", facts={})  # another process was faster
                return 0
            seal_page(
                site,
                work,
                record=record,
                track_id=row.track_id,
                frames=tracklet.frame_indices,
                crops=crops,
                encoder=encoder,
            )
            work.log(
                "embed.page",
                facts={"n": tracklet.n},
                subjects=(opening(site, record, "track", row.track_id),),
            )
    finally:
        crops.fill(0)
    return tracklet.n


def seal_page(
    site: Site,
    work: Work,
    *,
    record: ConsentRecord,
    track_id: TrackId,
    frames: tuple[int, ...],
    crops: np.ndarray,
    encoder: Encoder,
) -> None:
    """Encode one track's crops and store the page, sealed to the person's public key."""
    vectors = encoder.encode(crops)
    context = page_context(record.subject_id, record.consent_id, track_id, encoder.model_id, vectors.shape)
    sealed = seal_to(recipient(site, record, Domain.EMBEDDINGS), context, vectors.tobytes())
    vectors.fill(0)
    embeddings.add_page(
        work.connection,
        census_of(site),
        track_id=track_id,
        subject_id=record.subject_id,
        consent_id=record.consent_id,
        model_id=encoder.model_id,
        page=0,
        sealed=sealed,
        n=context.n,
        dim=context.dim,
        frame_indices=frames,
    )


def page_context(
    subject_id: SubjectId, consent_id: ConsentId, track_id: TrackId, model_id: ModelId, shape: tuple[int, ...]
) -> Context:
    """Return the associated data of one page of embeddings of ``shape`` (n, dim)."""
    return Context(
        format="embeddings/1",
        subject=subject_id,
        consent=consent_id,
        track=track_id,
        model=model_id,
        n=shape[0],
        dim=shape[1],
    )


def open_tracklet(site: Site, row: tracks.TrackRow, tracklet: tracks.TrackletRow) -> np.ndarray:
    """Open one tracklet: uint8 RGB crops (n, size, size, 3).

    Raises:
        NoEffectiveConsent: a withdrawal destroyed the key since the row was read.
        IntegrityFailure: the key is gone or the crops are not what was sealed for this row.
    """
    context = Context(
        format="tracklet/1",
        subject=str(row.subject_id),
        consent=str(row.consent_id),
        track=row.track_id,
        n=tracklet.n,
        dim=tracklet.size,
    )
    plain = bytearray(_open(site, row, context, tracklet.sealed))
    return np.frombuffer(plain, np.uint8).reshape(tracklet.n, tracklet.size, tracklet.size, 3)


def _open(site: Site, row: tracks.TrackRow, context: Context, sealed: Sealed) -> bytes:
    """Open what rests under a track's key, or (while ``keys reencrypt`` exchanges it) under the one beside it."""
    wrapped = _key_of(site, row, Domain.TRACKLETS)
    key = site.keyring.unwrap(wrapped)
    try:
        return unseal(key, context, sealed)
    except IntegrityFailure:
        with read_only(site.keystore) as connection:
            now = keystore.find_key(connection, wrapped.subject_id, wrapped.consent_id, wrapped.domain)
            beside = (now if now != wrapped else None, keystore.pending_key(connection, wrapped))
        for other in beside:
            if other is not None:
                with suppress(IntegrityFailure):
                    return unseal(site.keyring.unwrap(other), context, sealed)
        raise
    finally:
        key.wipe()


def data_key(site: Site, row: tracks.TrackRow, domain: Domain) -> DataKey:
    """Unwrap the key of one person's data of one domain.

    Raises:
        NoEffectiveConsent: code ``KEY_DESTROYED``: a withdrawal destroyed the key since the row was read.
        IntegrityFailure: the key was never there.
        KeyProblem: code ``KEY_DOMAIN``: this keyring does not open it.
    """
    return site.keyring.unwrap(_key_of(site, row, domain))


def _key_of(site: Site, row: tracks.TrackRow, domain: Domain) -> WrappedKey:
    """Return the wrapped key of one person's data of one domain.

    Raises:
        NoEffectiveConsent: code ``KEY_DESTROYED``: a withdrawal destroyed the key since the row was read.
        IntegrityFailure: the key was never there.
    """
    if row.subject_id is None or row.consent_id is None:
        raise IntegrityFailure("a track that is bound to nobody has no key", code="KEY_LOST")
    with read_only(site.keystore) as connection:
        wrapped = keystore.find_key(connection, row.subject_id, row.consent_id, domain)
        destroyed = {stone.domain for stone in keystore.tombstones(connection, row.consent_id)}
    if wrapped is None and domain in destroyed:
        raise NoEffectiveConsent(
            "the consent to this data has ended: its key is destroyed",
            hint=f"run 'fabnet-secure consent show {row.consent_id}'",
            code="KEY_DESTROYED",
        )
    if wrapped is None:
        raise IntegrityFailure("the key of stored data is gone", hint="run 'fabnet-secure doctor'", code="KEY_LOST")
    return wrapped
