"""Small facts about the vault itself, by key: its log's origin, its policy hash, when it was made."""

from sqlalchemy import Connection, delete, select, update

from fabnet_secure.store.rows import count, put
from fabnet_secure.store.tables import meta


def get_meta(connection: Connection, key: str) -> str | None:
    """Return the value under a key, or None."""
    found = connection.execute(select(meta.c.value).where(meta.c.key == key)).scalar_one_or_none()
    return None if found is None else str(found)


def set_meta(connection: Connection, key: str, value: str) -> None:
    """Store a value under a key, in place of any before."""
    if not count(connection, update(meta).where(meta.c.key == key).values(value=value)):
        put(connection, meta, key=key, value=value)


def list_meta(connection: Connection, prefix: str = "") -> dict[str, str]:
    """Return every key (that begins with ``prefix``) with its value."""
    wanted = select(meta.c.key, meta.c.value).order_by(meta.c.key)
    rows = connection.execute(wanted.where(meta.c.key.startswith(prefix, autoescape=True)) if prefix else wanted)
    return {row.key: row.value for row in rows}


def delete_meta(connection: Connection, key: str) -> None:
    """Forget a key, if it is there."""
    connection.execute(delete(meta).where(meta.c.key == key))
