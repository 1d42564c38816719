"""The vault's first schema.

Revision ID: vault_0001
"""

import sqlalchemy as sa
from alembic import op

revision = "vault_0001"
down_revision = None
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TABLES = (
    "meta",
    "log_head",
    "log_entry",
    "log_tile",
    "log_opening",
    "notice",
    "subject",
    "consent",
    "consent_event",
    "video",
    "track",
    "tracklet",
    "dataset",
    "dataset_member",
    "plan",
    "run",
    "ledger_entry",
    "ledger_member",
    "model",
    "embedding_page",
    "erasure",
    "decision",
    "principal",
)


def upgrade() -> None:
    """Create every table."""
    _log()
    _consents()
    _videos()
    _training()
    _budget()
    _models()
    _account()
    op.execute("INSERT INTO log_head (id, size, checkpoint) VALUES (1, 0, '')")


def downgrade() -> None:
    """Drop every table, and what they hold."""
    for table in reversed(TABLES):
        op.drop_table(table)


def _log() -> None:
    op.create_table(
        "meta",
        sa.Column("key", sa.String(100), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_meta"),
    )
    op.create_table(
        "log_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("size", _BIG, nullable=False),
        sa.Column("checkpoint", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name="ck_log_head_one_row"),
        sa.CheckConstraint("size >= 0", name="ck_log_head_size_sane"),
        sa.PrimaryKeyConstraint("id", name="pk_log_head"),
    )
    op.create_table(
        "log_entry",
        sa.Column("leaf_index", _BIG, autoincrement=False, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("leaf_index >= 0", name="ck_log_entry_index_sane"),
        sa.PrimaryKeyConstraint("leaf_index", name="pk_log_entry"),
    )
    op.create_table(
        "log_tile",
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("tile_index", _BIG, nullable=False),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint(
            "(length(hashes) / 32) * 32 = length(hashes) AND length(hashes) <= 8192", name="ck_log_tile_width_sane"
        ),
        sa.PrimaryKeyConstraint("level", "tile_index", name="pk_log_tile"),
    )
    op.create_table(
        "log_opening",
        sa.Column("leaf_index", _BIG, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("subject_id", sa.String(36), nullable=True),
        sa.Column("consent_id", sa.String(36), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["leaf_index"], ["log_entry.leaf_index"], name="fk_log_opening_leaf_index"),
        sa.PrimaryKeyConstraint("leaf_index", "position", name="pk_log_opening"),
    )
    op.create_index("ix_log_opening_consent_id", "log_opening", ["consent_id"])
    op.create_index("ix_log_opening_subject_id", "log_opening", ["subject_id"])


def _consents() -> None:
    op.create_table(
        "notice",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("text", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_notice"),
    )
    op.create_table(
        "subject",
        sa.Column("subject_id", sa.String(36), nullable=False),
        sa.Column("blind_index", sa.String(64), nullable=True),
        sa.Column("sealed_reference", sa.LargeBinary(), nullable=True),
        sa.Column("category", sa.String(40), nullable=False),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.Column("erased_at", sa.String(27), nullable=True),
        sa.CheckConstraint(
            "category IN ('adult', 'child', 'employee', 'student', 'patient', 'customer', 'research_participant')",
            name="ck_subject_category_known",
        ),
        sa.CheckConstraint(
            "erased_at IS NULL OR (blind_index IS NULL AND sealed_reference IS NULL)", name="ck_subject_erased_is_empty"
        ),
        sa.PrimaryKeyConstraint("subject_id", name="pk_subject"),
        sa.UniqueConstraint("blind_index", name="uq_subject_blind_index"),
    )
    op.create_table(
        "consent",
        sa.Column("consent_id", sa.String(36), nullable=False),
        sa.Column("subject_id", sa.String(36), nullable=False),
        sa.Column("notice_sha256", sa.String(64), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.ForeignKeyConstraint(
            ["notice_sha256"], ["notice.sha256"], name="fk_consent_notice_sha256", initially="DEFERRED", deferrable=True
        ),
        sa.ForeignKeyConstraint(["subject_id"], ["subject.subject_id"], name="fk_consent_subject_id"),
        sa.PrimaryKeyConstraint("consent_id", name="pk_consent"),
    )
    op.create_index("ix_consent_subject_id", "consent", ["subject_id"])
    op.create_table(
        "consent_event",
        sa.Column("consent_id", sa.String(36), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("type", sa.String(40), nullable=False),
        sa.Column("occurred_at", sa.String(27), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "type IN ('requested', 'request_deferred', 'given', 'renewed', 'refused', 'expired', "
            "'invalidated', 'revoked', 'withdrawn')",
            name="ck_consent_event_type_known",
        ),
        sa.ForeignKeyConstraint(["consent_id"], ["consent.consent_id"], name="fk_consent_event_consent_id"),
        sa.PrimaryKeyConstraint("consent_id", "position", name="pk_consent_event"),
    )


def _videos() -> None:
    op.create_table(
        "video",
        sa.Column("video_id", sa.String(36), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("content", sa.String(64), nullable=False),
        sa.Column("status", sa.String(40), nullable=False),
        sa.Column("frames_read", sa.Integer(), nullable=False),
        sa.Column("frames_persisted", sa.Integer(), nullable=False),
        sa.Column("detected", sa.Integer(), nullable=False),
        sa.Column("bound", sa.Integer(), nullable=False),
        sa.Column("dropped", sa.Integer(), nullable=False),
        sa.Column("quarantined", sa.Integer(), nullable=False),
        sa.Column("drop_reasons", sa.Text(), nullable=False),
        sa.Column("policy_sha256", sa.String(64), nullable=False),
        sa.Column("disposition", sa.String(40), nullable=False),
        sa.Column("ingested_at", sa.String(27), nullable=False),
        sa.CheckConstraint("status IN ('ingested', 'refused', 'quarantined')", name="ck_video_status_known"),
        sa.CheckConstraint("detected = bound + dropped + quarantined", name="ck_video_tracks_conserved"),
        sa.CheckConstraint("frames_persisted = 0", name="ck_video_no_frame_rests"),
        sa.CheckConstraint(
            "frames_read >= 0 AND bound >= 0 AND dropped >= 0 AND quarantined >= 0", name="ck_video_counts_sane"
        ),
        sa.PrimaryKeyConstraint("video_id", name="pk_video"),
        sa.UniqueConstraint("fingerprint", name="uq_video_fingerprint"),
    )
    op.create_index("ix_video_content", "video", ["content"])
    op.create_table(
        "track",
        sa.Column("track_id", sa.String(36), nullable=False),
        sa.Column("video_id", sa.String(36), nullable=False),
        sa.Column("subject_id", sa.String(36), nullable=True),
        sa.Column("consent_id", sa.String(36), nullable=True),
        sa.Column("status", sa.String(40), nullable=False),
        sa.Column("reason", sa.String(100), nullable=False),
        sa.Column("frames", sa.Integer(), nullable=False),
        sa.Column("crop_version", sa.String(100), nullable=False),
        sa.Column("expires_at", sa.String(27), nullable=True),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.CheckConstraint("status <> 'bound' OR consent_id IS NOT NULL", name="ck_track_bound_has_consent"),
        sa.CheckConstraint(
            "status IN ('bound', 'dropped', 'quarantined', 'expired', 'erased')", name="ck_track_status_known"
        ),
        sa.CheckConstraint("(subject_id IS NULL) = (consent_id IS NULL)", name="ck_track_bound_to_both"),
        sa.CheckConstraint("frames >= 0", name="ck_track_frames_sane"),
        sa.ForeignKeyConstraint(["consent_id"], ["consent.consent_id"], name="fk_track_consent_id"),
        sa.ForeignKeyConstraint(["subject_id"], ["subject.subject_id"], name="fk_track_subject_id"),
        sa.ForeignKeyConstraint(["video_id"], ["video.video_id"], name="fk_track_video_id"),
        sa.PrimaryKeyConstraint("track_id", name="pk_track"),
    )
    op.create_index("ix_track_consent_id", "track", ["consent_id"])
    op.create_index("ix_track_expires_at", "track", ["expires_at"])
    op.create_index("ix_track_video_id", "track", ["video_id"])
    op.create_table(
        "tracklet",
        sa.Column("track_id", sa.String(36), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("frame_indices", sa.Text(), nullable=False),
        sa.CheckConstraint("n > 0 AND size > 0", name="ck_tracklet_shape_sane"),
        sa.ForeignKeyConstraint(["track_id"], ["track.track_id"], name="fk_tracklet_track_id"),
        sa.PrimaryKeyConstraint("track_id", name="pk_tracklet"),
    )


def _training() -> None:
    op.create_table(
        "dataset",
        sa.Column("dataset_id", sa.String(36), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", name="pk_dataset"),
    )
    op.create_table(
        "dataset_member",
        sa.Column("dataset_id", sa.String(36), nullable=False),
        sa.Column("track_id", sa.String(36), nullable=False),
        sa.Column("consent_id", sa.String(36), nullable=False),
        sa.Column("subject_id", sa.String(36), nullable=False),
        sa.ForeignKeyConstraint(["consent_id"], ["consent.consent_id"], name="fk_dataset_member_consent_id"),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.dataset_id"], name="fk_dataset_member_dataset_id"),
        sa.ForeignKeyConstraint(["subject_id"], ["subject.subject_id"], name="fk_dataset_member_subject_id"),
        sa.ForeignKeyConstraint(["track_id"], ["track.track_id"], name="fk_dataset_member_track_id"),
        sa.PrimaryKeyConstraint("dataset_id", "track_id", name="pk_dataset_member"),
    )
    op.create_index("ix_dataset_member_consent_id", "dataset_member", ["consent_id"])
    op.create_table(
        "plan",
        sa.Column("plan_id", sa.String(36), nullable=False),
        sa.Column("dataset_id", sa.String(36), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.dataset_id"], name="fk_plan_dataset_id"),
        sa.PrimaryKeyConstraint("plan_id", name="pk_plan"),
    )
    op.create_index("ix_plan_dataset_id", "plan", ["dataset_id"])
    op.create_table(
        "run",
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("plan_id", sa.String(36), nullable=False),
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("steps_done", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.String(27), nullable=False),
        sa.Column("ended_at", sa.String(27), nullable=True),
        sa.CheckConstraint("state IN ('reserved', 'running', 'complete', 'failed')", name="ck_run_state_known"),
        sa.CheckConstraint("steps_done >= 0", name="ck_run_steps_sane"),
        sa.ForeignKeyConstraint(["plan_id"], ["plan.plan_id"], name="fk_run_plan_id"),
        sa.PrimaryKeyConstraint("run_id", name="pk_run"),
    )
    op.create_index("ix_run_plan_id", "run", ["plan_id"])


def _budget() -> None:
    op.create_table(
        "ledger_entry",
        sa.Column("entry_id", sa.String(36), nullable=False),
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("dp_event", sa.Text(), nullable=False),
        sa.Column("epsilon", sa.Float(precision=53), nullable=False),
        sa.Column("delta", sa.Float(precision=53), nullable=False),
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.CheckConstraint("state IN ('reserved', 'committed')", name="ck_ledger_entry_state_known"),
        sa.CheckConstraint("delta >= 0 AND delta < 1", name="ck_ledger_entry_delta_sane"),
        sa.CheckConstraint("epsilon > 0 AND epsilon < 1e6", name="ck_ledger_entry_epsilon_sane"),
        sa.ForeignKeyConstraint(["run_id"], ["run.run_id"], name="fk_ledger_entry_run_id"),
        sa.PrimaryKeyConstraint("entry_id", name="pk_ledger_entry"),
    )
    op.create_index("ix_ledger_entry_run_id", "ledger_entry", ["run_id"])
    op.create_table(
        "ledger_member",
        sa.Column("entry_id", sa.String(36), nullable=False),
        sa.Column("subject_id", sa.String(36), nullable=False),
        sa.ForeignKeyConstraint(["entry_id"], ["ledger_entry.entry_id"], name="fk_ledger_member_entry_id"),
        sa.ForeignKeyConstraint(["subject_id"], ["subject.subject_id"], name="fk_ledger_member_subject_id"),
        sa.PrimaryKeyConstraint("entry_id", "subject_id", name="pk_ledger_member"),
    )
    op.create_index("ix_ledger_member_subject_id", "ledger_member", ["subject_id"])


def _models() -> None:
    op.create_table(
        "model",
        sa.Column("model_id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("run_id", sa.String(36), nullable=True),
        sa.Column("weights_sha256", sa.String(64), nullable=False),
        sa.Column("card", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.Column("status", sa.String(40), nullable=False),
        sa.Column("decision_due", sa.String(27), nullable=True),
        sa.CheckConstraint("(kind = 'dp') = (run_id IS NOT NULL)", name="ck_model_dp_has_run"),
        sa.CheckConstraint("kind IN ('dp', 'public')", name="ck_model_kind_known"),
        sa.CheckConstraint("status IN ('active', 'flagged', 'retired')", name="ck_model_status_known"),
        sa.ForeignKeyConstraint(["run_id"], ["run.run_id"], name="fk_model_run_id"),
        sa.PrimaryKeyConstraint("model_id", name="pk_model"),
    )
    op.create_table(
        "embedding_page",
        sa.Column("track_id", sa.String(36), nullable=False),
        sa.Column("model_id", sa.String(36), nullable=False),
        sa.Column("page", sa.Integer(), nullable=False),
        sa.Column("subject_id", sa.String(36), nullable=False),
        sa.Column("consent_id", sa.String(36), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("dim", sa.Integer(), nullable=False),
        sa.Column("frame_indices", sa.Text(), nullable=False),
        sa.CheckConstraint("page >= 0 AND n > 0 AND dim > 0", name="ck_embedding_page_shape_sane"),
        sa.ForeignKeyConstraint(["consent_id"], ["consent.consent_id"], name="fk_embedding_page_consent_id"),
        sa.ForeignKeyConstraint(["model_id"], ["model.model_id"], name="fk_embedding_page_model_id"),
        sa.ForeignKeyConstraint(["subject_id"], ["subject.subject_id"], name="fk_embedding_page_subject_id"),
        sa.ForeignKeyConstraint(["track_id"], ["track.track_id"], name="fk_embedding_page_track_id"),
        sa.PrimaryKeyConstraint("track_id", "model_id", "page", name="pk_embedding_page"),
    )
    op.create_index("ix_embedding_page_consent_id", "embedding_page", ["consent_id"])
    op.create_index("ix_embedding_page_model_id", "embedding_page", ["model_id"])


def _account() -> None:
    op.create_table(
        "erasure",
        sa.Column("erasure_id", sa.String(36), nullable=False),
        sa.Column("consent_id", sa.String(36), nullable=False),
        sa.Column("subject_id", sa.String(36), nullable=False),
        sa.Column("requested_at", sa.String(27), nullable=False),
        sa.Column("planned", sa.Text(), nullable=False),
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("certificate", sa.Text(), nullable=True),
        sa.Column("finished_at", sa.String(27), nullable=True),
        sa.CheckConstraint("(state = 'pending') = (certificate IS NULL)", name="ck_erasure_finished_has_certificate"),
        sa.CheckConstraint("(state = 'pending') = (finished_at IS NULL)", name="ck_erasure_finished_has_time"),
        sa.CheckConstraint("state IN ('pending', 'complete', 'partial')", name="ck_erasure_state_known"),
        sa.ForeignKeyConstraint(["consent_id"], ["consent.consent_id"], name="fk_erasure_consent_id"),
        sa.ForeignKeyConstraint(["subject_id"], ["subject.subject_id"], name="fk_erasure_subject_id"),
        sa.PrimaryKeyConstraint("erasure_id", name="pk_erasure"),
    )
    op.create_index("ix_erasure_consent_id", "erasure", ["consent_id"])
    op.create_table(
        "decision",
        sa.Column("decision_id", sa.String(36), nullable=False),
        sa.Column("principal", sa.String(200), nullable=False),
        sa.Column("action", sa.String(100), nullable=False),
        sa.Column("purpose", sa.String(40), nullable=False),
        sa.Column("outcome", sa.String(40), nullable=False),
        sa.Column("policy_id", sa.String(200), nullable=False),
        sa.Column("policy_sha256", sa.String(64), nullable=False),
        sa.Column("row_count", sa.Integer(), nullable=False),
        sa.Column("at", sa.String(27), nullable=False),
        sa.CheckConstraint("outcome IN ('allow', 'deny')", name="ck_decision_outcome_known"),
        sa.CheckConstraint("row_count >= 0", name="ck_decision_rows_sane"),
        sa.PrimaryKeyConstraint("decision_id", name="pk_decision"),
    )
    op.create_index("ix_decision_at", "decision", ["at"])
    op.create_table(
        "principal",
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("os_user", sa.String(200), nullable=False),
        sa.Column("roles", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_principal"),
        sa.UniqueConstraint("os_user", name="uq_principal_os_user"),
    )
