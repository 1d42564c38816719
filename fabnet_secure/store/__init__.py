"""The encrypted store: SQLAlchemy Core over SQLite or PostgreSQL, one module a noun.

Guarantees that only :class:`~fabnet_secure.crypto.envelope.Sealed` values enter sealed columns, that every write to
the vault commits together with its audit entry, and that reads are snapshots which cannot write. Does not seal or
open anything itself, decides nothing about consent or access, and cannot reach bytes that a file system, a backup
or a PostgreSQL WAL archive has kept: only the destruction of a key reaches those.
"""
