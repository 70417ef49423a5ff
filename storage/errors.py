"""What the database can refuse. A small tree of its own: storage imports nobody of ours."""


class StorageError(Exception):
    """Base of everything that storage raises on purpose; its text is one readable line."""


class NotFound(StorageError):
    """There is no such row, or it is somebody else's, which is not told apart."""

    def __init__(self, kind: str, row_id: str) -> None:
        super().__init__(f"there is no {kind} {row_id[:40]!r}")
        self.kind = kind
        self.row_id = row_id


class Conflict(StorageError):
    """Somebody else was faster; nothing was written."""


class StorageUnavailable(StorageError):
    """The database cannot be opened or written. Never names a password."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}")


class DatabaseTooNew(StorageError):
    """A later version of the app wrote this database; it is left as it is."""

    def __init__(self, where: str, revision: str) -> None:
        super().__init__(
            f"{where}: was written by a newer version (schema {revision}); update the app"
        )


class BadExport(StorageError):
    """A file is not a conversation that can be imported."""
