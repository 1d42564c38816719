"""Keys of persons who approve, what was approved, legal holds, and caps that were raised.

Revision ID: vault_0004
"""

import sqlalchemy as sa
from alembic import op

revision = "vault_0004"
down_revision = "vault_0003"
branch_labels = None
depends_on = None

_TABLES = ("cap_raise", "legal_hold", "approval_used", "approver")


def upgrade() -> None:
    """Add four tables; every row stays as it is."""
    op.create_table(
        "approver",
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("added_at", sa.String(27), nullable=False),
        sa.Column("removed_at", sa.String(27), nullable=True),
        sa.Column("proof", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name="pk_approver"),
    )
    living = sa.text("removed_at IS NULL")
    op.create_index(
        "uq_approver_living", "approver", ["name"], unique=True, sqlite_where=living, postgresql_where=living
    )
    op.create_table(
        "approval_used",
        sa.Column("nonce", sa.String(64), nullable=False),
        sa.Column("act", sa.String(100), nullable=False),
        sa.Column("request_sha256", sa.String(64), nullable=False),
        sa.Column("at", sa.String(27), nullable=False),
        sa.PrimaryKeyConstraint("nonce", name="pk_approval_used"),
    )
    _about_consents()


def downgrade() -> None:
    """Remove them, and what they hold."""
    for table in _TABLES:
        op.drop_table(table)


def _about_consents() -> None:
    grounds = "'legal_claim', 'legal_obligation', 'authority_order', 'subject_request'"
    op.create_table(
        "legal_hold",
        sa.Column("hold_id", sa.String(36), nullable=False),
        sa.Column("consent_id", sa.String(36), nullable=False),
        sa.Column("ground", sa.String(40), nullable=False),
        sa.Column("placed_at", sa.String(27), nullable=False),
        sa.Column("until", sa.String(27), nullable=True),
        sa.Column("released_at", sa.String(27), nullable=True),
        sa.Column("proof", sa.String(64), nullable=False),
        sa.CheckConstraint(f"ground IN ({grounds})", name="ck_legal_hold_ground_known"),
        sa.ForeignKeyConstraint(["consent_id"], ["consent.consent_id"], name="fk_legal_hold_consent_id"),
        sa.PrimaryKeyConstraint("hold_id", name="pk_legal_hold"),
    )
    op.create_index("ix_legal_hold_consent_id", "legal_hold", ["consent_id"])
    op.create_table(
        "cap_raise",
        sa.Column("consent_id", sa.String(36), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("cap", sa.Float(precision=53), nullable=False),
        sa.Column("evidence_sha256", sa.String(64), nullable=False),
        sa.Column("at", sa.String(27), nullable=False),
        sa.Column("proof", sa.String(64), nullable=False),
        sa.CheckConstraint("cap > 0 AND cap <= 1000", name="ck_cap_raise_cap_sane"),
        sa.CheckConstraint("position >= 0", name="ck_cap_raise_position_sane"),
        sa.ForeignKeyConstraint(["consent_id"], ["consent.consent_id"], name="fk_cap_raise_consent_id"),
        sa.PrimaryKeyConstraint("consent_id", "position", name="pk_cap_raise"),
    )
