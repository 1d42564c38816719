"""Reports: facts → evidence → signature → file. The same evidence gives the same bytes."""

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from fabnet_secure.compliance.access import build_access
from fabnet_secure.compliance.dp import build_dp
from fabnet_secure.compliance.erasure import build_erasure
from fabnet_secure.compliance.evidence import SignedEvidence, report_evidence, sign
from fabnet_secure.compliance.ingest import build_ingest
from fabnet_secure.compliance.messages import LANGUAGES
from fabnet_secure.compliance.render import render_html
from fabnet_secure.compliance.ropa import build_ropa
from fabnet_secure.compliance.verify import VerifiedReport, verify_report
from fabnet_secure.crypto.signing import verify_signature
from fabnet_secure.errors import UsageError
from fabnet_secure.pipeline import facts, ingest_facts
from fabnet_secure.pipeline.authorize import authorize, record_grant
from fabnet_secure.pipeline.context import Site
from fabnet_secure.types import Json

FORMS = ("json", "html")
_CONTENT: Mapping[str, Callable[[Site], dict[str, Json]]] = {
    "ropa": lambda site: build_ropa(facts.ropa(site)),
    "dp": lambda site: build_dp(facts.dp(site)),
    "erasure": lambda site: build_erasure(facts.erasure(site)),
    "access": lambda site: build_access(facts.access(site)),
    "ingest": lambda site: build_ingest(ingest_facts.ingest(site)),
}
NAMES = tuple(_CONTENT)


def write_report(site: Site, name: str, *, form: str, lang: str, out: Path) -> Path:
    """Write one signed report to a file, whole or not at all.

    Raises:
        AccessDenied: the principal may not have reports.
        UsageError: the name, form or language is not known, or the file cannot be written.
    """
    _known("report", name, NAMES)
    _known("format", form, FORMS)
    _known("language", lang, LANGUAGES)
    _refuse_unwritable(out)  # before the entry: a report that cannot be written leaves none
    signed = _signed(site, name)
    _write(out, rendered(signed, form, lang))
    return out


def write_all(site: Site, directory: Path) -> list[Path]:
    """Write every report into a new folder: JSON once, HTML in each language.

    Raises:
        AccessDenied: the principal may not have reports.
        UsageError: the folder is there already and not empty.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"{directory} is there already", hint="name a new or empty folder", code="OUT_EXISTS")
    reports = {name: _signed(site, name) for name in NAMES}
    directory.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for name, signed in reports.items():
        files = {f"{name}.json": rendered(signed, "json", "en")}
        files |= {f"{name}.{lang}.html": rendered(signed, "html", lang) for lang in LANGUAGES}
        for file, blob in files.items():
            _write(directory / file, blob)
            written.append(directory / file)
    return written


def rendered(signed: SignedEvidence, form: str, lang: str) -> bytes:
    """Return a report's bytes in one form."""
    return signed.to_json() + b"\n" if form == "json" else render_html(signed, lang)


def verify_file(path: Path, public_key: str | None) -> VerifiedReport:
    """Check a report from its file alone.

    Raises:
        UsageError: the file or the key cannot be read.
        IntegrityFailure: the signature, the page or the key does not hold.
    """
    try:
        blob = path.read_bytes()
    except OSError as error:
        raise UsageError("the report cannot be read", hint=str(error.strerror), code="FILE_UNREADABLE") from error
    try:
        pinned = bytes.fromhex(public_key) if public_key is not None else None
    except ValueError:
        raise UsageError("the public key is not hexadecimal", code="KEY_INVALID") from None
    return verify_report(blob, verify_signature, pinned)


def _signed(site: Site, name: str) -> SignedEvidence:
    """Gather, log and sign; the entry comes first, so that no report leaves unlogged."""
    grant = authorize(site, "report")
    with site.work() as work:
        work.log("report.written", facts={"report": name})
        record_grant(site, work, grant)
    content = _CONTENT[name](site)
    return sign(report_evidence(facts.header(site, name), content), site.report_signer)


def _known(what: str, word: str, words: tuple[str, ...]) -> None:
    if word not in words:
        raise UsageError(f"unknown {what}: {word[:40]!r}", hint="one of: " + ", ".join(words), code="REPORT_UNKNOWN")


def _refuse_unwritable(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is not a file", hint="name a new file", code="OUT_UNWRITABLE")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}", hint="make it first", code="OUT_UNWRITABLE")


def _write(path: Path, blob: bytes) -> None:
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as stream:
            stream.write(blob)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise  # the shell says that the disk is full
        hint = str(error.strerror)
        raise UsageError(f"{path} cannot be written", hint=hint, code="OUT_UNWRITABLE") from error
