"""A vault of many made-up people's embeddings, written by the store's own functions, without a video ever being there.

Guarantees that pages, keys, bundles, directory and census are what ``pipeline/pack.py`` would have written; vectors are
random directions. Does not record consents as ``consent add`` does one by one: their rows are written in bulk.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.vaults import Home, place_in
from fabnet_secure.config import load
from fabnet_secure.consent.append import given
from fabnet_secure.consent.record import ConsentRecord, Controller, Notice, Scope, SubjectCategory
from fabnet_secure.crypto.envelope import Context, DataKey, seal, seal_bulk
from fabnet_secure.pipeline import promises
from fabnet_secure.pipeline.context import Site, open_site
from fabnet_secure.pipeline.create import create_vault
from fabnet_secure.pipeline.pages import census_of
from fabnet_secure.store import bundles, consents, keystore, models, tracks, videos
from fabnet_secure.store.bundles import FORMAT, PackedPage
from fabnet_secure.store.database import Work, keystore_work
from fabnet_secure.store.margins import pack_margin
from fabnet_secure.store.search import inverse_lengths
from fabnet_secure.store.states import ModelKind, ModelStatus
from fabnet_secure.types import ConsentId, Domain, ModelId, Purpose, SubjectId, TrackId, TrackStatus, VideoId, new_id

DIM = 256
VECTORS = 100
"""Embeddings of one person: one track of a hundred frames."""
_AT = datetime(2026, 1, 1, tzinfo=UTC)
_SHA = "ab" * 32
_NOTICE = b"SYNTHETIC: nobody was filmed.\n"
_CHUNK = 500  # people a transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """A vault of embeddings, and the same vectors in plain form for the baselines."""

    home: Home
    model_id: ModelId
    consent_ids: frozenset[ConsentId]
    vectors: npt.NDArray[np.float16]


def build_crowd(folder: Path, people: int) -> Crowd:
    """Make a vault of ``people`` × ``VECTORS`` embeddings of ``DIM`` dimensions."""
    folder.mkdir(parents=True)
    (folder / "fabnet.toml").write_text("", "utf-8")
    settings = load([folder / "fabnet.toml"]).settings
    create_vault(place_in(folder), settings)
    vectors = np.random.default_rng(7).standard_normal((people * VECTORS, DIM), np.float32).astype(np.float16)
    model_id, recorded = ModelId(new_id()), []
    with open_site(place_in(folder), settings) as site:
        with site.work() as work:
            models.add_model(work.connection, _model(model_id))
            work.log("bench.model", facts={})
        for start in range(0, people, _CHUNK):
            records = [_record() for _ in range(min(_CHUNK, people - start))]
            with site.work() as work:
                _add_people(site, work, records)
                _add_pages(site, work, model_id, records, vectors[start * VECTORS :])
                work.log("bench.people", facts={"people": len(records)})
            recorded += [record.consent_id for record in records]
    home = Home(folder=folder, consent_id=recorded[0])
    return Crowd(home=home, model_id=model_id, consent_ids=frozenset(recorded), vectors=vectors)


def _add_people(site: Site, work: Work, records: list[ConsentRecord]) -> None:
    domains = (Domain.TRACKLETS, Domain.EMBEDDINGS, Domain.EVIDENCE)
    with keystore_work(site.keystore) as connection:
        keystore.add_keys(
            connection,
            [
                site.keyring.mint(domain=domain, subject_id=record.subject_id, consent_id=record.consent_id)
                for record in records
                for domain in domains
            ],
        )
    for record in records:
        consents.add_subject(
            work.connection,
            subject_id=record.subject_id,
            blind_index=hashlib.sha256(record.subject_id.encode()).hexdigest(),
            sealed_reference=seal(DataKey.generate(), Context(format="identity/1"), b""),
            category=SubjectCategory.ADULT,
            created_at=_AT,
        )
        consents.add_notice(work.connection, record.notice, _NOTICE)
        consents.add_consent(work.connection, record)
        event = given(record, at=_AT, valid_for="P50Y", evidence_sha256=_SHA, actor="bench")
        consents.append_event(work.connection, record.consent_id, event)
        promises.mark(site, work.connection, record.consent_id)


def _add_pages(
    site: Site, work: Work, model_id: ModelId, records: list[ConsentRecord], vectors: npt.NDArray[np.float16]
) -> None:
    pages = list(_pages(site, work, model_id, records, vectors))
    bundles.add_bundles(work.connection, census_of(site), model_id, pages)


def _pages(
    site: Site, work: Work, model_id: ModelId, records: list[ConsentRecord], vectors: npt.NDArray[np.float16]
) -> Iterator[PackedPage]:
    with keystore_work(site.keystore) as connection:
        wrapped = keystore.find_keys(connection, [record.consent_id for record in records], Domain.EMBEDDINGS)
    for place, record in enumerate(records):
        track_id = _add_track(work, record)
        context = Context(
            format=FORMAT,
            subject=record.subject_id,
            consent=record.consent_id,
            model=model_id,
            page=bundles.fresh_page_id(),
            n=VECTORS,
            dim=DIM,
        )
        rows = vectors[place * VECTORS : (place + 1) * VECTORS]
        plain = rows.tobytes() + pack_margin([(track_id, range(VECTORS))], inverse_lengths(rows))
        key = site.keyring.unwrap(wrapped[record.consent_id])
        yield PackedPage(context=context, sealed=seal_bulk(key, context, plain), tracks=(track_id,))


def _add_track(work: Work, record: ConsentRecord) -> TrackId:
    video = videos.VideoRow(
        video_id=VideoId(new_id()),
        fingerprint=new_id().replace("-", "") * 2,
        status=videos.VideoStatus.INGESTED,
        frames_read=VECTORS,
        frames_persisted=0,
        detected=1,
        bound=1,
        dropped=0,
        quarantined=0,
        drop_reasons={},
        policy_sha256=_SHA,
        disposition="keep",
        ingested_at=_AT,
    )
    videos.add_video(work.connection, video)
    row = tracks.TrackRow(
        track_id=TrackId(new_id()),
        video_id=video.video_id,
        subject_id=record.subject_id,
        consent_id=record.consent_id,
        status=TrackStatus.BOUND,
        reason="",
        frames=VECTORS,
        crop_version="bench/64",
        expires_at=None,
        created_at=_AT,
    )
    tracks.add_track(work.connection, row)
    return row.track_id


def _model(model_id: ModelId) -> models.ModelRow:
    return models.ModelRow(
        model_id=model_id,
        kind=ModelKind.PUBLIC,
        run_id=None,
        weights_sha256=_SHA,
        card={"title": "bench"},
        created_at=_AT,
        status=ModelStatus.ACTIVE,
        decision_due=None,
    )


def _record() -> ConsentRecord:
    return ConsentRecord(
        consent_id=ConsentId(new_id()),
        subject_id=SubjectId(new_id()),
        subject_category=SubjectCategory.ADULT,
        controller=Controller(name="Bench", address="nowhere", contact="dpo@example.org"),
        jurisdictions=("JP",),
        applicable_laws=("APPI",),
        collection_method="paper",
        created_at=_AT,
        notice=Notice(
            version="1",
            language="en",
            sha256=hashlib.sha256(_NOTICE).hexdigest(),
            covers_purposes=(Purpose.EMBED, Purpose.QUERY_INTERNAL),
            states_face_feature_extraction=True,
            states_retention=True,
            withdrawal_method="mail",
            states_model_fate=True,
        ),
        scopes=(Scope(purpose=Purpose.EMBED), Scope(purpose=Purpose.QUERY_INTERNAL)),
    )
