"""Legal holds: data that must be kept although its erasure is due (GDPR 17(3)(b), 17(3)(e), 18).

While a hold is on a consent, nothing under it is deleted and none of its keys is destroyed, by no withdrawal and no
expiry. Nothing may be *done* under it for that: a consent that was withdrawn or has expired is not in force, held or
not. One person places a hold; ending it early takes two (``hold_release.py``); an end that was set when it was placed
comes by itself, computed on read.

Guarantees that a hold cannot be lifted behind the program's back: its row bears a digest that only this vault can make
and says what the log says, or nothing is erased at all (``HOLDS_CHANGED``, exit 30). Does not hold what waits in
quarantine (that is nobody's yet), and does not reach source files.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from fabnet_secure.compliance.erasure import Retained
from fabnet_secure.consent.codec import word
from fabnet_secure.consent.record import ConsentRecord
from fabnet_secure.crypto.digest import fingerprint
from fabnet_secure.errors import IntegrityFailure, UsageError
from fabnet_secure.pipeline.authorize import authorize, record_grant
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.coverage import find_consent, opening
from fabnet_secure.store import erasures, holds, keystore
from fabnet_secure.store.database import Connection, read_only
from fabnet_secure.store.holds import HoldRow
from fabnet_secure.store.log_search import entries_of
from fabnet_secure.store.states import HoldGround
from fabnet_secure.types import ConsentId, new_id, parse_rfc3339, rfc3339

_GROUNDS: Mapping[HoldGround, str] = {
    HoldGround.LEGAL_CLAIM: "GDPR 17(3)(e)",
    HoldGround.LEGAL_OBLIGATION: "GDPR 17(3)(b)",
    HoldGround.AUTHORITY_ORDER: "GDPR 17(3)(b), 58",
    HoldGround.SUBJECT_REQUEST: "GDPR 18(1)(c)",
}


def place(site: Site, consent_id: str, *, ground: str, until: str | None = None, dry_run: bool = False) -> HoldRow:
    """Keep what is held under a consent from erasure.

    Args:
        site: an open vault.
        consent_id: the consent.
        ground: one of :class:`HoldGround`.
        until: when it ends by itself (a date, or RFC 3339); None: when two people release it.
        dry_run: say what would be done, and change nothing.

    Raises:
        AccessDenied: the principal may not place holds.
        NoEffectiveConsent: code ``CONSENT_UNKNOWN``.
        UsageError: code ``GROUND_INVALID``, ``UNTIL_INVALID``, ``HOLD_IN_FORCE``, or ``NOTHING_TO_HOLD``: it is erased.
        IntegrityFailure: code ``HOLDS_CHANGED``.
    """
    grant = authorize(site, "hold_place")
    now = site.clock()
    row = HoldRow(
        hold_id=new_id(),
        consent_id=ConsentId(consent_id),
        ground=_ground(ground),
        placed_at=now,
        until=_until(until, now),
        released_at=None,
        proof="",
    )
    with site.reading() as connection:
        record, _ = find_consent(connection, consent_id)
        _check_room(site, connection, record)
    if dry_run:
        return row
    row = proven(site, row)
    with site.work() as work:
        _check_room(site, work.connection, record)
        holds.add_hold(work.connection, row)
        work.log(
            "hold.placed",
            facts={
                "hold": mark(site, row.hold_id),
                "ground": row.ground.value,
                "until": rfc3339(row.until) if row.until else "",
            },
            subjects=(opening(site, record, "consent", record.consent_id),),
        )
        record_grant(site, work, grant, rows=1)
    return row


def listing(site: Site) -> tuple[HoldRow, ...]:
    """Return every hold, ended ones too.

    Raises:
        AccessDenied, IntegrityFailure: as :func:`place`.
    """
    authorize(site, "consent_read")
    with site.reading() as connection:
        return checked(site, connection)


def in_force(site: Site, connection: Connection, consent_id: ConsentId) -> HoldRow | None:
    """Return the hold that keeps a consent's data now, or None.

    Raises:
        IntegrityFailure: code ``HOLDS_CHANGED``.
    """
    return held(site, connection).get(consent_id)


def held(site: Site, connection: Connection) -> dict[ConsentId, HoldRow]:
    """Return every consent that is held now, with its hold.

    Raises:
        IntegrityFailure: code ``HOLDS_CHANGED``.
    """
    now = site.clock()
    return {row.consent_id: row for row in checked(site, connection) if row.holds(now)}


def refuse_held(site: Site, connection: Connection, consent_id: ConsentId) -> None:
    """Refuse to destroy anything of a consent that is held now.

    Raises:
        UsageError: code ``LEGAL_HOLD``.
        IntegrityFailure: code ``HOLDS_CHANGED``.
    """
    if in_force(site, connection, consent_id) is not None:
        raise UsageError(
            "a legal hold keeps what is stored under this consent",
            hint=f"end it first, by two people: fabnet-secure subject release-hold {consent_id}",
            code="LEGAL_HOLD",
        )


def checked(site: Site, connection: Connection) -> tuple[HoldRow, ...]:
    """Return every hold, each exactly as the log says that it was placed and released.

    Raises:
        IntegrityFailure: code ``HOLDS_CHANGED``.
    """
    rows = holds.list_holds(connection)
    told = {mark(site, row.hold_id): row.released_at is None for row in rows}
    logged = {str(one.facts["hold"]): one.act == "hold.placed" for one in entries_of(connection, "hold.")}
    if told != logged or any(row != proven(site, row) for row in rows):
        raise IntegrityFailure(
            "the legal holds are not the ones that the log says were placed",
            hint="restore the database; nothing is erased until then",
            code="HOLDS_CHANGED",
        )
    return tuple(rows)


def retained(row: HoldRow | None) -> tuple[Retained, ...]:
    """Say for a certificate what a hold keeps, and why."""
    return () if row is None else (Retained(item="legal_hold", ground=_GROUNDS[row.ground], until=row.until),)


def proven(site: Site, row: HoldRow) -> HoldRow:
    """Return the row with the digest over all of it that only this vault can make."""
    moments = [rfc3339(one) if one else "" for one in (row.placed_at, row.until, row.released_at)]
    parts = ["hold", row.hold_id, row.consent_id, row.ground.value, *moments]
    return replace(row, proof=fingerprint(site.index_key, parts))


def mark(site: Site, hold_id: str) -> str:
    """Return how the log names a hold."""
    return fingerprint(site.index_key, ["hold", hold_id])


def _check_room(site: Site, connection: Connection, record: ConsentRecord) -> None:
    if (row := in_force(site, connection, record.consent_id)) is not None:
        raise UsageError(
            "the consent is held already",
            hint=f"end that one first: fabnet-secure subject release-hold {row.consent_id}",
            code="HOLD_IN_FORCE",
        )
    with read_only(site.keystore) as keys:
        keyed = bool(keystore.keys_of_consent(keys, record.consent_id))
    begun = bool(erasures.list_erasures(connection, consent_id=record.consent_id))
    if not keyed or (begun and not any(erasures.remaining(connection, record.consent_id).values())):
        raise UsageError(
            "there is nothing to hold: what was kept under this consent is erased",
            hint=f"run 'fabnet-secure consent show {record.consent_id}'",
            code="NOTHING_TO_HOLD",
        )


def _ground(text: str) -> HoldGround:
    try:
        return word(HoldGround, text)
    except UsageError:
        hint = "one of: " + ", ".join(HoldGround)
        raise UsageError(f"unknown ground: {text[:40]!r}", hint=hint, code="GROUND_INVALID") from None


def _until(text: str | None, now: datetime) -> datetime | None:
    if text is None:
        return None
    try:
        moment = parse_rfc3339(text if "T" in text else f"{text}T00:00:00Z")
    except UsageError:
        hint = "write it as 2027-01-31"
        raise UsageError(f"not a date: {text[:40]!r}", hint=hint, code="UNTIL_INVALID") from None
    if moment <= now:
        raise UsageError("a hold ends in the future", hint="give a later --until", code="UNTIL_INVALID")
    return moment
