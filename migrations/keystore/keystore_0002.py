"""Domain keys, who holds them, and which keys are being replaced.

Revision ID: keystore_0002

An epoch that is there already is of kind 1 (one key for everything, under the root alone) until ``init`` renews it.
"""

import sqlalchemy as sa
from alembic import op

revision = "keystore_0002"
down_revision = "keystore_0001"
branch_labels = None
depends_on = None

DOMAINS = "'tracklets', 'embeddings', 'identity', 'evidence', 'log', 'report', 'hold'"


def upgrade() -> None:
    """Every row stays as it is."""
    op.add_column("epoch", sa.Column("kind", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("epoch", sa.Column("created_at", sa.String(27), nullable=True))
    op.add_column("data_key", sa.Column("pending", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("secret", sa.Column("epoch", sa.Integer(), nullable=True))
    op.add_column("secret", sa.Column("domain", sa.String(40), nullable=True))
    op.drop_index("uq_data_key_living", "data_key")
    for number, name in enumerate(("living", "coming", "going")):
        _unique(name, f"destroyed_at IS NULL AND pending = {number}")
    _tables()


def _unique(name: str, where: str) -> None:
    op.create_index(
        f"uq_data_key_{name}",
        "data_key",
        ["subject_id", sa.text("coalesce(consent_id, '')"), "domain"],
        unique=True,
        sqlite_where=sa.text(where),
        postgresql_where=sa.text(where),
    )


def _tables() -> None:
    op.create_table(
        "epoch_key",
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("domain", sa.String(40), nullable=False),
        sa.Column("public", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint(f"domain IN ({DOMAINS})", name="ck_epoch_key_domain_known"),
        sa.CheckConstraint("length(public) = 32", name="ck_epoch_key_public_sane"),
        sa.ForeignKeyConstraint(["epoch"], ["epoch.number"], name="fk_epoch_key_epoch"),
        sa.PrimaryKeyConstraint("epoch", "domain", name="pk_epoch_key"),
    )
    op.create_table(
        "holder",
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("public", sa.LargeBinary(), nullable=False),
        sa.Column("roles", sa.Text(), nullable=False),
        sa.Column("domains", sa.Text(), nullable=False),
        sa.Column("proof", sa.String(64), nullable=False),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.Column("revoked_at", sa.String(27), nullable=True),
        sa.CheckConstraint("length(public) = 32", name="ck_holder_public_sane"),
        sa.PrimaryKeyConstraint("name", name="pk_holder"),
        sa.UniqueConstraint("public", name="uq_holder_public"),
    )
    op.create_table(
        "holder_key",
        sa.Column("holder", sa.String(200), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["holder"], ["holder.name"], name="fk_holder_key_holder"),
        sa.ForeignKeyConstraint(["epoch"], ["epoch.number"], name="fk_holder_key_epoch"),
        sa.PrimaryKeyConstraint("holder", "epoch", name="pk_holder_key"),
    )


def downgrade() -> None:
    """For tests: drop what was added, and what it holds."""
    for table in ("holder_key", "holder", "epoch_key"):
        op.drop_table(table)
    for name in ("living", "coming", "going"):
        op.drop_index(f"uq_data_key_{name}", "data_key")
    _unique("living", "destroyed_at IS NULL")
    for table, column in (
        ("secret", "domain"),
        ("secret", "epoch"),
        ("data_key", "pending"),
        ("epoch", "created_at"),
        ("epoch", "kind"),
    ):
        op.drop_column(table, column)
