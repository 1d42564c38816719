"""The horizon: until when an old copy of the keystore still opens what a withdrawal destroyed.

A key that was destroyed still stands, wrapped, in older copies of the keystore, and opens there with the vault's key
files until its epoch is destroyed (``keys rekey``). So "irrecoverable within R days" holds exactly as far as the keys
are renewed every R days, and it is said so, with dates. Does not reach copies of the epoch file, which would prolong
it, nor data keys that somebody unwrapped and kept (``keys reencrypt``). An older program's epochs (kind 1) had no gate:
a copy from before ``init`` upgraded the vault opens with the root key alone for ever, which is said of everybody whose
consent was there then.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from fabnet_secure.crypto.epoch import KIND
from fabnet_secure.crypto.gate import read_gates
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.coverage import find_consent
from fabnet_secure.pipeline.ended import check_newest, ended_ids
from fabnet_secure.pipeline.rekey import rotation_due
from fabnet_secure.store import holders, keystore
from fabnet_secure.store.database import read_only
from fabnet_secure.store.keystore import EpochRow
from fabnet_secure.types import ConsentId


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """What older copies of the keystore still open of one consent.

    Attributes:
        until: when they cease to by policy; None where they have, where that is overdue, or where no key was destroyed.
        closed_at: when they ceased to.
        note: the word that says so (``compliance/words.py``).
        open_before: copies from before this time open for ever, with the root key; None where no such copy can be.
    """

    until: datetime | None
    closed_at: datetime | None
    note: str
    open_before: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizon:
    """How the present epoch stands against the policy: ``status`` is ok, warn (overdue) or fail (twice overdue)."""

    epoch: int
    due_at: datetime
    status: str
    detail: str
    remedy: str = ""


def keystore_copies(site: Site, consent_id: ConsentId) -> Copies:
    """Say what older copies of the keystore open of the keys that were destroyed under a consent."""
    with read_only(site.keystore) as connection:
        wrapped_by = {stone.epoch for stone in keystore.tombstones(connection, consent_id)}
        epochs = keystore.list_epochs(connection)
    if not wrapped_by:
        return Copies(until=None, closed_at=None, note="")
    upgraded = upgraded_at(epochs.values())
    if upgraded is not None and _recorded_at(site, consent_id) < upgraded:
        return Copies(until=None, closed_at=None, note="keystore_copies_upgraded", open_before=upgraded)
    ended = [epochs[number].destroyed_at for number in wrapped_by]
    closed = [at for at in ended if at is not None]
    if len(closed) == len(ended):
        return Copies(until=None, closed_at=max(closed), note="keystore_copies_closed")
    due_at = rotation_due(site)
    if due_at <= site.clock():
        return Copies(until=None, closed_at=None, note="keystore_copies_overdue")
    return Copies(until=due_at, closed_at=None, note="keystore_copies_until")


def upgraded_at(epochs: Iterable[EpochRow]) -> datetime | None:
    """Return when the last epoch without a gate ended; None where there was none: this program made the vault."""
    return max((row.destroyed_at for row in epochs if row.kind != KIND and row.destroyed_at is not None), default=None)


def _recorded_at(site: Site, consent_id: ConsentId) -> datetime:
    """Return when a consent was written down, and its keys were made."""
    with site.reading() as connection:
        _, events = find_consent(connection, consent_id)
    return min(event.recorded_at for event in events)


def _check_holders(site: Site) -> None:
    with read_only(site.keystore) as connection:
        found = holders.list_holders(connection, revoked=False)
    ended = ended_ids(site.anchor.state()) if found else frozenset[str]()
    with site.reading() as connection:
        for holder in found:
            check_newest(connection, holder, ended)


def horizon(site: Site) -> Horizon:
    """Judge the age of the present epoch: overdue past the rotation period, badly so past twice of it.

    Raises:
        IntegrityFailure: (HOLDER_FORGED) a keyring is not its account's newest grant; as the next renewal would say.
    """
    _check_holders(site)
    number, now = site.keyring.newest, site.clock()
    with read_only(site.keystore) as connection:
        epochs = keystore.list_epochs(connection)
    since, upgraded = epochs[number].created_at or now, upgraded_at(epochs.values())
    due_at = rotation_due(site)
    told = f"epoch {number} since {since:%Y-%m-%d}"
    if upgraded is not None:
        told += f"; copies from before the upgrade on {upgraded:%Y-%m-%d} open with the root key for ever: destroy them"
    if set(read_gates(site.place.gate)) != {number}:
        remedy = "run 'fabnet-secure keys rekey' again: it finishes"
        detail = f"{told}; the last renewal was cut off before its end"
        return Horizon(epoch=number, due_at=due_at, status="warn", detail=detail, remedy=remedy)
    if now < due_at:
        detail = f"{told}; what is destroyed in it is irrecoverable by {due_at:%Y-%m-%d} at the latest"
        return Horizon(epoch=number, due_at=due_at, status="ok", detail=detail)
    badly = now - since >= 2 * (due_at - since)
    detail = f"{told}, due since {due_at:%Y-%m-%d}: older copies of the keystore still open what was destroyed"
    remedy = "run 'fabnet-secure keys rekey', and from a timer 'keys rekey --if-due'"
    return Horizon(epoch=number, due_at=due_at, status="fail" if badly else "warn", detail=detail, remedy=remedy)
