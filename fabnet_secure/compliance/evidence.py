"""Evidence: the frozen, signed JSON that a report is a function of.

Guarantees that what is signed is the RFC 8785 encoding of kind, body and signer's key, under a prefix that
no other message of this program shares. Does not hold any secret: the signer comes in as a protocol, and
checking a signature is ``compliance/verify.py``.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from typing import Any, Protocol, cast

from fabnet_secure.compliance.messages import LANGUAGES, text
from fabnet_secure.types import Json, canonical_json, rfc3339

SCHEMA_VERSION = 1
PREFIX = b"fabnet-secure/report/v1\n"


class ReportSigner(Protocol):
    """Holds the site's report key (Ed25519)."""

    @property
    def public(self) -> bytes:
        """The raw public key, 32 bytes."""

    def sign(self, message: bytes) -> bytes:
        """Return the signature (64 bytes) over ``message``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What stands at the head of every report.

    ``period_start`` is None for a report of a state rather than a period. ``policy_sha256`` is the digest
    of the policies in force, ``log_checkpoint`` the signed note (C2SP tlog-checkpoint) that the facts were
    read at.
    """

    kind: str
    period_start: datetime | None
    period_end: datetime
    controller_name: str
    controller_address: str
    controller_contact: str
    dpo: str
    generated_at: datetime
    generator_version: str
    policy_sha256: str
    log_checkpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The facts of one report (or certificate), before they are signed."""

    kind: str
    body: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedEvidence:
    """Evidence as signed: ``payload`` is canonical JSON, ``signature`` is over :data:`PREFIX` and the payload."""

    payload: bytes
    signature: bytes
    public: bytes

    def to_json(self) -> bytes:
        """Return the report file's bytes: one canonical JSON object with evidence and signature, no line end."""
        head = canonical_json({"message_type": "report", "schema_version": SCHEMA_VERSION})
        seal = canonical_json(
            {
                "algorithm": "ed25519",
                "public_key": encode64(self.public),
                "value": encode64(self.signature),
            }
        )
        # The members in RFC 8785 order: evidence, message_type, schema_version, signature.
        return b'{"evidence":' + self.payload + b"," + head[1:-1] + b',"signature":' + seal + b"}"

    def as_object(self) -> dict[str, Any]:
        """Return the same report as a JSON object, for storing it or printing it inside another."""
        return cast("dict[str, Any]", json.loads(self.to_json()))


def report_evidence(header: Header, content: Mapping[str, Json]) -> Evidence:
    """Return the evidence of a report: its header, its titles in every language, and a builder's content."""
    titles = {language: text(f"title.{header.kind}", language) for language in LANGUAGES}
    head = cast("dict[str, Json]", plain(header)) | {"title": titles}
    return Evidence(kind=header.kind, body={"header": head, **content})


def sign(evidence: Evidence, signer: ReportSigner) -> SignedEvidence:
    """Return ``evidence`` signed; the signer's public key is part of what is signed.

    Raises:
        UsageError: the evidence has no canonical form (a NaN, an integer beyond 2^53).
    """
    key: Json = {"algorithm": "ed25519", "public_key": encode64(signer.public)}
    payload = canonical_json({"kind": evidence.kind, "body": evidence.body, "signer": key})
    return SignedEvidence(payload=payload, signature=signer.sign(PREFIX + payload), public=signer.public)


def plain(value: Any) -> Json:
    """Return facts as JSON: dataclasses as objects, tuples as arrays, times as RFC 3339."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, datetime):
        return rfc3339(value)
    return cast("Json", value)


def encode64(raw: bytes) -> str:
    """Return standard base64 with padding."""
    return base64.b64encode(raw).decode()
