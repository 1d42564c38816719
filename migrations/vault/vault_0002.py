"""Quarantine with sealed records, evidence of discard, and a closed list of what becomes of a source file.

Revision ID: vault_0002
"""

import sqlalchemy as sa
from alembic import op

revision = "vault_0002"
down_revision = "vault_0001"
branch_labels = None
depends_on = None

_KNOWN = "disposition IN ('keep', 'delete_due', 'deleted', 'delete_failed')"


def upgrade() -> None:
    """Add a table and a column; every row stays as it is."""
    _evidence()
    op.create_table(
        "quarantine",
        sa.Column("video_id", sa.String(36), nullable=False),
        sa.Column("reason", sa.String(100), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("deadline", sa.String(27), nullable=False),
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.Column("resolved_at", sa.String(27), nullable=True),
        sa.CheckConstraint("(state = 'held') = (resolved_at IS NULL)", name="ck_quarantine_resolved_has_time"),
        sa.CheckConstraint("(state = 'held') = (sealed IS NOT NULL)", name="ck_quarantine_held_is_sealed"),
        sa.CheckConstraint("state IN ('held', 'released', 'destroyed', 'expired')", name="ck_quarantine_state_known"),
        sa.ForeignKeyConstraint(["video_id"], ["video.video_id"], name="fk_quarantine_video_id"),
        sa.PrimaryKeyConstraint("video_id", name="pk_quarantine"),
    )
    op.create_index("ix_quarantine_deadline", "quarantine", ["deadline"])


def downgrade() -> None:
    """Remove both, and what they hold."""
    op.drop_table("quarantine")
    if op.get_bind().dialect.name != "sqlite":
        op.drop_constraint("ck_video_disposition_known", "video", type_="check")
    op.drop_column("video", "evidence")  # on SQLite its CHECK goes with it


def _evidence() -> None:
    """Add the column ``evidence``, and the CHECK on ``disposition``.

    SQLite adds no constraint to a table that exists, but a new column may bring one, about any column: so a table
    that others refer to is not rebuilt, and SQLite checks the rows that are there.
    """
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "ALTER TABLE video ADD COLUMN evidence TEXT DEFAULT '{}' NOT NULL "
            f"CONSTRAINT ck_video_disposition_known CHECK ({_KNOWN})"
        )
        return
    op.add_column("video", sa.Column("evidence", sa.Text(), server_default="{}", nullable=False))
    op.create_check_constraint("ck_video_disposition_known", "video", _KNOWN)
