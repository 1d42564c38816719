"""The two schemas: every table, key and CHECK constraint, of the vault and of the keystore.

Guarantees what a database can check cheaply: states are known words, counts add up, a fingerprint is unique, a
destroyed key holds no bytes. The migrations create exactly these tables (a test compares them). Does not hold any
statement; each noun's module does.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    func,
    literal_column,
)

from fabnet_secure.consent.record import EventType, SubjectCategory
from fabnet_secure.store.columns import Choice, JsonText, Moment, SealedBlob, one_of
from fabnet_secure.store.metadata import ID, KEYSTORE, SHA256, VAULT
from fabnet_secure.store.states import (
    Disposition,
    ErasureState,
    LedgerSource,
    LedgerState,
    ModelKind,
    ModelStatus,
    Outcome,
    QuarantineState,
    RunState,
    VideoStatus,
)
from fabnet_secure.store.tables_approval import approval_used, approver, cap_raise, legal_hold
from fabnet_secure.store.tables_embedding import embedding_page
from fabnet_secure.types import Domain, KeyDomain, TrackStatus

__all__ = ["KEYSTORE", "VAULT", "approval_used", "approver", "cap_raise", "embedding_page", "legal_hold"]

_BIG = BigInteger().with_variant(Integer, "sqlite")

meta = Table(
    "meta",
    VAULT,
    Column("key", String(100), primary_key=True),
    Column("value", Text, nullable=False),
)

log_head = Table(
    "log_head",
    VAULT,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("size", _BIG, nullable=False),
    Column("checkpoint", Text, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
    CheckConstraint("size >= 0", name="size_sane"),
)
log_entry = Table(
    "log_entry",
    VAULT,
    Column("leaf_index", _BIG, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
    CheckConstraint("leaf_index >= 0", name="index_sane"),
)
log_tile = Table(
    "log_tile",
    VAULT,
    Column("level", Integer, nullable=False),
    Column("tile_index", _BIG, nullable=False),
    Column("hashes", LargeBinary, nullable=False),
    PrimaryKeyConstraint("level", "tile_index"),
    CheckConstraint("(length(hashes) / 32) * 32 = length(hashes) AND length(hashes) <= 8192", name="width_sane"),
)
log_opening = Table(
    "log_opening",
    VAULT,
    Column("leaf_index", _BIG, ForeignKey("log_entry.leaf_index"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("subject_id", String(ID), index=True),
    Column("consent_id", String(ID), index=True),
    Column("sealed", SealedBlob, nullable=False),
    PrimaryKeyConstraint("leaf_index", "position"),
)

notice = Table(
    "notice",
    VAULT,
    Column("sha256", String(SHA256), primary_key=True),
    Column("body", JsonText, nullable=False),
    Column("text", LargeBinary, nullable=False),
)
subject = Table(
    "subject",
    VAULT,
    Column("subject_id", String(ID), primary_key=True),
    Column("blind_index", String(SHA256), unique=True),
    Column("sealed_reference", SealedBlob),
    Column("category", Choice(SubjectCategory), nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("erased_at", Moment),
    one_of("category", SubjectCategory),
    CheckConstraint("erased_at IS NULL OR (blind_index IS NULL AND sealed_reference IS NULL)", name="erased_is_empty"),
)
consent = Table(
    "consent",
    VAULT,
    Column("consent_id", String(ID), primary_key=True),
    Column("subject_id", String(ID), ForeignKey("subject.subject_id"), nullable=False, index=True),
    Column(
        "notice_sha256",
        String(SHA256),
        ForeignKey("notice.sha256", deferrable=True, initially="DEFERRED"),
        nullable=False,
    ),
    Column("body", JsonText, nullable=False),
    Column("created_at", Moment, nullable=False),
)
consent_event = Table(
    "consent_event",
    VAULT,
    Column("consent_id", String(ID), ForeignKey("consent.consent_id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("type", Choice(EventType), nullable=False),
    Column("occurred_at", Moment, nullable=False),
    Column("body", JsonText, nullable=False),
    PrimaryKeyConstraint("consent_id", "position"),
    one_of("type", EventType),
)

video = Table(
    "video",
    VAULT,
    Column("video_id", String(ID), primary_key=True),
    Column("fingerprint", String(SHA256), nullable=False, unique=True),
    Column("content", String(SHA256), nullable=False, index=True),
    Column("status", Choice(VideoStatus), nullable=False),
    Column("frames_read", Integer, nullable=False),
    Column("frames_persisted", Integer, nullable=False),
    Column("detected", Integer, nullable=False),
    Column("bound", Integer, nullable=False),
    Column("dropped", Integer, nullable=False),
    Column("quarantined", Integer, nullable=False),
    Column("drop_reasons", JsonText, nullable=False),
    Column("policy_sha256", String(SHA256), nullable=False),
    Column("disposition", Choice(Disposition), nullable=False),
    Column("ingested_at", Moment, nullable=False),
    Column("evidence", JsonText, nullable=False, server_default="{}"),
    one_of("status", VideoStatus),
    one_of("disposition", Disposition),
    CheckConstraint("frames_persisted = 0", name="no_frame_rests"),
    CheckConstraint("detected = bound + dropped + quarantined", name="tracks_conserved"),
    CheckConstraint("frames_read >= 0 AND bound >= 0 AND dropped >= 0 AND quarantined >= 0", name="counts_sane"),
)
track = Table(
    "track",
    VAULT,
    Column("track_id", String(ID), primary_key=True),
    Column("video_id", String(ID), ForeignKey("video.video_id"), nullable=False, index=True),
    Column("subject_id", String(ID), ForeignKey("subject.subject_id")),
    Column("consent_id", String(ID), ForeignKey("consent.consent_id"), index=True),
    Column("status", Choice(TrackStatus), nullable=False),
    Column("reason", String(100), nullable=False),
    Column("frames", Integer, nullable=False),
    Column("crop_version", String(100), nullable=False),
    Column("expires_at", Moment, index=True),
    Column("created_at", Moment, nullable=False),
    one_of("status", TrackStatus),
    CheckConstraint("frames >= 0", name="frames_sane"),
    CheckConstraint("(subject_id IS NULL) = (consent_id IS NULL)", name="bound_to_both"),
    CheckConstraint("status <> 'bound' OR consent_id IS NOT NULL", name="bound_has_consent"),
)
tracklet = Table(
    "tracklet",
    VAULT,
    Column("track_id", String(ID), ForeignKey("track.track_id"), primary_key=True),
    Column("sealed", SealedBlob, nullable=False),
    Column("n", Integer, nullable=False),
    Column("size", Integer, nullable=False),
    Column("frame_indices", JsonText, nullable=False),
    CheckConstraint("n > 0 AND size > 0", name="shape_sane"),
)
quarantine = Table(
    "quarantine",
    VAULT,
    Column("video_id", String(ID), ForeignKey("video.video_id"), primary_key=True),
    Column("reason", String(100), nullable=False),
    Column("sealed", SealedBlob),
    Column("deadline", Moment, nullable=False, index=True),
    Column("state", Choice(QuarantineState), nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("resolved_at", Moment),
    one_of("state", QuarantineState),
    CheckConstraint("(state = 'held') = (sealed IS NOT NULL)", name="held_is_sealed"),
    CheckConstraint("(state = 'held') = (resolved_at IS NULL)", name="resolved_has_time"),
)

dataset = Table(
    "dataset",
    VAULT,
    Column("dataset_id", String(ID), primary_key=True),
    Column("body", JsonText, nullable=False),
    Column("created_at", Moment, nullable=False),
)
dataset_member = Table(
    "dataset_member",
    VAULT,
    Column("dataset_id", String(ID), ForeignKey("dataset.dataset_id"), nullable=False),
    Column("track_id", String(ID), ForeignKey("track.track_id"), nullable=False),
    Column("consent_id", String(ID), ForeignKey("consent.consent_id"), nullable=False, index=True),
    Column("subject_id", String(ID), ForeignKey("subject.subject_id"), nullable=False),
    PrimaryKeyConstraint("dataset_id", "track_id"),
)
plan = Table(
    "plan",
    VAULT,
    Column("plan_id", String(ID), primary_key=True),
    Column("dataset_id", String(ID), ForeignKey("dataset.dataset_id"), nullable=False, index=True),
    Column("body", JsonText, nullable=False),
    Column("created_at", Moment, nullable=False),
)
run = Table(
    "run",
    VAULT,
    Column("run_id", String(ID), primary_key=True),
    Column("plan_id", String(ID), ForeignKey("plan.plan_id"), nullable=False, index=True),
    Column("state", Choice(RunState), nullable=False),
    Column("steps_done", Integer, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("ended_at", Moment),
    one_of("state", RunState),
    CheckConstraint("steps_done >= 0", name="steps_sane"),
)
ledger_entry = Table(
    "ledger_entry",
    VAULT,
    Column("entry_id", String(ID), primary_key=True),
    Column("run_id", String(ID), ForeignKey("run.run_id"), index=True),
    Column("dp_event", Text, nullable=False),
    Column("epsilon", Float(53), nullable=False),
    Column("delta", Float(53), nullable=False),
    Column("state", Choice(LedgerState), nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("source", Choice(LedgerSource), nullable=False, server_default="train"),
    one_of("state", LedgerState),
    one_of("source", LedgerSource),
    CheckConstraint("(source = 'train') = (run_id IS NOT NULL)", name="trained_has_run"),
    CheckConstraint("epsilon > 0 AND epsilon < 1e6", name="epsilon_sane"),
    CheckConstraint("delta >= 0 AND delta < 1", name="delta_sane"),
)
ledger_member = Table(
    "ledger_member",
    VAULT,
    Column("entry_id", String(ID), ForeignKey("ledger_entry.entry_id"), nullable=False),
    Column("subject_id", String(ID), ForeignKey("subject.subject_id"), nullable=False, index=True),
    PrimaryKeyConstraint("entry_id", "subject_id"),
)
model = Table(
    "model",
    VAULT,
    Column("model_id", String(ID), primary_key=True),
    Column("kind", Choice(ModelKind), nullable=False),
    Column("run_id", String(ID), ForeignKey("run.run_id")),
    Column("weights_sha256", String(SHA256), nullable=False),
    Column("card", JsonText, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("status", Choice(ModelStatus), nullable=False),
    Column("decision_due", Moment),
    one_of("kind", ModelKind),
    one_of("status", ModelStatus),
    CheckConstraint("(kind = 'dp') = (run_id IS NOT NULL)", name="dp_has_run"),
)

erasure = Table(
    "erasure",
    VAULT,
    Column("erasure_id", String(ID), primary_key=True),
    Column("consent_id", String(ID), ForeignKey("consent.consent_id"), nullable=False, index=True),
    Column("subject_id", String(ID), ForeignKey("subject.subject_id"), nullable=False),
    Column("requested_at", Moment, nullable=False),
    Column("planned", JsonText, nullable=False),
    Column("state", Choice(ErasureState), nullable=False),
    Column("certificate", JsonText),
    Column("finished_at", Moment),
    one_of("state", ErasureState),
    CheckConstraint("(state = 'pending') = (finished_at IS NULL)", name="finished_has_time"),
    CheckConstraint("(state = 'pending') = (certificate IS NULL)", name="finished_has_certificate"),
)
decision = Table(
    "decision",
    VAULT,
    Column("decision_id", String(ID), primary_key=True),
    Column("principal", String(200), nullable=False),
    Column("action", String(100), nullable=False),
    Column("purpose", String(40), nullable=False),
    Column("outcome", Choice(Outcome), nullable=False),
    Column("policy_id", String(200), nullable=False),
    Column("policy_sha256", String(SHA256), nullable=False),
    Column("row_count", Integer, nullable=False),
    Column("at", Moment, nullable=False, index=True),
    Column("answers", Integer, nullable=False, server_default="0"),
    one_of("outcome", Outcome),
    CheckConstraint("row_count >= 0", name="rows_sane"),
)
Index("ix_decision_principal_at", decision.c.principal, decision.c.at)
principal = Table(
    "principal",
    VAULT,
    Column("name", String(200), primary_key=True),
    Column("os_user", String(200), nullable=False, unique=True),
    Column("roles", JsonText, nullable=False),
)

epoch = Table(
    "epoch",
    KEYSTORE,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("destroyed_at", Moment),
    Column("kind", Integer, nullable=False, server_default="1"),
    Column("created_at", Moment),
    CheckConstraint("(destroyed_at IS NULL) = (length(wrapped) > 0)", name="destroyed_is_empty"),
)
epoch_key = Table(
    "epoch_key",
    KEYSTORE,
    Column("epoch", Integer, ForeignKey("epoch.number"), nullable=False),
    Column("domain", Choice(KeyDomain), nullable=False),
    Column("public", LargeBinary, nullable=False),
    PrimaryKeyConstraint("epoch", "domain"),
    one_of("domain", KeyDomain),
    CheckConstraint("length(public) = 32", name="public_sane"),
)
data_key = Table(
    "data_key",
    KEYSTORE,
    Column("key_id", String(ID), primary_key=True),
    Column("epoch", Integer, ForeignKey("epoch.number"), nullable=False, index=True),
    Column("domain", Choice(Domain), nullable=False),
    Column("subject_id", String(ID), nullable=False),
    Column("consent_id", String(ID), index=True),
    Column("wrapped", LargeBinary, nullable=False),
    Column("public", LargeBinary, nullable=False),
    Column("destroyed_at", Moment),
    Column("pending", Integer, nullable=False, server_default="0"),
    one_of("domain", Domain),
    CheckConstraint(
        "(destroyed_at IS NULL) = (length(wrapped) > 0) AND (destroyed_at IS NULL) = (length(public) > 0)",
        name="destroyed_is_empty",
    ),
)
# One living key for a subject, consent and domain: two processes that mint at once cannot both keep theirs. While keys
# are exchanged (store/keystore.py), one that is to take its place or one that made way may be beside it.
for _name, _pending in (("uq_data_key_living", 0), ("uq_data_key_coming", 1), ("uq_data_key_going", 2)):
    _where = data_key.c.destroyed_at.is_(None) & (data_key.c.pending == literal_column(str(_pending)))
    Index(
        _name,
        data_key.c.subject_id,
        func.coalesce(data_key.c.consent_id, ""),
        data_key.c.domain,
        unique=True,
        sqlite_where=_where,
        postgresql_where=_where,
    )
secret = Table(
    "secret",
    KEYSTORE,
    Column("name", String(100), primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
    Column("public", LargeBinary, nullable=False),
    Column("epoch", Integer),
    Column("domain", Choice(KeyDomain)),
)
holder = Table(
    "holder",
    KEYSTORE,
    Column("name", String(200), primary_key=True),
    Column("public", LargeBinary, nullable=False, unique=True),
    Column("roles", JsonText, nullable=False),
    Column("domains", JsonText, nullable=False),
    Column("proof", String(SHA256), nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("revoked_at", Moment),
    CheckConstraint("length(public) = 32", name="public_sane"),
)
holder_key = Table(
    "holder_key",
    KEYSTORE,
    Column("holder", String(200), ForeignKey("holder.name"), nullable=False),
    Column("epoch", Integer, ForeignKey("epoch.number"), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("holder", "epoch"),
)
