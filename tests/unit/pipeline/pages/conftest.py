"""A vault with people's embeddings, on SQLite and (where a server is named) on PostgreSQL."""

import os
import uuid
from dataclasses import dataclass, field

import numpy as np
import pytest
import sqlalchemy as sa

from fabnet_secure.config import load
from fabnet_secure.crypto.envelope import seal_to
from fabnet_secure.pipeline.context import Place, Site, open_site
from fabnet_secure.pipeline.coverage import find_consent, recipient
from fabnet_secure.pipeline.create import create_vault
from fabnet_secure.pipeline.pages import census_of
from fabnet_secure.pipeline.unlock import unlock
from fabnet_secure.store import embeddings, models
from fabnet_secure.types import Domain, new_id

DIM = 16


@dataclass
class Shelf:
    """An open vault, and what is stored in it: (consent, track, frame, vector) in the order of storing."""

    room: object
    site: Site
    model_id: str = field(default_factory=new_id)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(3))
    kept: list = field(default_factory=list)

    def model(self, model_id=None):
        """Register a model and return its id."""
        row = models.ModelRow(
            model_id=model_id or new_id(),
            kind=models.ModelKind.PUBLIC,
            run_id=None,
            weights_sha256="ab" * 32,
            card={},
            created_at=self.room.clock(),
            status=models.ModelStatus.ACTIVE,
            decision_due=None,
        )
        with self.site.work() as work:
            models.add_model(work.connection, row)
            work.log("test.model", facts={})
        return row.model_id

    def person(self, ref, *pages):
        """Record a consent with one waiting page a track, of so many vectors each; return its id."""
        consent_id = self.room.consent(self.site, subject_ref=ref)
        for n in pages:
            self.page(consent_id, n)
        return consent_id

    def page(self, consent_id, n, *, model_id=None, dim=DIM):
        """Store one more track of a person, with ``n`` random vectors that wait to be packed; return its id."""
        track_id = self.room.track(self.site, consent_id)
        vectors = self.rng.standard_normal((n, dim)).astype(np.float16)
        frames = tuple(range(7, 7 + 3 * n, 3))
        with self.site.work() as work:
            record, _ = find_consent(work.connection, consent_id)
            page = embeddings.Waiting(
                track_id, model_id or self.model_id, 0, record.subject_id, consent_id, n, dim, "[]", b""
            )
            sealed = seal_to(recipient(self.site, record, Domain.EMBEDDINGS), page.context, vectors.tobytes())
            embeddings.add_page(
                work.connection,
                census_of(self.site),
                track_id=track_id,
                subject_id=record.subject_id,
                consent_id=consent_id,
                model_id=page.model_id,
                page=0,
                sealed=sealed,
                n=n,
                dim=dim,
                frame_indices=frames,
            )
            work.log("test.page", facts={})
        rows = zip(frames, vectors, strict=True)
        self.kept += [(consent_id, track_id, frame, vector.tobytes()) for frame, vector in rows]
        return track_id

    def unlock(self, *permitted, **options):
        """Open what stands under these consents (all of them when none is named)."""
        chosen = frozenset(permitted or {consent_id for consent_id, *_ in self.kept})
        with self.site.reading() as connection:
            return unlock(self.site, connection, self.model_id, chosen, **options)

    @staticmethod
    def rows(matrix):
        """Return every row of a matrix as (consent, track, frame, vector), sorted."""
        found = []
        for row in range(matrix.rows):
            what = matrix.locate(row)
            found.append((what.consent_id, what.track_id, what.frame, matrix.vectors[row].tobytes()))
        return sorted(found)

    def of(self, *consents):
        """Return what was stored under these consents, sorted."""
        return sorted(one for one in self.kept if not consents or one[0] in consents)

    def change(self, statement, **values):
        """Change the database behind the vault's back."""
        plain = sa.create_engine(self.site.engine.url)
        with plain.begin() as connection:
            if plain.dialect.name != "sqlite":
                connection.exec_driver_sql("SET session_replication_role = replica")  # no reference is checked
            found = connection.execute(sa.text(statement), values)
            rows = found.all() if found.returns_rows else found.rowcount
        plain.dispose()
        return rows


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def shelf(request, room):
    """A vault with one model and nobody's embeddings."""
    shelf = Shelf(room, request.getfixturevalue("site") if request.param == "sqlite" else _on_server(request, room))
    shelf.model(shelf.model_id)
    return shelf


@pytest.fixture
def lite(room, site):
    """The same on SQLite alone."""
    shelf = Shelf(room, site)
    shelf.model(shelf.model_id)
    return shelf


def _on_server(request, room):
    """Make the vault on the test server, in two schemas of its own."""
    server = os.environ.get("FABNET_TEST_POSTGRES_URL")
    if not server:
        pytest.skip("FABNET_TEST_POSTGRES_URL is not set")
    admin = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    urls = []
    for _ in range(2):
        name = f"p_{uuid.uuid4().hex}"
        with admin.connect() as connection:
            connection.execute(sa.text(f"CREATE SCHEMA {name}"))
        request.addfinalizer(lambda name=name: _drop(server, name))
        url = sa.make_url(server).update_query_dict({"options": f"-csearch_path={name}"})
        urls.append(url.render_as_string(hide_password=False))
    admin.dispose()
    folder = room.folder / "server"
    folder.mkdir()
    place = Place(root=folder / "vault", key_file=folder / "key", database_url=urls[0], keystore_url=urls[1])
    create_vault(place, load([]).settings, clock=room.clock)
    opened = open_site(place, load([]).settings, clock=room.clock)
    site = opened.__enter__()
    request.addfinalizer(lambda: opened.__exit__(None, None, None))
    return site


def _drop(server, name):
    admin = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f"DROP SCHEMA {name} CASCADE"))
    admin.dispose()
