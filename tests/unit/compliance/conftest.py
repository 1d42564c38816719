"""Facts of a made-up site, and a signer and a verifier that need no library."""

import hashlib
import hmac
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from fabnet_secure.compliance.access import AccessDecision, AccessFacts, LogCheck, build_access
from fabnet_secure.compliance.dp import DpAudit, DpEntry, DpFacts, DpRun, DpSpend, build_dp
from fabnet_secure.compliance.erasure import (
    Erasure,
    ErasureFacts,
    KeyReadBack,
    ModelDecision,
    Retained,
    StoreCount,
    build_erasure,
)
from fabnet_secure.compliance.evidence import Header, report_evidence, sign
from fabnet_secure.compliance.ingest import (
    Discard,
    IngestConsent,
    IngestedVideo,
    IngestFacts,
    Quarantine,
    Refusal,
    SourceFile,
    build_ingest,
)
from fabnet_secure.compliance.ropa import Activity, Count, Measure, Party, RopaFacts, build_ropa

NOON = datetime(2026, 10, 1, 12, tzinfo=UTC)
CHECKPOINT = (
    "fabnet-secure/vault/7d0c\n412\nq1mXW7Y9QH0d7Gz3iYfY0S0m0cXv5Q1cT8vWlq2m3n4=\n"
    "\n— fabnet-secure/vault/7d0c AbCd12==\n"
)


def uid(number):
    return f"{number:08x}-0a0e-4c40-9d5e-6f3d0f6a7b10"


@dataclass(frozen=True)
class FakeSigner:
    """A keyed hash in Ed25519's shape: the real signature is tested where it lives, in crypto/."""

    secret: bytes = b"s" * 32

    @property
    def public(self):
        return hashlib.sha256(b"public" + self.secret).digest()

    def sign(self, message):
        return hmac.new(self.public, message, hashlib.sha512).digest()


def check(public, message, signature):
    return hmac.compare_digest(hmac.new(public, message, hashlib.sha512).digest(), signature)


@pytest.fixture
def verify():
    return check


@pytest.fixture
def signer():
    return FakeSigner()


@pytest.fixture
def other_signer():
    return FakeSigner(secret=b"o" * 32)


def ropa_facts():
    common = {
        "legal_basis": ("explicit_consent",),
        "special_category": True,
        "subject_categories": (Count(name="adult", count=6), Count(name="research_participant", count=2)),
        "operations": ("collect", "store", "erase"),
        "recipients": (),
        "transfers": (),
        "storage_locations": ("on premise",),
        "persons": 8,
        "consents_effective": 8,
        "consents_ended": 1,
    }
    return RopaFacts(
        controller=Party(name="奈良先端 髙﨑研究室", contact="privacy@example.org"),
        activities=(
            Activity(purpose="train_model", data_categories=("face crops",), retention=("P90D",), **common),
            Activity(purpose="embed", data_categories=("facial-attribute embeddings",), retention=("P1Y6M",), **common),
        ),
        measures=(
            Measure(name="encryption", detail="AES-256-GCM, one key for each person and kind of data"),
            Measure(name="audit_log", detail="412 entries, checked"),
        ),
        holdings=(Count(name="tracklets", count=1234), Count(name="embeddings", count=17)),
        persons=8,
        consents_effective=8,
    )


def dp_facts():
    audit = DpAudit(mu_lower=0.39151, mu_claimed=0.42105, epsilon_lower=1.2349, observations=1000, refuted=False)
    run = {
        "persons": 120,
        "epsilon": 3.98712,
        "epsilon_check": 3.98101,
        "delta": 1e-5,
        "noise_multiplier": 2.375,
        "clipping_norm": 0.1,
        "sampling_probability": 0.128,
        "steps": 1000,
    }
    return DpFacts(
        runs=(
            DpRun(
                run_id=uid(1),
                model_id=uid(2),
                state="complete",
                started_at=NOON,
                ended_at=NOON + timedelta(hours=1),
                steps_done=1000,
                audit=audit,
                **run,
            ),
            DpRun(
                run_id=uid(3),
                model_id="",
                state="failed",
                started_at=NOON + timedelta(hours=2),
                ended_at=None,
                steps_done=412,
                audit=None,
                **run,
            ),
        ),
        entries=(
            DpEntry(
                entry_id=uid(4),
                run_id=uid(1),
                state="committed",
                epsilon=3.98712,
                delta=1e-5,
                persons=120,
                created_at=NOON,
            ),
            DpEntry(
                entry_id=uid(5),
                run_id=uid(3),
                state="reserved",
                epsilon=3.98712,
                delta=1e-5,
                persons=120,
                created_at=NOON + timedelta(hours=2),
            ),
        ),
        spends=(
            DpSpend(spent=3.98712, reserved=3.98712, delta=2e-5, cap=8.0),
            DpSpend(spent=3.98712, reserved=0.0, delta=1e-5, cap=6.0),
        ),
    )


def one_erasure(**changes):
    fields = {
        "erasure_id": uid(6),
        "consent_id": uid(7),
        "subject_id": uid(8),
        "requested_at": NOON,
        "indicated_by": "subject",
        "finished_at": NOON + timedelta(minutes=1),
        "stores": (
            StoreCount(store="tracklets", before=3, after=0),
            StoreCount(store="embeddings", before=12, after=0),
            StoreCount(store="log_opening", before=5, after=0),
        ),
        "keys": (
            KeyReadBack(key_id=uid(9), domain="tracklets", destroyed_at=NOON, opens=False),
            KeyReadBack(key_id=uid(10), domain="embeddings", destroyed_at=NOON, opens=False),
        ),
        "backups_until": NOON + timedelta(days=30),
        "backups_note": "copies of the keystore made before the erasure still hold the wrapped keys "
        "until they are destroyed",
        "retained": (
            Retained(
                item="consent_record",
                ground="GDPR 7(1), 5(2)",
            ),
            Retained(item="privacy_ledger", ground="NIST SP 800-226"),
        ),
        "models": (
            ModelDecision(
                model_id=uid(2),
                kind="dp",
                epsilon=3.98712,
                delta=1e-5,
                decision="pending",
                due=NOON + timedelta(days=30),
            ),
        ),
    }
    return Erasure(**fields | changes)


def erasure_facts():
    return ErasureFacts(erasures=(one_erasure(),))


def access_facts():
    def decision(minute, principal, action, purpose, outcome, policy, rows):
        return AccessDecision(
            at=NOON + timedelta(minutes=minute),
            decision_id=uid(100 + minute),
            principal=principal,
            action=action,
            purpose=purpose,
            outcome=outcome,
            policy_id=policy,
            policy_sha256="f" * 64,
            rows=rows,
        )

    return AccessFacts(
        decisions=(
            decision(3, "suzuki", "query_similar", "query_internal", "allow", "analyst-query", 1012),
            decision(1, "aoki", "train_run", "train_model", "allow", "trainer-train", 120),
            decision(2, "suzuki", "train_run", "train_model", "deny", "", None),
            decision(5, "suzuki", "query_similar", "emotion_inference", "gap", "forbid-emotion", None),
        ),
        log=LogCheck(size=412, root="q1mXW7Y9QH0d7Gz3iYfY0S0m0cXv5Q1cT8vWlq2m3n4=", ok=True, checked_at=NOON),
    )


def one_video(number=20, **changes):
    """A video with two persons' tracks, read as it should be."""
    fields = {
        "video_id": uid(number),
        "ingested_at": NOON + timedelta(minutes=number),
        "status": "ingested",
        "frames_read": 1840,
        "frames_persisted": 0,
        "detected": 6,
        "bound": 3,
        "dropped": 3,
        "quarantined": 0,
        "track_rows": 6,
        "reasons": {"too_small": 2, "outside_regions": 1},
        "consents": (
            IngestConsent(consent_id=uid(7), subject_id=uid(8), tracks=2, gone=1),
            IngestConsent(consent_id=uid(11), subject_id=uid(12), tracks=1, gone=0),
        ),
        "quarantine": None,
        "source": SourceFile(disposition="deleted", bytes=18_402_311, filesystem="ext4", at=NOON),
        "discard": Discard(
            core_dumps="off",
            buffers_locked=True,
            swap="none",
            sqlite_temp="memory",
            writes_seen=0,
            frames_detected=412,
            passes=1,
            detector="yunet",
            interval=5,
            smallest_face_px=48,
        ),
        "policy_sha256": "f" * 64,
    }
    return IngestedVideo(**fields | changes)


def waiting_video(number=21, **changes):
    """A video that waits for a person, on a machine with swap in the clear."""
    fields = {
        "status": "quarantined",
        "bound": 0,
        "dropped": 1,
        "quarantined": 5,
        "reasons": {"too_short": 1, "several_subjects": 5},
        "consents": (),
        "quarantine": Quarantine(
            reason="several_subjects",
            state="held",
            created_at=NOON + timedelta(minutes=number),
            deadline=NOON + timedelta(days=14, minutes=number),
            resolved_at=None,
        ),
        "source": SourceFile(disposition="keep"),
    }
    return one_video(number, **fields | changes)


def ingest_facts():
    clear = replace(one_video().discard, swap="unencrypted")
    left = SourceFile(disposition="delete_failed", code="hard_linked", filesystem="btrfs")
    return IngestFacts(
        as_of=NOON + timedelta(days=1),
        videos=(one_video(), waiting_video(discard=clear), one_video(22, discard=None, source=left)),
        refusals=(Refusal(code="NO_FACE", count=3), Refusal(code="CONSENT_WITHDRAWN", count=1)),
    )


CONTENT = {
    "ropa": lambda: build_ropa(ropa_facts()),
    "dp": lambda: build_dp(dp_facts()),
    "erasure": lambda: build_erasure(erasure_facts()),
    "access": lambda: build_access(access_facts()),
    "ingest": lambda: build_ingest(ingest_facts()),
}


def header(kind, **changes):
    fields = {
        "kind": kind,
        "period_start": None if kind == "ropa" else NOON - timedelta(days=30),
        "period_end": NOON,
        "controller_name": "奈良先端 髙﨑研究室",
        "controller_address": "奈良県葛󠄀城市 1-2-3",
        "controller_contact": "privacy@example.org",
        "dpo": "dpo@example.org",
        "generated_at": NOON + timedelta(minutes=7),
        "generator_version": "0.1.0",
        "policy_sha256": "0123456789abcdef" * 4,
        "log_checkpoint": CHECKPOINT,
    }
    return Header(**fields | changes)


@pytest.fixture
def signed_report(signer):
    """Return a maker of signed reports: kind, content (else the made-up site's), header fields."""

    def make(kind, content=None, by=None, **changes):
        evidence = report_evidence(header(kind, **changes), content or CONTENT[kind]())
        return sign(evidence, by or signer)

    return make


@pytest.fixture
def facts():
    """Return the makers of the made-up site's facts by name."""
    return {
        "dp": dp_facts,
        "ropa": ropa_facts,
        "access": access_facts,
        "erasure": one_erasure,
        "ingest": ingest_facts,
        "video": one_video,
        "waiting": waiting_video,
    }
