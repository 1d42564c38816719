"""Finding entries of the audit log by what was done, without reading the rest of it.

Guarantees that every stored entry whose act begins with a word is found, whatever was done to rows elsewhere: it is
read from the entries themselves and from no index. Does not check the log (``audit/verify.py`` does), and reads a
little of every entry: for acts that are rare.
"""

from sqlalchemy import Connection, LargeBinary, func, literal, select

from fabnet_secure.audit.leaf import Entry, read_leaf
from fabnet_secure.store.tables import log_entry


def entries_of(connection: Connection, act: str) -> list[Entry]:
    """Return the entries whose act begins with ``act``, oldest first.

    Raises:
        IntegrityFailure: code ``LEAF_BROKEN``: one of them is no leaf.
    """
    start = b'{"act":"' + act.encode("ascii")  # a leaf is canonical JSON: its first field is its act
    opening = func.substr(log_entry.c.body, 1, len(start), type_=LargeBinary)
    wanted = select(log_entry.c.body).where(opening == literal(start, LargeBinary)).order_by(log_entry.c.leaf_index)
    return [read_leaf(bytes(body)) for body in connection.execute(wanted).scalars()]
