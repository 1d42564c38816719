"""Stored embeddings changed behind the vault's back: found before anything is answered, whatever was changed."""

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fabnet_secure.config import load
from fabnet_secure.crypto.envelope import PublicKey, seal_to
from fabnet_secure.errors import FabnetError, IntegrityFailure
from fabnet_secure.pipeline.diagnose import diagnose
from fabnet_secure.pipeline.pack import pack
from fabnet_secure.pipeline.unlock import stream
from fabnet_secure.store import bundles, keystore
from fabnet_secure.store.database import read_only
from fabnet_secure.types import Domain


def refused(shelf, **options):
    """Ask in every way; return the one code that all of them are refused with, at exit 30."""
    codes = set()
    permitted = frozenset(consent_id for consent_id, *_ in shelf.kept)

    def streamed():
        with shelf.site.reading() as connection:
            queries = np.ones((1, 16), np.float32)
            stream(shelf.site, connection, shelf.model_id, permitted, queries, 1, block_bytes=64, **options)

    for ask in (lambda: shelf.unlock(**options), streamed):
        with pytest.raises(FabnetError) as caught:
            ask()
        assert caught.value.exit_code == 30
        codes.add(caught.value.code)
    (code,) = codes
    return code


@pytest.fixture
def packed(shelf, monkeypatch):
    """Three people in two bundles."""
    monkeypatch.setattr(bundles, "BUNDLE_BYTES", 900)
    for ref in ("ada", "ben", "cy"):
        shelf.person(ref, 3, 2)
    pack(shelf.site)
    return shelf


def put(shelf, bundle_id, blob):
    shelf.change("UPDATE embedding_bundle SET sealed = :blob WHERE bundle_id = :number", blob=blob, number=bundle_id)


def whole(shelf, bundle_id=1):
    (row,) = shelf.change("SELECT sealed FROM embedding_bundle WHERE bundle_id = :number", number=bundle_id)
    return bytes(row.sealed)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_bit_of_a_bundle_is_found(lite, data):
    """Header, salt, commitment, vectors, margin, tag: whichever bit."""
    if not lite.kept:
        lite.person("ada", 3)
        pack(lite.site)
    blob = bytearray(whole(lite))
    before = bytes(blob)
    place = data.draw(st.integers(0, 8 * len(blob) - 1))
    blob[place // 8] ^= 1 << place % 8
    put(lite, 1, bytes(blob))
    try:
        assert refused(lite) in {"SEAL_BROKEN", "SEAL_MALFORMED"}
    finally:
        put(lite, 1, before)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_bit_of_a_waiting_page_is_found(lite, data):
    """The same for a page as ingest wrote it; its first bytes are counted, so who may not open it finds out, too."""
    if not lite.kept:
        lite.person("ada", 3)
    (row,) = lite.change("SELECT sealed FROM embedding_page")
    blob = bytearray(row.sealed)
    place = data.draw(st.integers(0, 8 * len(blob) - 1))
    blob[place // 8] ^= 1 << place % 8
    lite.change("UPDATE embedding_page SET sealed = :blob", blob=bytes(blob))
    try:
        assert refused(lite) in {"SEAL_BROKEN", "SEAL_MALFORMED", "EMBEDDINGS_CHANGED"}
    finally:
        lite.change("UPDATE embedding_page SET sealed = :blob", blob=bytes(row.sealed))


def test_bundles_exchanged_between_rows(packed):
    """A bundle in another's place opens for none of its pages."""
    first, second = whole(packed, 1), whole(packed, 2)
    put(packed, 1, second.ljust(len(first), b"\0"))
    put(packed, 2, first)
    assert refused(packed) in {"SEAL_BROKEN", "SEAL_MALFORMED"}


def test_pages_exchanged_within_a_bundle(packed):
    """Two people's pages of one size, each in the other's place."""
    one, other = packed.change(
        "SELECT page_id, start FROM embedding_segment WHERE bundle_id = 1 ORDER BY page_id LIMIT 2"
    )
    for page, place in ((one, other), (other, one)):
        packed.change("UPDATE embedding_segment SET start = :s WHERE page_id = :p", s=place.start, p=page.page_id)
    assert refused(packed) == "SEAL_BROKEN"


@pytest.mark.parametrize("length", [0, 10, 400], ids=["nothing", "a header", "half"])
def test_a_bundle_cut_short(packed, length):
    """Whatever is left of it."""
    put(packed, 1, whole(packed)[:length])
    assert refused(packed) in {"STORE_CORRUPT", "SEAL_MALFORMED"}


def test_a_longer_bundle_changes_nothing(packed):
    """Bytes that belong to no page are read by nobody."""
    put(packed, 1, whole(packed) + b"more")
    assert packed.rows(packed.unlock()) == packed.of()


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("DELETE FROM embedding_bundle WHERE bundle_id = 1", "EMBEDDINGS_CHANGED"),
        ("DELETE FROM embedding_bundle", "EMBEDDINGS_CHANGED"),
        ("DELETE FROM embedding_segment WHERE bundle_id = 1", "EMBEDDINGS_CHANGED"),
        ("DELETE FROM embedding_segment", "EMBEDDINGS_CHANGED"),
        ("DELETE FROM meta WHERE key = 'embeddings'", "EMBEDDINGS_CHANGED"),
        ("UPDATE embedding_segment SET n = n + 1", "EMBEDDINGS_CHANGED"),
        ("UPDATE embedding_segment SET dim = dim + 1", "EMBEDDINGS_CHANGED"),
        ("UPDATE embedding_segment SET page_id = page_id + 1", "EMBEDDINGS_CHANGED"),
        ("UPDATE embedding_segment SET consent_id = (SELECT max(consent_id) FROM consent)", "EMBEDDINGS_CHANGED"),
        ("UPDATE embedding_segment SET subject_id = (SELECT max(subject_id) FROM subject)", "EMBEDDINGS_CHANGED"),
        ("UPDATE embedding_segment SET start = start + 1", "SEAL_MALFORMED"),
        ("UPDATE embedding_segment SET length = length - 1", "SEAL_BROKEN"),
    ],
)
def test_rows_removed_or_changed(lite, statement, code):
    """Every column that says whose a page is, and every row, is held against the census or the seal."""
    lite.person("ada", 3)
    lite.person("ben", 3)
    pack(lite.site)
    lite.change(statement)
    assert refused(lite) == code


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM embedding_page WHERE n = 3",
        "UPDATE embedding_page SET frame_indices = '[1,2,3]' WHERE n = 3",
        "UPDATE embedding_page SET n = 4 WHERE n = 3",
        "UPDATE embedding_page SET page = 1",
        "UPDATE embedding_page SET model_id = (SELECT max(model_id) FROM model)",
        "UPDATE embedding_page SET consent_id = (SELECT consent_id FROM embedding_page WHERE n = 2)",
    ],
)
def test_waiting_rows_removed_or_changed(lite, statement):
    """The same for pages that wait; for these, frame numbers too."""
    lite.person("ada", 3)
    lite.person("ben", 2)
    lite.change(
        "INSERT INTO model SELECT 'zz', kind, run_id, weights_sha256, card, created_at, status, decision_due FROM model"
    )
    lite.change(statement)
    assert refused(lite) == "EMBEDDINGS_CHANGED"


def test_a_loss_is_seen_by_who_may_open_the_rest(packed):
    """One person's rows are gone: a question that was never to read them is refused too."""
    ada, ben, _ = dict.fromkeys(consent_id for consent_id, *_ in packed.kept)
    packed.change("DELETE FROM embedding_segment WHERE consent_id = :one", one=ada)
    with pytest.raises(IntegrityFailure) as caught:
        packed.unlock(ben)
    assert caught.value.code == "EMBEDDINGS_CHANGED"


def test_an_older_page_put_back(lite):
    """A page as it was before it was sealed anew opens nowhere, alone or with its row of the directory."""
    ada = lite.person("ada", 3)
    pack(lite.site)
    older, (row,) = whole(lite), lite.change("SELECT * FROM embedding_segment")
    lite.page(ada, 3)
    pack(lite.site)
    (newer,) = lite.change("SELECT bundle_id, page_id, length FROM embedding_segment")
    put(lite, newer.bundle_id, older.ljust(newer.length, b"\0"))
    assert refused(lite) == "SEAL_BROKEN"
    lite.change("UPDATE embedding_segment SET page_id = :p, n = :n, length = :l", p=row.page_id, n=row.n, l=row.length)
    assert refused(lite) == "EMBEDDINGS_CHANGED"


def test_a_withdrawn_persons_page_put_back(lite):
    """What was erased and comes back is refused, and would open nothing: its key is destroyed."""
    from fabnet_secure.pipeline.withdraw import withdraw

    ada, ben = lite.person("ada", 3), lite.person("ben", 3)
    pack(lite.site)
    bundle, (row,) = whole(lite), lite.change("SELECT * FROM embedding_segment WHERE consent_id = :a", a=ada)
    withdraw(lite.site, ada, confirm=ada)
    put(lite, 1, bundle)
    assert lite.rows(lite.unlock(ada, ben)) == lite.of(ben)
    columns = row._mapping.keys()
    lite.change(
        f"INSERT INTO embedding_segment ({', '.join(columns)}) VALUES ({', '.join(':' + one for one in columns)})",
        **row._mapping,
    )
    assert refused(lite) == "EMBEDDINGS_CHANGED"


def test_a_page_that_was_made_up(lite):
    """Anyone can seal to a public key that lies in the keystore; nobody else can have it counted."""
    ada = lite.person("ada", 3)
    with read_only(lite.site.keystore) as connection:
        (key,) = keystore.find_keys(connection, [ada], Domain.EMBEDDINGS).values()
    with lite.site.reading() as connection:
        from fabnet_secure.store import embeddings

        (page,) = embeddings.list_waiting(connection)
    forged = seal_to(PublicKey(key.public), page.context, np.ones((3, 16), np.float16).tobytes())
    lite.change("UPDATE embedding_page SET sealed = :blob", blob=forged.blob)
    assert refused(lite) == "EMBEDDINGS_CHANGED"
    with pytest.raises(IntegrityFailure):
        pack(lite.site)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM embedding_track",
        "UPDATE embedding_track SET page_id = (SELECT max(page_id) FROM embedding_segment)",
    ],
)
def test_which_tracks_are_where_changed(lite, statement):
    """Whoever asks by tracks would miss pages: he is refused. Who asks for all reads it from the pages themselves."""
    lite.person("ada", 3)
    lite.person("ben", 3)
    pack(lite.site)
    track_id = lite.kept[0][1]
    lite.change(statement)
    assert refused(lite, where=frozenset({track_id})) == "EMBEDDINGS_CHANGED"
    assert lite.rows(lite.unlock()) == lite.of()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE embedding_bundle SET sealed = 'text'",
        "UPDATE embedding_bundle SET sealed = sealed || x'00'",
        "UPDATE embedding_segment SET start = 'x'",
        "UPDATE embedding_segment SET n = x'03'",
        "UPDATE embedding_page SET sealed = 'text'",
    ],
)
def test_values_of_another_kind(lite, statement):
    """SQLite keeps any kind of value in any column; such a row is damaged."""
    ada = lite.person("ada", 3)
    pack(lite.site)
    lite.page(ada, 1)
    with sa.create_engine(lite.site.engine.url).begin() as connection:
        connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        connection.exec_driver_sql(statement)
    assert refused(lite) in {"STORE_CORRUPT", "EMBEDDINGS_CHANGED"}


def test_the_doctor_finds_it(lite):
    """A vault whose pages lack is not well, and says which remedy there is."""
    lite.person("ada", 3)
    pack(lite.site)

    def finding():
        return next(one for one in diagnose(lite.room.place, load([])) if one.name == "embeddings")

    assert finding().status == "ok"
    lite.change("DELETE FROM embedding_segment")
    assert finding().status == "fail"
