"""The rooms, wired for tests: a real store, real personas, a scripted model."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hermes_ui.catalog import PersonaCatalog
from hermes_ui.chat import ChatService
from hermes_ui.generation.engine import Engine
from hermes_ui.generation.host import ModelHost
from hermes_ui.personas.library import PersonaLibrary
from hermes_ui.reply import Progress
from hermes_ui.runs import Runs
from storage.rows import ConversationRow, RunRow
from storage.store import Store

OWNER = "ava"
STRANGER = "mallory"

AVA = """\
name: Ava
description: Ava keeps the lighthouse of Tern Point.
greeting: Good evening, {{user}}. Mind the wet stairs.
alternate_greetings:
  - The lamp is lit. Sit down.
user_name: Traveller
"""


@contextmanager
def open_house(store: Store, folder: Path, engine: Engine) -> Iterator[ChatService]:
    """A chat service over `store`, with the persona Ava and `engine` ready to speak."""
    folder.mkdir(exist_ok=True)
    (folder / "ava.yaml").write_text(AVA)
    host = ModelHost.serving(engine)
    runs = Runs(store, host)
    runs.open()
    try:
        yield ChatService(store, PersonaCatalog(PersonaLibrary(folder), store), runs, host)
    finally:
        runs.close()
        host.close()


def ended(chat: ChatService, run: RunRow, owner: str = OWNER) -> Progress:
    """Follow a run to its end."""
    *_, last = chat.runs.follow(owner, run.id)
    return last


def contents(chat: ChatService, conversation: ConversationRow, owner: str = OWNER) -> list[str]:
    """The texts of the current branch, oldest first."""
    return [row.content for row in chat.store.window(owner, conversation.id).messages]
