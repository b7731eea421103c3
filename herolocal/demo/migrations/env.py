"""How `flask db …` reaches the database."""

import logging

from alembic import context
from flask import current_app
from sqlalchemy import text

LOCK = 5006  # any number that nothing else in this database locks

logging.basicConfig(format="%(levelname)s [%(name)s] %(message)s")
logging.getLogger("alembic").setLevel(logging.INFO)

migrate = current_app.extensions["migrate"]
database = migrate.db


def migrate_online() -> None:
    with database.engine.connect() as connection:
        context.configure(connection=connection, target_metadata=database.metadata, **migrate.configure_args)
        with context.begin_transaction():
            if connection.dialect.name == "postgresql":
                # Two web dynos start at the same time: the second waits, then finds nothing left to do.
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            context.run_migrations()


def print_sql() -> None:
    context.configure(dialect_name=database.engine.dialect.name, target_metadata=database.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    print_sql()
else:
    migrate_online()
