"""Checking a report from its file alone.

Guarantees, for JSON, that the file is exactly the canonical form of evidence that the named key signed; for
HTML, in addition, that the page is byte for byte the one its evidence gives, so text outside the evidence
cannot lie. Does not know whose key it is unless it is told: compare it with the one the site published.
"""

import base64
import hmac
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from fabnet_secure.compliance.evidence import PREFIX, SignedEvidence
from fabnet_secure.compliance.render import render_html
from fabnet_secure.errors import FabnetError, IntegrityFailure
from fabnet_secure.types import canonical_json

Verify = Callable[[bytes, bytes, bytes], bool]

_OPEN = b'<script type="application/json" id="evidence">'
_CLOSE = b"</script>"
_LANGUAGE = re.compile(rb'<!DOCTYPE html>\n<html lang="(en|ja)">\n')


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedReport:
    """A report that holds. ``pinned``: the named key signed it; ``generated_at`` is RFC 3339."""

    kind: str
    generated_at: str
    public: bytes
    pinned: bool


def verify_report(blob: bytes, verify: Verify, pinned_public: bytes | None) -> VerifiedReport:
    """Check a report's file, JSON or HTML.

    Args:
        blob: the file's bytes (JSON may end with one line end).
        verify: (public, message, signature) -> whether the Ed25519 signature holds.
        pinned_public: the site's report key (32 bytes), when the caller knows it.

    Raises:
        IntegrityFailure: code ``REPORT_BROKEN``; ``REPORT_SIGNER`` when another key than ``pinned_public``
            signed it.
    """
    language = _LANGUAGE.match(blob)
    signed = _read(_embedded(blob) if language else blob.removesuffix(b"\n"), exact=language is None)
    if not verify(signed.public, PREFIX + signed.payload, signed.signature):
        raise _broken("its signature does not hold")
    evidence = json.loads(signed.payload)
    if language is not None:
        _compare(signed, language.group(1).decode(), blob)
    if pinned_public is not None and not hmac.compare_digest(pinned_public, signed.public):
        raise IntegrityFailure(
            "the report is signed by another key than the one named",
            hint="compare the key with the one the site published",
            code="REPORT_SIGNER",
        )
    return VerifiedReport(
        kind=evidence["kind"],
        generated_at=_generated_at(evidence["body"]),
        public=signed.public,
        pinned=pinned_public is not None,
    )


def _embedded(page: bytes) -> bytes:
    if page.count(_OPEN) != 1:
        raise _broken("it does not carry its evidence once")
    return page.partition(_OPEN)[2].partition(_CLOSE)[0]


def _read(blob: bytes, *, exact: bool) -> SignedEvidence:
    """Return the signed evidence in ``blob``; ``exact``: the file itself must be the canonical form."""
    try:
        report: dict[str, Any] = json.loads(blob)
        evidence, seal = report["evidence"], report["signature"]
        signed = SignedEvidence(
            payload=canonical_json(evidence),
            signature=base64.b64decode(seal["value"], validate=True),
            public=base64.b64decode(seal["public_key"], validate=True),
        )
        canonical = canonical_json(report)
        named = evidence["signer"]["public_key"] == seal["public_key"]
        told = isinstance(evidence["kind"], str) and isinstance(evidence["body"], dict)
    except (FabnetError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise _broken("it is not a report") from error
    if canonical != signed.to_json() or (exact and canonical != blob):
        raise _broken("it is not in the form it was written in")
    if not (named and told):
        raise _broken("its signer or its evidence is not named")
    return signed


def _compare(signed: SignedEvidence, language: str, page: bytes) -> None:
    try:
        drawn = render_html(signed, language)
    except (FabnetError, TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise _broken("its page cannot be drawn from its evidence") from error
    if not hmac.compare_digest(drawn, page):
        raise _broken("the page does not say what its evidence says")


def _generated_at(body: dict[str, Any]) -> str:
    head = body.get("header")
    return str(head.get("generated_at", "")) if isinstance(head, dict) else ""


def _broken(why: str) -> IntegrityFailure:
    return IntegrityFailure(
        f"the report does not hold: {why}",
        hint="ask for the report again; a page made by another version of the program is checked with that version",
        code="REPORT_BROKEN",
    )
