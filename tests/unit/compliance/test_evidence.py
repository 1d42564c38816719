import json
from datetime import UTC, datetime

import pytest

from fabnet_secure.compliance.evidence import PREFIX, Evidence, plain, sign
from fabnet_secure.errors import UsageError
from fabnet_secure.types import canonical_json


def test_the_file_is_canonical_json_of_the_agreed_form(signed_report, signer):
    """The report's file is RFC 8785 and has exactly the four members."""
    blob = signed_report("dp").to_json()
    report = json.loads(blob)
    assert canonical_json(report) == blob
    assert set(report) == {"schema_version", "message_type", "evidence", "signature"}
    assert (report["schema_version"], report["message_type"]) == (1, "report")
    assert report["signature"]["algorithm"] == "ed25519"
    assert report["evidence"]["signer"]["public_key"] == report["signature"]["public_key"]


def test_what_is_signed_is_the_evidence_under_a_prefix(signed_report, verify):
    """The signature is over the payload with this program's prefix, and not over the payload alone."""
    signed = signed_report("ropa")
    assert verify(signed.public, PREFIX + signed.payload, signed.signature)
    assert not verify(signed.public, signed.payload, signed.signature)


def test_the_object_is_the_file(signed_report):
    """A certificate stored inside a row is the same report as the file."""
    signed = signed_report("access")
    assert canonical_json(signed.as_object()) == signed.to_json()


def test_every_report_states_its_head(signed_report):
    """Title in both languages, period, controller, DPO, time, program, policies, checkpoint and signer are there."""
    for kind in ("ropa", "dp", "erasure", "access"):
        evidence = signed_report(kind).as_object()["evidence"]
        head = evidence["body"]["header"]
        assert set(head["title"]) == {"en", "ja"}
        assert evidence["kind"] == head["kind"] == kind
        for name in ("period_end", "controller_name", "dpo", "generated_at", "generator_version"):
            assert head[name]
        assert head["policy_sha256"]
        assert head["log_checkpoint"].startswith("fabnet-secure/")


def test_facts_become_plain_json():
    """Tuples, mappings and times become arrays, objects and RFC 3339."""
    at = datetime(2026, 10, 1, 12, tzinfo=UTC)
    assert plain({"a": (at, None, 1)}) == {"a": ["2026-10-01T12:00:00.000000Z", None, 1]}


def test_what_has_no_canonical_form_is_not_signed(signer):
    """Not-a-number in a fact stops the report."""
    with pytest.raises(UsageError):
        sign(Evidence(kind="dp", body={"epsilon": float("nan")}), signer)
