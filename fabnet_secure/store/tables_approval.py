"""The tables of what two people decide: their keys, what they approved, legal holds, and caps that were raised.

Guarantees what a database can check cheaply: a key belongs to one person, an approval is used once. A row's ``proof``
is a digest that only the vault's index key can make; the modules that read these tables hold rows against it.
"""

from sqlalchemy import CheckConstraint, Column, Float, ForeignKey, Index, Integer, String, Table, Text

from fabnet_secure.store.columns import Choice, Moment, one_of
from fabnet_secure.store.metadata import ID, SHA256, VAULT
from fabnet_secure.store.states import HoldGround

approver = Table(
    "approver",
    VAULT,
    Column("fingerprint", String(SHA256), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("public_key", Text, nullable=False),
    Column("added_at", Moment, nullable=False),
    Column("removed_at", Moment),
    Column("proof", String(SHA256), nullable=False),
)
# One key in use for a person, and one person for a key, for ever: a key that was removed never comes back.
Index(
    "uq_approver_living",
    approver.c.name,
    unique=True,
    sqlite_where=approver.c.removed_at.is_(None),
    postgresql_where=approver.c.removed_at.is_(None),
)
approval_used = Table(
    "approval_used",
    VAULT,
    Column("nonce", String(SHA256), primary_key=True),
    Column("act", String(100), nullable=False),
    Column("request_sha256", String(SHA256), nullable=False),
    Column("at", Moment, nullable=False),
)
legal_hold = Table(
    "legal_hold",
    VAULT,
    Column("hold_id", String(ID), primary_key=True),
    Column("consent_id", String(ID), ForeignKey("consent.consent_id"), nullable=False, index=True),
    Column("ground", Choice(HoldGround), nullable=False),
    Column("placed_at", Moment, nullable=False),
    Column("until", Moment),
    Column("released_at", Moment),
    Column("proof", String(SHA256), nullable=False),
    one_of("ground", HoldGround),
)
cap_raise = Table(
    "cap_raise",
    VAULT,
    Column("consent_id", String(ID), ForeignKey("consent.consent_id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("cap", Float(53), nullable=False),
    Column("evidence_sha256", String(SHA256), nullable=False),
    Column("at", Moment, nullable=False),
    Column("proof", String(SHA256), nullable=False),
    CheckConstraint("cap > 0 AND cap <= 1000", name="cap_sane"),
    CheckConstraint("position >= 0", name="position_sane"),
)
