"""The keystore's first schema.

Revision ID: keystore_0001
"""

import sqlalchemy as sa
from alembic import op

revision = "keystore_0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    "epoch",
    "data_key",
    "secret",
)


def upgrade() -> None:
    """Create every table."""
    _keys()


def downgrade() -> None:
    """Drop every table, and what they hold."""
    for table in reversed(TABLES):
        op.drop_table(table)


def _keys() -> None:
    op.create_table(
        "epoch",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("destroyed_at", sa.String(27), nullable=True),
        sa.CheckConstraint("(destroyed_at IS NULL) = (length(wrapped) > 0)", name="ck_epoch_destroyed_is_empty"),
        sa.PrimaryKeyConstraint("number", name="pk_epoch"),
    )
    op.create_table(
        "data_key",
        sa.Column("key_id", sa.String(36), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("domain", sa.String(40), nullable=False),
        sa.Column("subject_id", sa.String(36), nullable=False),
        sa.Column("consent_id", sa.String(36), nullable=True),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("public", sa.LargeBinary(), nullable=False),
        sa.Column("destroyed_at", sa.String(27), nullable=True),
        sa.CheckConstraint(
            "domain IN ('tracklets', 'embeddings', 'identity', 'evidence')", name="ck_data_key_domain_known"
        ),
        sa.CheckConstraint(
            "(destroyed_at IS NULL) = (length(wrapped) > 0) AND (destroyed_at IS NULL) = (length(public) > 0)",
            name="ck_data_key_destroyed_is_empty",
        ),
        sa.ForeignKeyConstraint(["epoch"], ["epoch.number"], name="fk_data_key_epoch"),
        sa.PrimaryKeyConstraint("key_id", name="pk_data_key"),
    )
    op.create_index("ix_data_key_consent_id", "data_key", ["consent_id"])
    op.create_index("ix_data_key_epoch", "data_key", ["epoch"])
    op.create_index(
        "uq_data_key_living",
        "data_key",
        ["subject_id", sa.text("coalesce(consent_id, '')"), "domain"],
        unique=True,
        sqlite_where=sa.text("destroyed_at IS NULL"),
        postgresql_where=sa.text("destroyed_at IS NULL"),
    )
    op.create_table(
        "secret",
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("public", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_secret"),
    )
