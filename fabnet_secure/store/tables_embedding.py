"""The tables of embeddings: pages as an ingest wrote them, and pages that were packed into bundles.

Guarantees what a database can check cheaply: every page names its person, consent and model, and a packed page lies in
a bundle. Which pages there are is held by a keyed sum besides (``store/census.py``).
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
)

from fabnet_secure.store.columns import JsonText, SealedBlob
from fabnet_secure.store.metadata import ID, VAULT

_BIG = BigInteger().with_variant(Integer, "sqlite")

embedding_page = Table(
    "embedding_page",
    VAULT,
    Column("track_id", String(ID), ForeignKey("track.track_id"), nullable=False),
    Column("model_id", String(ID), ForeignKey("model.model_id"), nullable=False, index=True),
    Column("page", Integer, nullable=False),
    Column("subject_id", String(ID), ForeignKey("subject.subject_id"), nullable=False),
    Column("consent_id", String(ID), ForeignKey("consent.consent_id"), nullable=False, index=True),
    Column("sealed", SealedBlob, nullable=False),
    Column("n", Integer, nullable=False),
    Column("dim", Integer, nullable=False),
    Column("frame_indices", JsonText, nullable=False),
    PrimaryKeyConstraint("track_id", "model_id", "page"),
    CheckConstraint("page >= 0 AND n > 0 AND dim > 0", name="shape_sane"),
)
embedding_bundle = Table(
    "embedding_bundle",
    VAULT,
    Column("bundle_id", _BIG, primary_key=True, autoincrement=False),
    Column("model_id", String(ID), ForeignKey("model.model_id"), nullable=False, index=True),
    Column("sealed", LargeBinary, nullable=False),
)
# Where each sealed page lies in its bundle (``start`` and ``length`` in bytes) and whose it is.
embedding_segment = Table(
    "embedding_segment",
    VAULT,
    Column("page_id", _BIG, primary_key=True, autoincrement=False),
    Column("bundle_id", _BIG, ForeignKey("embedding_bundle.bundle_id"), nullable=False, index=True),
    Column("start", Integer, nullable=False),
    Column("length", Integer, nullable=False),
    Column("consent_id", String(ID), ForeignKey("consent.consent_id"), nullable=False, index=True),
    Column("subject_id", String(ID), ForeignKey("subject.subject_id"), nullable=False),
    Column("model_id", String(ID), ForeignKey("model.model_id"), nullable=False, index=True),
    Column("n", Integer, nullable=False),
    Column("dim", Integer, nullable=False),
    CheckConstraint("start >= 0 AND length > 0 AND n > 0 AND dim > 0", name="shape_sane"),
)
# Which page holds a track's embeddings: a host that can open nothing must know what is embedded already.
embedding_track = Table(
    "embedding_track",
    VAULT,
    Column("track_id", String(ID), ForeignKey("track.track_id"), nullable=False),
    Column("model_id", String(ID), ForeignKey("model.model_id"), nullable=False, index=True),
    Column("page_id", _BIG, ForeignKey("embedding_segment.page_id"), nullable=False, index=True),
    PrimaryKeyConstraint("track_id", "page_id"),
)
