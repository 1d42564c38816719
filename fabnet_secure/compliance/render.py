"""A signed report as a page: a pure function of its evidence and the language.

Guarantees the same bytes for the same evidence; that every text from the evidence is escaped; that the page
needs no script, no network and no other file; that it carries its evidence inside. Does not check the
signature.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fabnet_secure.compliance import formats
from fabnet_secure.compliance.evidence import SignedEvidence, encode64
from fabnet_secure.compliance.messages import LANGUAGES, text
from fabnet_secure.compliance.words import tone, word
from fabnet_secure.errors import UsageError

KINDS = ("ropa", "dp", "erasure", "access", "ingest")

# JSON inside <script> may not hold what HTML would read as an end tag or a comment; as \u escapes it is the
# same JSON.
_SCRIPT = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"})


def render_html(signed: SignedEvidence, lang: str) -> bytes:
    """Return the report as one HTML page (UTF-8) in ``lang`` (``en`` or ``ja``).

    Raises:
        UsageError: code ``LANGUAGE_UNKNOWN``, or ``REPORT_KIND`` when evidence of this kind has no page.
    """
    if lang not in LANGUAGES:
        raise UsageError(f"no reports in {lang!r}", hint="use en or ja", code="LANGUAGE_UNKNOWN")
    evidence: dict[str, Any] = json.loads(signed.payload)  # never the live objects: what was signed is shown
    kind = evidence["kind"]
    if kind not in KINDS:
        raise UsageError(f"evidence of kind {kind!r} has no page", hint="use --format json", code="REPORT_KIND")
    body: Mapping[str, Any] = evidence["body"]
    page = (
        _templates()
        .get_template(f"{kind}.html.j2")
        .render(
            lang=lang,
            kind=kind,
            body=body,
            head=body["header"],
            summary=body["summary"],
            facts=body["facts"],
            outcome=body["outcome"],
            signer=signed.public.hex(),
            signature=encode64(signed.signature),
            evidence=Markup(signed.to_json().decode().translate(_SCRIPT)),  # noqa: S704  made inert by _SCRIPT
            **_words(lang),
        )
    )
    return page.encode()


class _Pages(Environment):
    """Templates that read a JSON object's members and nothing else of it (``erasure.keys`` is no method)."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, dict):
            return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)


@cache
def _templates() -> Environment:
    return _Pages(
        loader=PackageLoader("fabnet_secure.compliance", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=formats.tame,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _words(lang: str) -> dict[str, Callable[..., str]]:
    return {
        "t": lambda key, **values: text(key, lang, **values),
        "w": lambda value: word(value, lang),
        "words": lambda values: formats.listing([word(value, lang) for value in values], lang),
        "periods": lambda values: formats.listing([formats.period(value, lang) for value in values], lang),
        "moment": partial(formats.moment, language=lang),
        "stamp": formats.stamp,
        "n": formats.count,
        "upper": formats.upper,
        "lower": formats.lower,
        "share": formats.share,
        "tiny": formats.tiny,
        "figure": formats.figure,
        "tone": tone,
    }
