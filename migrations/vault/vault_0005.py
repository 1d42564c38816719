"""Losses of privacy that no training run caused, and how many answers a decision let out.

Revision ID: vault_0005
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import SchemaItem

revision = "vault_0005"
down_revision = "vault_0004"
branch_labels = None
depends_on = None

_KNOWN = "source IN ('train', 'query', 'restored')"
_TRAINED = "(source = 'train') = (run_id IS NOT NULL)"
_COLUMNS = "entry_id, run_id, dp_event, epsilon, delta, state, created_at"


def upgrade() -> None:
    """Every row stays as it is: what was spent so far, training spent; a question answered so far was one answer."""
    if op.get_bind().dialect.name == "sqlite":
        _rebuild(_columns(nullable=True))
    else:
        op.alter_column("ledger_entry", "run_id", nullable=True)
        op.add_column("ledger_entry", sa.Column("source", sa.String(40), nullable=False, server_default="train"))
        op.create_check_constraint("ck_ledger_entry_source_known", "ledger_entry", _KNOWN)
        op.create_check_constraint("ck_ledger_entry_trained_has_run", "ledger_entry", _TRAINED)
    op.add_column("decision", sa.Column("answers", sa.Integer(), server_default="0", nullable=False))
    op.execute("UPDATE decision SET answers = 1 WHERE action = 'query_similar' AND outcome = 'allow'")
    op.create_index("ix_decision_principal_at", "decision", ["principal", "at"])


def downgrade() -> None:
    """For tests: what no run caused is lost."""
    op.drop_index("ix_decision_principal_at", "decision")
    op.drop_column("decision", "answers")
    lost = "(SELECT entry_id FROM ledger_entry WHERE run_id IS NULL)"
    op.execute(f"DELETE FROM ledger_member WHERE entry_id IN {lost}")
    op.execute("DELETE FROM ledger_entry WHERE run_id IS NULL")
    if op.get_bind().dialect.name == "sqlite":
        _rebuild(_columns(nullable=False))
        return
    op.drop_constraint("ck_ledger_entry_trained_has_run", "ledger_entry", type_="check")
    op.drop_constraint("ck_ledger_entry_source_known", "ledger_entry", type_="check")
    op.drop_column("ledger_entry", "source")
    op.alter_column("ledger_entry", "run_id", nullable=False)


def _columns(*, nullable: bool) -> list[SchemaItem]:
    """Return what the table of entries is made of, with entries that have no run or without."""
    added: list[SchemaItem] = []
    if nullable:
        added = [
            sa.Column("source", sa.String(40), nullable=False, server_default="train"),
            sa.CheckConstraint(_KNOWN, name="ck_ledger_entry_source_known"),
            sa.CheckConstraint(_TRAINED, name="ck_ledger_entry_trained_has_run"),
        ]
    return [
        sa.Column("entry_id", sa.String(36), nullable=False),
        sa.Column("run_id", sa.String(36), nullable=nullable),
        sa.Column("dp_event", sa.Text(), nullable=False),
        sa.Column("epsilon", sa.Float(53), nullable=False),
        sa.Column("delta", sa.Float(53), nullable=False),
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("created_at", sa.String(27), nullable=False),
        *added,
        sa.CheckConstraint("delta >= 0 AND delta < 1", name="ck_ledger_entry_delta_sane"),
        sa.CheckConstraint("epsilon > 0 AND epsilon < 1e6", name="ck_ledger_entry_epsilon_sane"),
        sa.CheckConstraint("state IN ('reserved', 'committed')", name="ck_ledger_entry_state_known"),
        sa.ForeignKeyConstraint(["run_id"], ["run.run_id"], name="fk_ledger_entry_run_id"),
        sa.PrimaryKeyConstraint("entry_id", name="pk_ledger_entry"),
    ]


def _rebuild(columns: list[SchemaItem]) -> None:
    """Make both tables of the ledger anew: SQLite cannot let a column be empty that could not be.

    The table of members is made anew too, so that at no moment a row refers to a table that is dropped.
    """
    op.create_table("ledger_entry_new", *columns)
    # Going up every entry is a run's, and so the new column's default is right for each.
    op.execute(f"INSERT INTO ledger_entry_new ({_COLUMNS}) SELECT {_COLUMNS} FROM ledger_entry")
    op.create_table(
        "ledger_member_new",
        sa.Column("entry_id", sa.String(36), nullable=False),
        sa.Column("subject_id", sa.String(36), nullable=False),
        sa.ForeignKeyConstraint(["entry_id"], ["ledger_entry_new.entry_id"], name="fk_ledger_member_entry_id"),
        sa.ForeignKeyConstraint(["subject_id"], ["subject.subject_id"], name="fk_ledger_member_subject_id"),
        sa.PrimaryKeyConstraint("entry_id", "subject_id", name="pk_ledger_member"),
    )
    op.execute("INSERT INTO ledger_member_new (entry_id, subject_id) SELECT entry_id, subject_id FROM ledger_member")
    op.drop_table("ledger_member")
    op.drop_table("ledger_entry")
    op.rename_table("ledger_entry_new", "ledger_entry")
    op.rename_table("ledger_member_new", "ledger_member")
    op.create_index("ix_ledger_entry_run_id", "ledger_entry", ["run_id"])
    op.create_index("ix_ledger_member_subject_id", "ledger_member", ["subject_id"])
