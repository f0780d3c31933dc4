"""Run by Alembic, on the connection and in the transaction that `upgrade` opened."""

from alembic import context

from dujiang.storage.database import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # SQLite's DDL is transactional once the driver's own handling is off
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
