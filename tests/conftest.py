"""Databases on the test server, for tests of any folder."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """A PostgreSQL database of its own, dropped at the end."""
    with _database() as url:
        yield url


@pytest.fixture
def second_postgres_url() -> Iterator[str]:
    """A second one beside it."""
    with _database() as url:
        yield url


@contextmanager
def _database() -> Iterator[str]:
    server = os.environ.get("FABNET_TEST_POSTGRES_URL")
    if not server:
        pytest.skip("FABNET_TEST_POSTGRES_URL is not set")
    name = f"journey_{uuid.uuid4().hex}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0"))
    try:
        yield sa.make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
        engine.dispose()
