"""Alembic's entry: runs the migrations on the connection that `msgcenter.store.migrate` put into
the config."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from msgcenter.store.tables import metadata

connection: Connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
