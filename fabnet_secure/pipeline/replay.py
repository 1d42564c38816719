"""Replay: what a restored copy must be told before it may serve anybody.

A backup knows nothing of what came after it. What must not be forgotten stands in the anchor, outside both databases:
who withdrew, and what privacy was spent. Guarantees that every consent withdrawn since is withdrawn again, at the time
it was, its rows deleted and its keys destroyed, with an erasure and a certificate of their own; that every keyring
revoked since is revoked again, every approval used since is used, every quarantined record destroyed since is
destroyed; and that every spending that the copy's ledger lacks is charged to everybody who has a consent in the copy,
under its own entry id, so that no restore, however often repeated, gives budget back or charges it twice. Consents that
ended by time end by time again.

Without an anchor nothing of this is known. Then somebody must answer for who withdrew, and everybody's budget counts as
spent to the cap that binds them: nothing private is done until two people raise a cap; and every keyring is revoked
until it is granted anew.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from fabnet_secure.audit.anchor import AnchorState, Withdrawn
from fabnet_secure.pipeline.approvals import use_again
from fabnet_secure.pipeline.context import RESTORED, Site
from fabnet_secure.pipeline.ended import ended_ids, grant_id
from fabnet_secure.pipeline.keys import end_again
from fabnet_secure.pipeline.maintain import sweep
from fabnet_secure.pipeline.plan import promised
from fabnet_secure.pipeline.quarantine import destroy_again
from fabnet_secure.pipeline.spending import spend
from fabnet_secure.pipeline.withdraw import carry_out
from fabnet_secure.store import consents, holders, ledger, meta
from fabnet_secure.store.database import Connection, Work, read_only
from fabnet_secure.store.states import LedgerSource
from fabnet_secure.types import Json, SubjectId, canonical_json, rfc3339

DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of the time since the backup.

    Attributes:
        anchor: the anchor's state; None where it is lost.
        withdrawn: consents that somebody says were withdrawn since, where the anchor is lost.
        size_lost: the entries that the lost log had at least; 0 when unknown.
        root_lost: its root, in base64; "" when unknown.
    """

    anchor: AnchorState | None
    withdrawn: tuple[str, ...] = ()
    size_lost: int = 0
    root_lost: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What the copy was told: withdrawals carried out, spendings charged, and their ε together."""

    withdrawn: int
    charged: int
    epsilon: float
    people: int


def replay(copy: Site, known: Known, *, size_kept: int) -> Replayed:
    """Tell a copy what it missed; safe to repeat.

    Args:
        copy: the restored vault, opened to be finished.
        known: what is known.
        size_kept: the entries that its log had in the backup.

    Raises:
        KeyProblem: code ``KEY_CANNOT_SIGN``: the keyring signs no certificates; use the vault's root key file.
        FabnetError: as withdrawing does; the copy is then not to be used.
    """
    _end_again(copy, known.anchor)
    gone = sum(carry_out(copy, one) is not None for one in _withdrawn(copy, known))
    sweep(copy)
    charged = _charge(copy, known)
    with copy.reading() as connection:
        people = len(_people(connection))
    told = Replayed(withdrawn=gone, charged=len(charged), epsilon=sum(charged), people=people)
    with copy.work() as work:
        meta.set_meta(work.connection, RESTORED, DONE)
        work.log("vault.restored", facts=_facts(known, told, size_kept))
    return told


def _end_again(copy: Site, anchor: AnchorState | None) -> None:
    """End again what had ended: quarantined records, approvals, keyrings; without an anchor, every keyring."""
    if anchor is not None:
        destroy_again(copy, {one.video_id for one in anchor.destroyed})
        use_again(copy, anchor.used)
    if copy.root_key is not None:
        with read_only(copy.keystore) as connection:
            living = {grant_id(one.name, one.proof) for one in holders.list_holders(connection, revoked=False)}
        end_again(copy, living if anchor is None else ended_ids(anchor))


def _withdrawn(copy: Site, known: Known) -> Sequence[Withdrawn]:
    if known.anchor is not None:
        return known.anchor.withdrawn
    now = copy.clock()
    return [Withdrawn(consent_id=consent_id, key_ids=(), at=now) for consent_id in known.withdrawn]


def _charge(copy: Site, known: Known) -> list[float]:
    """Charge what was spent since; return the ε of each charge."""
    if known.anchor is None:
        return _exhaust(copy)
    with copy.reading() as connection:
        held, people = ledger.entry_ids(connection), _people(connection)
    lost = [one for one in known.anchor.spent if one.entry_id not in held] if people else []
    for one in lost:
        with copy.work() as work:
            _spend(copy, work, one.epsilon, one.delta, people, entry_id=one.entry_id)
    return [one.epsilon for one in lost]


def _exhaust(copy: Site) -> list[float]:
    """Charge everybody the largest cap that binds anybody, once: nobody's budget is above it."""
    with copy.reading() as connection:
        largest = max(promised(copy, connection).values(), default=0.0)
        people = _people(connection)
    if not people or largest <= 0:
        return []
    with copy.work() as work:
        _spend(copy, work, largest, 0.0, people, entry_id=None)
    return [largest]


def _spend(
    copy: Site, work: Work, epsilon: float, delta: float, people: Collection[SubjectId], *, entry_id: str | None
) -> None:
    spend(
        copy,
        work,
        source=LedgerSource.RESTORED,
        dp_event=canonical_json({"event": "lost", "epsilon": min(epsilon, 1e3)}).decode(),
        epsilon=epsilon,
        delta=delta,
        subject_ids=sorted(people),
        facts={"why": "spent after the backup" if entry_id else "unknown: no anchor"},
        entry_id=entry_id,
    )


def _people(connection: Connection) -> frozenset[SubjectId]:
    """Return everybody who ever gave a consent that the copy knows."""
    return frozenset(record.subject_id for record, _ in consents.list_consents(connection))


def _facts(known: Known, told: Replayed, size_kept: int) -> dict[str, Json]:
    return {
        "size_kept": size_kept,
        "size_lost": known.size_lost,
        "root_lost": known.root_lost,
        "anchor": known.anchor is not None,
        "anchor_until": rfc3339(known.anchor.latest_at) if known.anchor is not None else "",
        "withdrawn": told.withdrawn,
        "charged": told.charged,
        "epsilon": told.epsilon,
        "people": told.people,
    }
