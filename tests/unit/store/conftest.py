"""A vault and a keystore of their own for each test, on SQLite and (where a server is named) on PostgreSQL."""

import hashlib
import os
import re
import shutil
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from fabnet_secure.consent.append import given
from fabnet_secure.consent.record import ConsentRecord, Controller, Notice, Scope, SubjectCategory
from fabnet_secure.crypto.envelope import Context, DataKey, seal
from fabnet_secure.crypto.signing import Signer
from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.store import consents, ledger, models, tracks, videos
from fabnet_secure.store.census import CENSUS, Census
from fabnet_secure.store.database import Scribe, migrate, open_keystore, open_vault_database, unit_of_work
from fabnet_secure.store.meta import get_meta, set_meta
from fabnet_secure.store.wipe import checkpoint_wal
from fabnet_secure.types import Purpose, TrackStatus, new_id

AT = datetime(2026, 5, 4, 3, 2, 1, 7, tzinfo=UTC)
SHA = "ab" * 32
NOTICE_TEXT = "顔の特徴を抽出します".encode()


@dataclass
class Site:
    """One open vault, with short ways to fill it."""

    url: str
    engine: sa.Engine
    scribe: Scribe
    key: DataKey

    def work(self):
        return unit_of_work(self.engine, self.scribe)

    @contextmanager
    def logged(self):
        """Yield a unit of work that has its entry already."""
        with self.work() as work:
            work.log("test.entry", facts={})
            yield work

    @contextmanager
    def refused(self, kind=IntegrityFailure, code="ROW_REFUSED"):
        """Yield a logged unit of work whose block must fail with this error, and no other."""
        with pytest.raises(kind) as caught, self.logged() as work:
            yield work
        assert caught.value.code == code
        assert self.values_stay_out(caught.value)

    @staticmethod
    def values_stay_out(error):
        """Tell whether a failure's words hold no SQL and no bound value."""
        said = f"{error} {error.hint} {error.fields}"
        return not re.search(r"INSERT|UPDATE|SELECT|Anna", said)

    @property
    def census(self):
        """What counts this vault's embeddings."""
        return Census(b"\x05" * 32)

    def counted(self, connection):
        """Begin the count of embeddings, where it was not begun, and return the census."""
        if get_meta(connection, CENSUS) is None:
            set_meta(connection, *self.census.first())
        return self.census

    def sealed(self, plaintext=b"pixels", **context):
        return seal(self.key, Context(format="test/1", **context), plaintext)

    def enrol(self, connection, *, ref="anna"):
        """Add a subject with one valid consent; return (subject_id, consent_id)."""
        record = make_record()
        consents.add_subject(
            connection,
            subject_id=record.subject_id,
            blind_index=f"{ref:0<64}",
            sealed_reference=self.sealed(ref.encode()),
            category=SubjectCategory.ADULT,
            created_at=AT,
        )
        consents.add_notice(connection, record.notice, NOTICE_TEXT)
        consents.add_consent(connection, record)
        event = given(record, at=AT, valid_for="P1Y", evidence_sha256=SHA, actor="dpo")
        consents.append_event(connection, record.consent_id, event)
        return record.subject_id, record.consent_id

    def video(self, connection, *, fingerprint=None, **changes):
        row = make_video(fingerprint or uuid.uuid4().hex * 2, **changes)
        videos.add_video(connection, row)
        return row.video_id

    def track(self, connection, subject_id, consent_id, *, video_id=None, sealed=None, **changes):
        """Add a bound track with a tracklet; return its id."""
        row = make_track(video_id or self.video(connection), subject_id, consent_id, **changes)
        tracks.add_track(connection, row)
        tracks.add_tracklet(connection, row.track_id, sealed or self.sealed(), n=2, size=64, frame_indices=(3, 9))
        return row.track_id

    def model(self, connection, members):
        """Add a dataset, plan, run and model over (consent, subject, track) members; return (model_id, run_id)."""
        dataset_id, plan_id, run_id, model_id = (new_id() for _ in range(4))
        models.add_dataset(connection, dataset_id, {"dataset_id": dataset_id}, AT)
        models.add_members(connection, dataset_id, members)
        ledger.add_plan(
            connection, ledger.PlanRow(plan_id=plan_id, dataset_id=dataset_id, body={"steps": 3}, created_at=AT)
        )
        ledger.add_run(
            connection,
            ledger.RunRow(
                run_id=run_id,
                plan_id=plan_id,
                state=ledger.RunState.RESERVED,
                steps_done=0,
                started_at=AT,
                ended_at=None,
            ),
        )
        models.add_model(connection, make_model(model_id, run_id))
        return model_id, run_id


def make_record(*, subject_id=None, notice_text=NOTICE_TEXT):
    return ConsentRecord(
        consent_id=new_id(),
        subject_id=subject_id or new_id(),
        subject_category=SubjectCategory.ADULT,
        controller=Controller(name="葛󠄀城研究所", address="奈良", contact="dpo@example.org"),
        jurisdictions=("JP",),
        applicable_laws=("APPI",),
        collection_method="paper",
        created_at=AT,
        notice=Notice(
            version="1",
            language="ja",
            sha256=hashlib.sha256(notice_text).hexdigest(),
            covers_purposes=(Purpose.TRAIN_MODEL, Purpose.EMBED),
            states_face_feature_extraction=True,
            states_retention=True,
            withdrawal_method="mail",
            states_model_fate=True,
        ),
        scopes=(Scope(purpose=Purpose.TRAIN_MODEL, dp_epsilon_cap=8.0), Scope(purpose=Purpose.EMBED)),
    )


def make_video(fingerprint, **changes):
    values = {
        "video_id": new_id(),
        "fingerprint": fingerprint,
        "status": videos.VideoStatus.INGESTED,
        "frames_read": 75,
        "frames_persisted": 0,
        "detected": 3,
        "bound": 1,
        "dropped": 2,
        "quarantined": 0,
        "drop_reasons": {"too_short": 2},
        "policy_sha256": SHA,
        "disposition": "keep",
        "ingested_at": AT,
    }
    return videos.VideoRow(**{**values, **changes})


def make_track(video_id, subject_id, consent_id, **changes):
    values = {
        "track_id": new_id(),
        "video_id": video_id,
        "subject_id": subject_id,
        "consent_id": consent_id,
        "status": TrackStatus.BOUND,
        "reason": "",
        "frames": 40,
        "crop_version": "yunet-margin-v1/64",
        "expires_at": AT + timedelta(days=30),
        "created_at": AT,
    }
    return tracks.TrackRow(**{**values, **changes})


def make_model(model_id, run_id, **changes):
    values = {
        "model_id": model_id,
        "kind": models.ModelKind.DP,
        "run_id": run_id,
        "weights_sha256": SHA,
        "card": {"title": "m", "epsilon": 7.5},
        "created_at": AT,
        "status": models.ModelStatus.ACTIVE,
        "decision_due": None,
    }
    return models.ModelRow(**{**values, **changes})


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """Migrated, empty SQLite files to copy: migrating takes 0.1 s, copying none."""
    directory = tmp_path_factory.mktemp("template")
    for which in ("vault", "keystore"):
        engine = open_vault_database(f"sqlite:///{directory}/{which}.db")
        migrate(engine, which)
        checkpoint_wal(engine)
    return directory


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request, tmp_path, template):
    """Return a function ``which -> (url, migrated)`` that gives a fresh database of the backend under test."""
    if request.param == "sqlite":

        def fresh(which="vault", *, empty=False):
            if not empty:
                shutil.copy(template / f"{which}.db", tmp_path / f"{which}.db")
            return f"sqlite:///{tmp_path}/{which}.db"

        yield fresh
        return
    server = os.environ.get("FABNET_TEST_POSTGRES_URL")
    if not server:
        pytest.skip("FABNET_TEST_POSTGRES_URL is not set")
    schemas = []

    def fresh(which="vault", *, empty=False):
        schema = f"t_{uuid.uuid4().hex}"
        schemas.append(schema)
        _on_server(server, f"CREATE SCHEMA {schema}")
        url = sa.make_url(server).update_query_dict({"options": f"-csearch_path={schema}"})
        text = url.render_as_string(hide_password=False)
        if not empty:
            engine = open_vault_database(text)
            migrate(engine, which)
            engine.dispose()
        return text

    yield fresh
    for schema in schemas:
        _on_server(server, f"DROP SCHEMA {schema} CASCADE")


def _on_server(url, statement):
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(statement))
    engine.dispose()


@pytest.fixture
def site(database):
    """An open, migrated vault on the backend under test."""
    url = database("vault")
    engine = open_vault_database(url, lock_timeout_s=3.0)
    yield Site(url, engine, make_scribe(), DataKey.generate())
    engine.dispose()


@pytest.fixture
def lite(tmp_path, template):
    """An open, migrated vault on SQLite, for what concerns its files."""
    shutil.copy(template / "vault.db", tmp_path / "vault.db")
    url = f"sqlite:///{tmp_path}/vault.db"
    return Site(url, open_vault_database(url, lock_timeout_s=0.5), make_scribe(), DataKey.generate())


@pytest.fixture
def keystore(database):
    """An open, migrated keystore on the backend under test."""
    engine = open_keystore(database("keystore"), lock_timeout_s=3.0)
    yield engine
    engine.dispose()


def make_scribe():
    signer = Signer.from_seed(b"\x07" * 32)
    return Scribe(origin="example.org/log", signer=signer, actor="operator", clock=lambda: AT)


@pytest.fixture(scope="session")
def make():
    """The made-up rows, by noun, with the time and digest they carry."""
    return SimpleNamespace(
        record=make_record,
        video=make_video,
        track=make_track,
        model=make_model,
        at=AT,
        sha=SHA,
        notice_text=NOTICE_TEXT,
    )
