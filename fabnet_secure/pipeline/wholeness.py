"""Is every row still there that the log says was written? Nothing else counts the rows of most tables.

Guarantees that a row of a table which only ever grows is missed once the log has an entry of its making, and that what
other rows or proofs name is missed (``store/wholeness.py``). Does not see: sealed openings of log entries, accounts and
keyrings that were taken out (whoever lacks one is refused), and rows that were changed and not removed, which
seals, proofs and the log's own digests are for.
"""

from collections import Counter
from typing import Final

from fabnet_secure.audit.leaf import read_leaf
from fabnet_secure.crypto.digest import sha256_bytes
from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.pipeline.context import Site
from fabnet_secure.store import wholeness
from fabnet_secure.store.database import Connection, read_only
from fabnet_secure.store.log_storage import SqlLogStorage

_MADE: Final = {
    "consent.given": (("consent", {}), ("consent_event", {"type": "given"})),
    "consent.withdrawn": (("erasure", {}), ("consent_event", {"type": "withdrawn"})),
    "ingest.completed": (("video", {}),),
    "quarantine.held": (("quarantine", {}),),
    "train.planned": (("plan", {}), ("dataset", {})),
    "budget.reserved": (("run", {}),),
    "train.completed": (("model", {"kind": "dp"}),),
    "approver.enrolled": (("approver", {}),),
    "approval.used": (("approval_used", {}),),
    "hold.placed": (("legal_hold", {}),),
    "budget.cap_raised": (("cap_raise", {}),),
}
"""The rows that an entry of each act came with, in tables from which nothing is ever deleted."""


def missing(site: Site) -> Counter[str]:
    """Count the rows that are gone, by table; empty when none is missed."""
    with site.reading() as connection:
        lost = _unlogged(connection) | wholeness.missing_rows(connection)
        with read_only(site.keystore) as keys:
            return lost | wholeness.missing_keys(connection, keys)


def check_rows(site: Site) -> None:
    """Refuse a vault from which rows were taken out.

    Raises:
        IntegrityFailure: code ``ROWS_MISSING``; ``STORE_CORRUPT``: a database's file is damaged.
    """
    for engine in (site.engine, site.keystore):
        with read_only(engine) as connection:
            wholeness.check_pages(connection)
    if lost := missing(site):
        named = ", ".join(f"{count} of {table}" for table, count in sorted(lost.items()))
        raise IntegrityFailure(
            f"rows were taken out or set back behind the vault's back: {named}",
            hint="restore a backup: fabnet-secure backup restore",
            code="ROWS_MISSING",
        )


def _unlogged(connection: Connection) -> Counter[str]:
    """Hold the number of rows against the number of entries that came with one."""
    storage = SqlLogStorage(connection)
    acts: Counter[str] = Counter()
    decided: list[str] = []
    for blob in storage.read_entries(0, storage.size()):
        leaf = read_leaf(blob)
        acts[leaf.act] += 1
        if "decision" in leaf.facts:
            decided.append(str(leaf.facts["decision"]))
    lost: Counter[str] = Counter()
    for act, rows in _MADE.items():
        for table, equal in rows:
            lost[table] |= max(0, acts[act] - wholeness.count_rows(connection, table, **equal))
    kept = {sha256_bytes(one.encode()) for one in wholeness.decision_ids(connection)}
    lost["decision"] = sum(one not in kept for one in decided)
    return +lost
