"""Runs the revisions of one of the two schemas on the connection it is given, inside that connection's transaction.

There is no alembic.ini and no URL here: ``fabnet_secure.store.schema.migrate`` is the only way in.
"""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    transactional_ddl=True,  # SQLite's DDL is transactional once BEGIN is sent, which the store's engine does
)
with context.begin_transaction():
    context.run_migrations()
