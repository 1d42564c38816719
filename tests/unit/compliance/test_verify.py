import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fabnet_secure.compliance.evidence import Evidence, sign
from fabnet_secure.compliance.render import KINDS, render_html
from fabnet_secure.compliance.verify import verify_report
from fabnet_secure.errors import ExitCode, IntegrityFailure
from fabnet_secure.types import canonical_json


def broken(blob, verify, pinned=None):
    with pytest.raises(IntegrityFailure) as caught:
        verify_report(blob, verify, pinned)
    assert caught.value.exit_code is ExitCode.INTEGRITY
    return caught.value.code


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_holds_in_every_form(signed_report, verify, kind):
    """JSON, JSON with a line end, and both pages verify and say kind, time and signer."""
    signed = signed_report(kind)
    forms = [signed.to_json(), signed.to_json() + b"\n", render_html(signed, "en"), render_html(signed, "ja")]
    for blob in forms:
        checked = verify_report(blob, verify, None)
        assert (checked.kind, checked.public, checked.pinned) == (kind, signed.public, False)
        assert checked.generated_at == "2026-10-01T12:07:00.000000Z"
        assert verify_report(blob, verify, signed.public).pinned


def test_another_signer_than_the_pinned_is_found(signed_report, verify, signer, other_signer):
    """A perfectly signed report of somebody else is not this site's report."""
    forged = signed_report("dp", by=other_signer)
    assert verify_report(forged.to_json(), verify, None).pinned is False
    for blob in (forged.to_json(), render_html(forged, "en")):
        assert broken(blob, verify, signer.public) == "REPORT_SIGNER"


@pytest.mark.parametrize("form", ["json", "en", "ja"])
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choice=st.data())
def test_a_changed_byte_is_found(signed_report, verify, form, choice):
    """Change, drop or double any byte of a report: it no longer holds."""
    signed = signed_report("erasure")
    blob = signed.to_json() if form == "json" else render_html(signed, form)
    at = choice.draw(st.integers(0, len(blob) - 1))
    new = choice.draw(st.one_of(st.binary(max_size=2), st.just(blob[at : at + 1] * 2)))
    if new != blob[at : at + 1]:
        assert broken(blob[:at] + new + blob[at + 1 :], verify) == "REPORT_BROKEN"


def test_words_around_the_evidence_cannot_lie(signed_report, verify):
    """A page whose text, title or language was changed does not hold, though its evidence does."""
    page = render_html(signed_report("erasure"), "en")
    for old, new in (
        (b"Erasure report</h1>", b"Great success</h1>"),
        (b'<html lang="en">', b'<html lang="ja">'),
        (b"</main>", b"<p>Everything is fine.</p></main>"),
        (b"</html>\n", b"</html>\n<!-- -->"),
    ):
        assert old in page
        assert broken(page.replace(old, new), verify) == "REPORT_BROKEN"


def test_two_evidences_in_one_page_are_refused(signed_report, verify):
    """Which of two would count is not guessed."""
    page = render_html(signed_report("dp"), "en")
    script = b"<script" + page.partition(b"<script")[2].partition(b"</script>")[0] + b"</script>"
    assert broken(page.replace(script, script + script), verify) == "REPORT_BROKEN"


def test_a_page_of_other_evidence_is_refused(signed_report, verify):
    """Genuine evidence of one report does not stand behind another report's page."""
    ours, theirs = (render_html(signed_report("dp", dpo=dpo), "en") for dpo in ("a@example.org", "b@example.org"))
    mark = b'id="evidence">'
    assert broken(ours.partition(mark)[0] + mark + theirs.partition(mark)[2], verify) == "REPORT_BROKEN"


@pytest.mark.parametrize(
    "blob",
    [
        *(b"", b"\n", b"{}", b"[]", b"null", b"7", b"\xff\xfe", b"[" * 100_000, b'{"a":NaN}', b"GIF89a"),
        *(b'{"evidence":{},"signature":{}}', b'{"evidence":"\\ud800","signature":{}}'),
        b'<!DOCTYPE html>\n<html lang="en">\n',
    ],
)
def test_what_is_no_report_is_refused(verify, blob):
    """Any other file is answered with the same integrity failure, never a crash."""
    assert broken(blob, verify) == "REPORT_BROKEN"


def test_json_in_another_form_is_refused(signed_report, verify):
    """Spaces, doubled members and further members are changes too."""
    blob = signed_report("dp").to_json()
    report = json.loads(blob)
    assert broken(json.dumps(report).encode(), verify) == "REPORT_BROKEN"
    assert broken(b'{"evidence":{},' + blob[1:], verify) == "REPORT_BROKEN"
    assert broken(canonical_json(report | {"note": "verified"}), verify) == "REPORT_BROKEN"
    assert broken(canonical_json(report | {"schema_version": 2}), verify) == "REPORT_BROKEN"


def test_the_signer_named_inside_is_the_signer(signed_report, verify, signer, other_signer):
    """Evidence that names one key and is signed with another does not hold."""
    report = json.loads(signed_report("dp", by=other_signer).to_json())
    payload = canonical_json(report["evidence"])
    report["signature"]["public_key"] = signed_report("dp").as_object()["signature"]["public_key"]
    assert broken(canonical_json(report), verify) == "REPORT_BROKEN"
    assert payload


def test_a_certificate_verifies_as_json(signer, verify):
    """Evidence of a kind without a page (an erasure certificate) verifies as JSON."""
    signed = sign(Evidence(kind="erasure_certificate", body={"outcome": "complete"}), signer)
    checked = verify_report(signed.to_json(), verify, signer.public)
    assert (checked.kind, checked.generated_at, checked.pinned) == ("erasure_certificate", "", True)
