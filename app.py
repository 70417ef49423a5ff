"""Composition root: settings become an engine, a store, personas, a chat service and a page."""

import socket
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI

from hermes_ui.api.doors import Doors
from hermes_ui.catalog import PersonaCatalog
from hermes_ui.chat import ChatService
from hermes_ui.config import ROOT, Settings
from hermes_ui.errors import HermesError, SettingsError
from hermes_ui.generation.host import ModelHost
from hermes_ui.personas.library import PersonaLibrary
from hermes_ui.runs import Runs
from storage.errors import StorageError
from storage.store import Store

PAGE_FIRST_S = 1.0  # the model's imports would hold up the first page if they began at once
FOLLOWERS = 400  # threads for open tabs that follow a reply


def create_chat(settings: Settings) -> ChatService:
    """The rooms behind the page, wired; nothing runs yet.

    Raises:
        StorageError: the database cannot be used; it is left as it was.
    """
    store = Store.open(settings.database)
    host = ModelHost(
        settings.model,
        engine=settings.engine,
        device=settings.device,
        dtype=settings.dtype,
        quantize=settings.quantize,
        context_length=settings.context_length,
        max_active=settings.max_active,
        max_waiting=settings.max_waiting,
        cache_tokens=settings.cache_tokens,
        models_dir=ROOT / "models",
    )
    catalog = PersonaCatalog(PersonaLibrary(settings.personas_dir), store)
    return ChatService(store, catalog, Runs(store, host), host)


def create_app(settings: Settings, chat: ChatService | None = None) -> FastAPI:
    """The whole application, ready for a server: page, routes and doors.

    Args:
        chat: The rooms behind the page, where they are not to be made from the settings.
    """
    # Gradio takes seconds to import: only a process that shows the page pays for it.
    import gradio as gr  # noqa: PLC0415

    from hermes_ui.ui.page import PAGE, build_page  # noqa: PLC0415

    chat = chat or create_chat(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        chat.runs.open()
        load = threading.Timer(PAGE_FIRST_S, chat.host.start)
        load.daemon = True
        load.start()
        yield
        load.cancel()
        chat.runs.close()
        chat.host.close()
        chat.store.close()

    app = FastAPI(title="Hermes UI", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(
        Doors,
        host_names=settings.host_names,
        owner_per_browser=settings.owner == "browser",
        frame_ancestors=settings.frame_ancestors,
    )

    @app.get("/health")
    def health() -> dict[str, str]:
        status = chat.host.status
        return {"status": "ok", "model": status.model_id, "model_state": status.state}

    page = build_page(
        chat,
        temporary_storage=settings.temporary_storage,
        model_is_fixed=settings.owner == "browser",  # strangers share it
    )
    page.max_threads = FOLLOWERS
    gr.mount_gradio_app(app, page, path="/", enable_monitoring=False, max_file_size="8mb", **PAGE)
    return app


def listen(settings: Settings) -> socket.socket:
    """A socket that listens on the configured address.

    Raises:
        SettingsError: the address or port cannot be had.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen()  # two that start at once may both bind
    except OSError as error:
        listener.close()
        reason = (error.strerror or str(error)).lower()
        raise SettingsError(
            f"cannot listen on {settings.host}:{settings.port}: {reason}; "
            "choose another with HERMES_PORT"
        ) from None
    return listener


def serve(settings: Settings) -> None:
    """Serve the page until interrupted.

    Raises:
        SettingsError, StorageError: it cannot start; nothing on disk has changed.
    """
    listener = listen(settings)
    app = create_app(settings)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    print(f"Hermes UI is at http://{shown}:{port}", flush=True)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=3)
    uvicorn.Server(config).run(sockets=[listener])


def main() -> int:
    """Run with the environment's settings; bad input is one line on standard error."""
    try:
        serve(Settings.from_env())
    except (HermesError, StorageError) as error:
        print(f"hermes-ui: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
