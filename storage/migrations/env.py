"""Alembic's entry: runs the steps on the connection that `storage.migrations.run` hands over."""

from alembic import context

from storage.models import Base

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    transactional_ddl=True,  # SQLite's can be rolled back too, once we begin transactions
)
with context.begin_transaction():
    context.run_migrations()
