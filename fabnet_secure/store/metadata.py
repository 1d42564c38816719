"""The two schemas as SQLAlchemy knows them, and what names and widths all their tables share. Holds no table."""

from sqlalchemy import MetaData

ID = 36  # a UUID's text
SHA256 = 64  # hex digits

_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
VAULT = MetaData(naming_convention=_NAMES)
KEYSTORE = MetaData(naming_convention=_NAMES)
