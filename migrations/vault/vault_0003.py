"""Embeddings in bundles (store/bundles.py).

Revision ID: vault_0003
"""

import sqlalchemy as sa
from alembic import op

revision = "vault_0003"
down_revision = "vault_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add three tables; every row stays as it is."""
    op.create_table(
        "embedding_bundle",
        sa.Column("bundle_id", _big(), autoincrement=False, nullable=False),
        sa.Column("model_id", sa.String(36), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["model.model_id"], name="fk_embedding_bundle_model_id"),
        sa.PrimaryKeyConstraint("bundle_id", name="pk_embedding_bundle"),
    )
    op.create_table(
        "embedding_segment",
        sa.Column("page_id", _big(), autoincrement=False, nullable=False),
        sa.Column("bundle_id", _big(), nullable=False),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.Column("consent_id", sa.String(36), nullable=False),
        sa.Column("subject_id", sa.String(36), nullable=False),
        sa.Column("model_id", sa.String(36), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("dim", sa.Integer(), nullable=False),
        sa.CheckConstraint("start >= 0 AND length > 0 AND n > 0 AND dim > 0", name="ck_embedding_segment_shape_sane"),
        sa.ForeignKeyConstraint(["bundle_id"], ["embedding_bundle.bundle_id"], name="fk_embedding_segment_bundle_id"),
        sa.ForeignKeyConstraint(["consent_id"], ["consent.consent_id"], name="fk_embedding_segment_consent_id"),
        sa.ForeignKeyConstraint(["model_id"], ["model.model_id"], name="fk_embedding_segment_model_id"),
        sa.ForeignKeyConstraint(["subject_id"], ["subject.subject_id"], name="fk_embedding_segment_subject_id"),
        sa.PrimaryKeyConstraint("page_id", name="pk_embedding_segment"),
    )
    op.create_table(
        "embedding_track",
        sa.Column("track_id", sa.String(36), nullable=False),
        sa.Column("model_id", sa.String(36), nullable=False),
        sa.Column("page_id", _big(), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["model.model_id"], name="fk_embedding_track_model_id"),
        sa.ForeignKeyConstraint(["page_id"], ["embedding_segment.page_id"], name="fk_embedding_track_page_id"),
        sa.ForeignKeyConstraint(["track_id"], ["track.track_id"], name="fk_embedding_track_track_id"),
        sa.PrimaryKeyConstraint("track_id", "page_id", name="pk_embedding_track"),
    )
    for table, column in (
        ("embedding_bundle", "model_id"),
        ("embedding_segment", "bundle_id"),
        ("embedding_segment", "consent_id"),
        ("embedding_segment", "model_id"),
        ("embedding_track", "model_id"),
        ("embedding_track", "page_id"),
    ):
        op.create_index(f"ix_{table}_{column}", table, [column])


def downgrade() -> None:
    """Remove them, and what they hold."""
    for table in ("embedding_track", "embedding_segment", "embedding_bundle"):
        op.drop_table(table)


def _big() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")
