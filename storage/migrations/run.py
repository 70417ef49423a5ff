"""Bring an open connection to the newest schema, one process at a time."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from storage.errors import DatabaseTooNew, StorageUnavailable
from storage.models import Base

FOLDER = Path(__file__).parent
LOCK = 0x4845524D4553  # PostgreSQL's advisory locks have numbers for names


def upgrade(connection: Connection, location: str) -> None:
    """Run the missing steps inside the caller's transaction.

    Raises:
        DatabaseTooNew, StorageUnavailable: as `check_revision` does.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    if check_revision(connection, location) != _steps().get_current_head():
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def check_revision(connection: Connection, location: str) -> str | None:
    """The schema's revision; None in a database that holds nothing of ours yet.

    Raises:
        DatabaseTooNew: the revision is none that this program knows.
        StorageUnavailable: the tables are another program's.
    """
    tables = set(inspect(connection).get_table_names())
    if "alembic_version" not in tables:
        if tables & set(Base.metadata.tables):
            raise StorageUnavailable(location, "is a database of another program")
        return None
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if revision is not None and revision not in _known():
        raise DatabaseTooNew(location, str(revision))
    return revision


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    return config


@cache
def _steps() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


@cache
def _known() -> frozenset[str]:
    return frozenset(step.revision for step in _steps().walk_revisions())
