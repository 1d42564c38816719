"""The closed lists of words that rows carry; the database holds each list in a CHECK constraint too."""

from enum import StrEnum


class VideoStatus(StrEnum):
    """What became of a video."""

    INGESTED = "ingested"
    REFUSED = "refused"
    QUARANTINED = "quarantined"


class Disposition(StrEnum):
    """What became of a video's source file."""

    KEEP = "keep"
    DELETE_DUE = "delete_due"
    DELETED = "deleted"
    DELETE_FAILED = "delete_failed"


class QuarantineState(StrEnum):
    """Whether a quarantined video waits for a person, and how the wait ended."""

    HELD = "held"
    RELEASED = "released"
    DESTROYED = "destroyed"
    EXPIRED = "expired"


class ModelKind(StrEnum):
    """Whether people's tracklets trained a model (``dp``) or made-up people did (``public``)."""

    DP = "dp"
    PUBLIC = "public"


class ModelStatus(StrEnum):
    """Whether a model may be used, awaits a decision after a withdrawal, or is retired."""

    ACTIVE = "active"
    FLAGGED = "flagged"
    RETIRED = "retired"


class RunState(StrEnum):
    """How far a training run has come."""

    RESERVED = "reserved"
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"


class LedgerState(StrEnum):
    """Whether privacy loss is set aside or spent; both count as spent."""

    RESERVED = "reserved"
    COMMITTED = "committed"


class LedgerSource(StrEnum):
    """What cost privacy: a training run, an answer with noise, or what was spent after a backup that came back."""

    TRAIN = "train"
    QUERY = "query"
    RESTORED = "restored"


class ErasureState(StrEnum):
    """Whether an erasure has been carried out and read back."""

    PENDING = "pending"
    COMPLETE = "complete"
    PARTIAL = "partial"


class HoldGround(StrEnum):
    """Why data is kept although its erasure is due (GDPR 17(3)(b), 17(3)(e), 18(1)(c)).

    A legal claim of anybody's, a legal obligation, an authority's order, or the wish of the person themselves.
    """

    LEGAL_CLAIM = "legal_claim"
    LEGAL_OBLIGATION = "legal_obligation"
    AUTHORITY_ORDER = "authority_order"
    SUBJECT_REQUEST = "subject_request"


class Outcome(StrEnum):
    """What an access decision said."""

    ALLOW = "allow"
    DENY = "deny"
