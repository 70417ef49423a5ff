"""The whole application with an engine that says a known text, slowly enough to watch.

Run as `python -m tests.browser.serve PORT FOLDER`; FOLDER holds `personas/` and the database.
"""

import sys
from pathlib import Path

import uvicorn

from app import create_app
from hermes_ui.catalog import PersonaCatalog
from hermes_ui.chat import ChatService
from hermes_ui.config import Settings
from hermes_ui.generation.host import ModelHost
from hermes_ui.generation.scripted import ScriptedEngine
from hermes_ui.personas.library import PersonaLibrary
from hermes_ui.prompt.build import Prompt
from hermes_ui.runs import Runs
from storage.store import Store

FIRST = '*The lamp sways.* "You came back," she says.'
LAST = "That is all."
REPLY = "\n\n".join(
    [FIRST, *(f"The sea turned over {n} times in its sleep." for n in range(8)), LAST]
)
SLOWLY = "Tell it slowly"  # asks for a reply that is still being written when it is stopped
TOKEN_S = 0.03


def said(prompt: Prompt) -> str:
    """What every reply says; as long as a reply may be once SLOWLY was asked."""
    slowly = any(SLOWLY in piece for piece in prompt.pieces)
    return "\n\n".join([FIRST, *["The sea turned over."] * 1000]) if slowly else REPLY


def main() -> None:
    """Serve until killed."""
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    settings = Settings(
        engine="scripted", data_dir=folder, personas_dir=folder / "personas", port=port
    )
    store = Store.open(settings.database)
    host = ModelHost.serving(ScriptedEngine(said, delay_s=TOKEN_S))
    catalog = PersonaCatalog(PersonaLibrary(settings.personas_dir), store)
    chat = ChatService(store, catalog, Runs(store, host), host)
    app = create_app(settings, chat)
    uvicorn.run(app, port=port, log_level="error", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
