"""Everything that the rooms raise on purpose, as one tree with its evidence.

`str(error)` is one readable line, fit for a person at a text box or a terminal.
`storage`, which imports nothing of ours, has a small tree of its own
(`storage.errors.StorageError`); edges translate both.
"""


def first_line(error: BaseException) -> str:
    """What another library's error says, in a line that fits a message; or else its name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


class HermesError(Exception):
    """Base of every error that is somebody's business and not a defect."""


class SettingsError(HermesError):
    """A setting is unknown or has a value that cannot be used."""


class PersonaError(HermesError):
    """A persona cannot be read. `where` is a file, line or field; `why` is a clause."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}")
        self.where = where
        self.why = why


class CardError(PersonaError):
    """A character card of another program cannot be read."""


class UnknownPersona(HermesError):
    """No persona of this name is there for this owner."""

    def __init__(self, slug: str) -> None:
        super().__init__(f"there is no persona named {slug!r}")
        self.slug = slug


class ContextOverflow(HermesError):
    """What must stay in the prompt is longer than the window allows (tokens)."""

    def __init__(self, needed: int, available: int) -> None:
        super().__init__(
            f"the persona and the newest message need {needed} tokens, "
            f"but only {available} fit beside the reply"
        )
        self.needed = needed
        self.available = available


class ModelError(HermesError):
    """A model cannot be found or loaded. `where` names the folder or hub id."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}")
        self.where = where
        self.why = why


class EngineError(HermesError):
    """The engine failed while it generated; what it yielded before stays valid."""


class EngineBusy(EngineError):
    """The waiting line is full. `waiting` requests stand in it."""

    def __init__(self, waiting: int) -> None:
        super().__init__(
            f"the model is busy: {waiting} requests are already waiting; try again soon"
        )
        self.waiting = waiting


class EngineNotReady(EngineError):
    """No model is ready yet; the text says what is going on. Ask again later."""


class ToolError(HermesError):
    """A tool refuses its arguments; the text goes back to the model as the tool's answer."""


class NothingToDo(HermesError):
    """The request does not fit the conversation as it stands: no text, no reply to continue."""
