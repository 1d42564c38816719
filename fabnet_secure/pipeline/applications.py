"""Consents as they arrive: read from a table, every field found good or named, before anything is recorded.

Whatever is wrong is said before the first key is made, so that bad input changes nothing.
"""

import csv
import io
import re
import stat
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from fabnet_secure.consent.append import end_of
from fabnet_secure.consent.record import IndicatedBy, Notice, SubjectCategory
from fabnet_secure.crypto.digest import sha256_bytes
from fabnet_secure.errors import FabnetError, UsageError
from fabnet_secure.types import Clock, Purpose, utc_now

_Word = TypeVar("_Word", bound=StrEnum)
_MAX_TEXT = 1 << 20
COLUMNS = (
    "subject_ref", "purpose", "valid_for", "notice", "evidence", "dp_epsilon_cap", "subject_category", "jurisdiction",
    "indicated_by",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """A consent as it arrives, in plain text, before anything is checked."""

    subject_ref: str
    purposes: tuple[str, ...]
    valid_for: str
    notice: Path
    evidence: Path
    dp_epsilon_cap: float | None = None
    subject_category: str = "adult"
    jurisdictions: tuple[str, ...] = ()
    notice_language: str = "en"
    indicated_by: str = "subject"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """An application whose every field was found good."""

    application: Application
    purposes: tuple[Purpose, ...]
    category: SubjectCategory
    notice: Notice
    notice_text: bytes
    evidence_sha256: str


def check(application: Application, *, at: datetime) -> Checked:
    """Find every field good for a consent given at ``at``, or say which is not.

    Raises:
        UsageError: the reference, a purpose, the duration, the cap, the category or a file cannot be used.
    """
    reference = application.subject_ref.strip()
    if not reference or len(reference) > 320 or not reference.isprintable():
        hint = "a name or an e-mail of 1 to 320 printable characters"
        raise UsageError("the subject's reference cannot be used", hint=hint, code="SUBJECT_REF_INVALID")
    purposes = tuple(dict.fromkeys(_member(Purpose, text, "purpose") for text in application.purposes))
    if not purposes:
        raise UsageError("a consent names at least one purpose", hint=_choices(Purpose), code="PURPOSE_INVALID")
    category = _member(SubjectCategory, application.subject_category, "subject category")
    indicated_by = _member(IndicatedBy, application.indicated_by, "giver")
    end_of(category, at=at, valid_for=application.valid_for, indicated_by=indicated_by)
    cap = application.dp_epsilon_cap
    if cap is not None and not 0 < cap <= 1000:
        hint = "a positive number, such as 8"
        raise UsageError("the ε cap cannot be used", hint=hint, code="EPSILON_INVALID")
    text, evidence = read_small(application.notice, "notice"), read_small(application.evidence, "evidence")
    digest = sha256_bytes(text)
    return Checked(
        application=application,
        purposes=purposes,
        category=category,
        notice=Notice(
            version=digest[:12],
            language=application.notice_language,
            sha256=digest,
            covers_purposes=purposes,
            # What a plain text states is not read by machine; nothing is claimed that nobody attested.
            states_face_feature_extraction=False,
            states_retention=False,
            withdrawal_method="fabnet-secure subject withdraw",
            states_model_fate=False,
        ),
        notice_text=text,
        evidence_sha256=sha256_bytes(evidence),
    )


def read_small(path: Path, what: str) -> bytes:
    """Read a notice, an evidence file or a table of at most 1 MiB.

    Raises:
        UsageError: it is missing, empty, too large, or no regular file.
    """
    try:
        mode = path.stat().st_mode
        blob = path.read_bytes() if stat.S_ISREG(mode) and path.stat().st_size <= _MAX_TEXT else b""
    except OSError as error:
        raise UsageError(f"the {what} file cannot be read", hint=str(error.strerror), code="FILE_UNREADABLE") from error
    if not blob:
        hint = "a regular file with 1 byte to 1 MiB in it"
        raise UsageError(f"the {what} file is empty, too large or not a file", hint=hint, code="FILE_UNUSABLE")
    return blob


def read_table(path: Path, *, clock: Clock = utc_now) -> tuple[Application, ...]:
    """Read a CSV of applications; files in it are relative to it; several purposes are separated by spaces.

    Raises:
        UsageError: the table or any row is bad; ``fields["rows"]`` lists every bad row with its line.
    """
    try:
        text = read_small(path, "table").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError("the table is not UTF-8", hint="save it as UTF-8 CSV", code="TABLE_INVALID") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    unknown = sorted(set(reader.fieldnames or ()) - set(COLUMNS))
    missing = sorted(set(COLUMNS[:5]) - set(reader.fieldnames or ()))
    if unknown or missing:
        hint = f"columns: {', '.join(COLUMNS)}"
        raise UsageError(  # what stands in an unknown column may be a person's name
            f"{len(unknown)} unknown columns; missing: {', '.join(missing) or 'none'}", hint=hint, code="TABLE_INVALID"
        )
    applications: list[Application] = []
    bad: list[dict[str, object]] = []
    try:
        for row in reader:
            try:
                applications.append(_from_row(row, path.parent))
                check(applications[-1], at=clock())
            except FabnetError as error:
                bad.append({"line": reader.line_num, "code": error.code, "message": _without_values(error.message)})
    except csv.Error as error:
        raise UsageError(f"line {reader.line_num} is not CSV", hint=str(error), code="TABLE_INVALID") from error
    if bad or not applications:
        listing = "; ".join(f"line {row['line']}: {row['message']}" for row in bad[:20])
        raise UsageError(
            f"{len(bad)} bad rows; nothing was imported" if bad else "the table has no rows",
            hint=listing,
            code="TABLE_INVALID",
            rows=bad,
        )
    return tuple(applications)


def _without_values(message: str) -> str:
    """Take quoted cells out of a message: in a shifted row they may be a person's name."""
    return re.sub(r"'[^']*'|\"[^\"]*\"", "…", message)


def _from_row(row: dict[str, str | None], folder: Path) -> Application:
    if None in row:
        raise UsageError("too many fields", code="TABLE_INVALID")
    cell = {key: (value or "").strip() for key, value in row.items()}
    cap = cell.get("dp_epsilon_cap", "")
    try:
        epsilon = float(cap) if cap else None
    except ValueError:
        raise UsageError(f"the ε cap is not a number: {cap[:20]!r}", code="EPSILON_INVALID") from None
    return Application(
        subject_ref=cell["subject_ref"],
        purposes=tuple(cell["purpose"].split()),
        valid_for=cell["valid_for"],
        notice=folder / cell["notice"],
        evidence=folder / cell["evidence"],
        dp_epsilon_cap=epsilon,
        subject_category=cell.get("subject_category", "") or "adult",
        jurisdictions=tuple(cell.get("jurisdiction", "").split()),
        indicated_by=cell.get("indicated_by", "") or "subject",
    )


def _member(kind: type[_Word], text: str, what: str) -> _Word:
    try:
        return kind(text)
    except ValueError:
        code = f"{what.upper().replace(' ', '_')}_INVALID"
        raise UsageError(f"unknown {what}: {text[:40]!r}", hint=_choices(kind), code=code) from None


def _choices(kind: type[StrEnum]) -> str:
    return "one of: " + ", ".join(str(member) for member in kind)
