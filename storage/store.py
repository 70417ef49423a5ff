"""`Store`: what happened, in a database. The row is the only truth.

Every method is one transaction, takes the owner first and checks it; a row of somebody
else is not found. What comes out is frozen and detached.
"""

from typing import Self

from storage.conversations import Conversations
from storage.database import Database
from storage.imports import Imports
from storage.messages import Messages
from storage.personas import PersonaVersions
from storage.runs import RunRecords


class Store(Conversations, Messages, RunRecords, PersonaVersions, Imports):
    """Safe to share between threads."""

    @classmethod
    def open(cls, url: str) -> Self:
        """Open the database at an SQLAlchemy URL and bring its schema up to date.

        Raises:
            StorageUnavailable: there is no such database, or it cannot be written.
            DatabaseTooNew: a later version wrote it; nothing is changed.
        """
        return cls(Database.open(url))
