import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from fabnet_secure.compliance.access import AccessFacts, build_access
from fabnet_secure.compliance.dp import DpFacts, build_dp
from fabnet_secure.compliance.erasure import ErasureFacts, build_erasure
from fabnet_secure.compliance.evidence import Evidence, sign
from fabnet_secure.compliance.ingest import Discard, IngestFacts, build_ingest
from fabnet_secure.compliance.render import KINDS, render_html
from fabnet_secure.compliance.ropa import Activity, RopaFacts, build_ropa
from fabnet_secure.errors import UsageError

PAGES = [(kind, lang) for kind in KINDS for lang in ("en", "ja")]
HOSTILE = "<script>alert(1)</script>\"'&</title><!--\u202egpj\x00 ${7*7} {{ 7*7 }}"


class Outline(HTMLParser):
    """Collects the tags, checks that they close, and keeps the visible text."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.open, self.text, self.attributes = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in {"script", "style"}:
            self.text.append(data)


def outline(page):
    reader = Outline()
    reader.feed(page.decode())
    reader.close()
    assert reader.open == []
    return reader


@pytest.mark.parametrize(("kind", "lang"), PAGES)
def test_the_same_evidence_gives_the_same_well_formed_page(signed_report, kind, lang):
    """A page is a pure function of its evidence, and every tag closes."""
    first = render_html(signed_report(kind), lang)
    assert first == render_html(signed_report(kind), lang)
    page = outline(first)
    assert page.tags.count("script") == page.tags.count("h1") == 1


@pytest.mark.parametrize(("kind", "lang"), PAGES)
def test_a_page_needs_nothing_but_itself(signed_report, kind, lang):
    """No link, picture, frame, form, handler or address is loaded; a policy forbids all of it."""
    blob = render_html(signed_report(kind), lang)
    page = outline(blob)
    assert not {"img", "link", "iframe", "form", "a", "object", "base"} & set(page.tags)
    assert not {name for name in page.attributes if name.startswith("on") or name in {"src", "href", "style"}}
    assert b"default-src 'none'" in blob
    assert b"url(" not in blob
    assert b"@import" not in blob


@pytest.mark.parametrize(("kind", "lang"), PAGES)
def test_hostile_text_is_only_text(signed_report, kind, lang):
    """HTML, template code, control characters and bidi overrides in a controller's name do nothing."""
    blob = render_html(signed_report(kind, controller_name=HOSTILE, dpo=HOSTILE), lang)
    page = outline(blob)
    assert page.tags.count("script") == 1
    shown = "".join(page.text)
    assert "<script>alert(1)</script>" in shown
    assert "{{ 7*7 }}" in shown
    assert "\u202e" not in shown
    assert "\x00" not in shown
    assert b"<!--" not in blob


def test_hostile_evidence_cannot_close_the_script(signed_report, facts):
    """The embedded evidence holds no ``<`` at all, whatever the facts say."""
    whole = facts["access"]()
    decision = replace(whole.decisions[0], principal=HOSTILE, policy_id=HOSTILE, action=HOSTILE, outcome=HOSTILE)
    content = build_access(AccessFacts(decisions=(decision,), log=replace(whole.log, ok=False, problem=HOSTILE)))
    blob = render_html(signed_report("access", content), "en")
    embedded = blob.partition(b'id="evidence">')[2].partition(b"</script>")[0]
    assert b"<" not in embedded
    assert outline(blob).tags.count("script") == 1


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_the_figures_shown_are_the_figures_signed(signed_report, lang):
    """ε, the cap, the counts and the ids of the evidence stand on the page."""
    dp = "".join(outline(render_html(signed_report("dp"), lang)).text)
    for shown in ("7.975", "8.000", "99.97 %", "1×10⁻⁵", "0.391", "0.422", "1.234", "412 / 1,000", "2.375"):
        assert shown in dp
    erasure = "".join(outline(render_html(signed_report("erasure"), lang)).text)
    for shown in ("00000007-0a0e", "00000009-0a0e", "GDPR", "2026-10-31 12:00:00"):
        assert shown in erasure
    access = "".join(outline(render_html(signed_report("access"), lang)).text)
    for shown in ("1,012", "suzuki", "forbid-emotion", "q1mXW7Y9"):
        assert shown in access
    ingest = "".join(outline(render_html(signed_report("ingest"), lang)).text)
    for shown in ("1,840", "18,402,311", "RAW-01", "00000007-0a0e", "2026-10-15 12:21:00", "NO_FACE", "412"):
        assert shown in ingest


def test_japanese_names_and_words_survive(signed_report):
    """Variant characters stay as they are, and the page speaks Japanese."""
    page = render_html(signed_report("ropa"), "ja").decode()
    for word in ("処理活動の記録", "データ主体", "奈良県葛󠄀城市", "髙﨑研究室", "個人識別符号", "1年6か月", "監査ログ"):
        assert word in page
    assert '<html lang="ja">' in page


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_empty_reports_say_so(signed_report, facts, lang):
    """A site without any run, erasure, decision or activity gets a page that says so."""
    whole = facts["ropa"]()
    empty = {
        "dp": build_dp(DpFacts(runs=(), entries=(), spends=())),
        "erasure": build_erasure(ErasureFacts(erasures=())),
        "access": build_access(AccessFacts(decisions=(), log=facts["access"]().log)),
        "ingest": build_ingest(IngestFacts(as_of=facts["ingest"]().as_of, videos=(), refusals=())),
        "ropa": build_ropa(
            RopaFacts(
                controller=whole.controller, activities=(), measures=(), holdings=(), persons=0, consents_effective=0
            )
        ),
    }
    for kind, content in empty.items():
        page = render_html(signed_report(kind, content, dpo="", policy_sha256="", log_checkpoint=""), lang).decode()
        assert ("Nothing to list." if lang == "en" else "該当なし。") in page
        assert ("not recorded" if lang == "en" else "記録なし") in page


def test_rare_facts_are_drawn_too(signed_report, facts):
    """Missing fields, partial erasures, a joint controller and no cap have their place on the page."""
    whole = facts["ropa"]()
    bare = Activity(**{name: getattr(whole.activities[0], name) for name in Activity.__slots__} | {"retention": ()})
    ropa = build_ropa(replace(whole, activities=(bare,), joint_controllers=(whole.controller,)))
    assert "time limits" in render_html(signed_report("ropa", ropa), "en").decode().lower()
    erasure = facts["erasure"]()
    alive = replace(erasure.keys[0], destroyed_at=None)
    late = replace(erasure, keys=(alive, replace(alive, opens=True)), finished_at=None, models=(), retained=())
    page = render_html(signed_report("erasure", build_erasure(ErasureFacts(erasures=(late,)))), "en").decode()
    assert "not destroyed" in page
    assert "still opens" in page
    older = replace(
        erasure, backups_note="keystore_copies_upgraded", backups_until=None, backups_open_before=erasure.requested_at
    )
    said = render_html(signed_report("erasure", build_erasure(ErasureFacts(erasures=(older,)))), "en").decode()
    assert "copies of the databases made before" in said
    assert "only destroying them" in said
    dp = facts["dp"]()
    uncapped = build_dp(replace(dp, spends=(replace(dp.spends[0], cap=None),)))
    assert "no cap" in render_html(signed_report("dp", uncapped), "en").decode()
    count = replace(dp.entries[0], run_id="", source="query", epsilon=0.25, persons=None)
    counted = render_html(signed_report("dp", build_dp(replace(dp, entries=(*dp.entries, count)))), "en").decode()
    assert "count answered" in counted
    assert "1 questions about many people were answered with noise" in counted
    bare = build_ingest(replace(facts["ingest"](), videos=(facts["video"](reasons={}, discard=Discard()),)))
    assert "not recorded" in render_html(signed_report("ingest", bare), "en").decode()


def test_contrast_of_text_and_badges_is_aa(signed_report):
    """Every text colour stands at 4.5 : 1 or more on its background (WCAG 2.2, 1.4.3)."""
    style = render_html(signed_report("dp"), "en").decode()

    def light(colour):
        digits = colour if len(colour) == 6 else "".join(2 * digit for digit in colour)
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    pairs = re.findall(r"\{color:#(\w+);background:#(\w+)\}", style)
    plain = [(re.search(rf"--{name}:#(\w+)", style)[1], "f6f6f4") for name in ("ink", "soft")]
    assert len(pairs) == 4
    for text, ground in pairs + plain:
        assert (light(ground) + 0.05) / (light(text) + 0.05) >= 4.5


def test_what_cannot_be_drawn_is_refused(signed_report, signer):
    """Another language, or evidence that has no page, is a mistake of use."""
    with pytest.raises(UsageError) as caught:
        render_html(signed_report("dp"), "de")
    assert caught.value.code == "LANGUAGE_UNKNOWN"
    with pytest.raises(UsageError) as caught:
        render_html(sign(Evidence(kind="erasure_certificate", body={}), signer), "en")
    assert caught.value.code == "REPORT_KIND"
