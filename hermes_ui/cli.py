"""`python -m hermes_ui …`: what the page does, from a terminal.

Exit code 0: it worked; 1: bad input, said in one line on standard error; 2: wrong usage.
"""

import json
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from app import create_chat
from app import serve as serve_app
from hermes_ui.api.doors import LOCAL_OWNER as OWNER
from hermes_ui.chat import ChatService
from hermes_ui.config import ROOT, Settings, remember
from hermes_ui.errors import EngineNotReady, HermesError, ModelError, SettingsError
from hermes_ui.generation.download import download
from hermes_ui.generation.engine import Engine
from hermes_ui.generation.loading import choose, installed
from hermes_ui.generation.placement import place
from hermes_ui.messages import Message
from hermes_ui.personas.persona import problems
from hermes_ui.prompt.build import HistoryItem, build
from hermes_ui.prompt.chatml import text_of
from hermes_ui.replay import play
from hermes_ui.reply import prompt_budget
from hermes_ui.toolbox import TOOLBOX
from storage.errors import StorageError
from storage.formats import export

JsonFlag = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON.")]
OutOption = Annotated[Path, typer.Option("--out", help="The file to write; - is standard output.")]

cli = typer.Typer(
    help="Roleplay chat that never loses a message.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
persona_cli = typer.Typer(help="Look at and check personas.", no_args_is_help=True)
conversation_cli = typer.Typer(
    help="Look at, export and replay conversations.", no_args_is_help=True
)
model_cli = typer.Typer(help="Which model speaks.", no_args_is_help=True)
cli.add_typer(persona_cli, name="persona")
cli.add_typer(conversation_cli, name="conversation")
cli.add_typer(model_cli, name="model")


def main() -> int:
    """Run the command line and return its exit code."""
    try:
        cli(prog_name="python -m hermes_ui", standalone_mode=True)
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 1
    except (HermesError, StorageError) as error:
        print(f"hermes-ui: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        return 0
    return 0


@cli.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
) -> None:
    """Serve the page."""
    given = {"host": host, "port": port}
    serve_app(Settings.from_env(**{k: v for k, v in given.items() if v is not None}))


@cli.command()
def chat(
    persona: Annotated[str, typer.Option(help="The persona's slug.")] = "hermes",
    model: Annotated[str | None, typer.Option(help="A model instead of HERMES_MODEL.")] = None,
) -> None:
    """Talk in the terminal; an empty line or the end of input ends it."""
    with _running(**({"model": model} if model else {})) as service:
        conversation = service.start(OWNER, persona)
        window = service.store.window(OWNER, conversation.id)
        name = service.persona_of(OWNER, conversation).display_name
        for message in window.messages:
            print(f"{name}: {message.content}\n")
        for line in _lines():
            run = service.send(OWNER, conversation.id, line)
            _print_reply(service, run.id, name)
        print(f"Kept as conversation {conversation.id}.", file=sys.stderr)


def _lines() -> Iterator[str]:
    while True:
        if sys.stdin.isatty():
            print("> ", end="", flush=True)
        try:
            line = sys.stdin.readline()
        except UnicodeDecodeError:
            raise SettingsError("standard input: is not UTF-8 text") from None
        if not line.strip():
            return
        yield line.rstrip("\n")


def _print_reply(service: ChatService, run_id: str, name: str) -> None:
    print(f"{name}: ", end="", flush=True)
    shown = 0
    for progress in service.runs.follow(OWNER, run_id):
        print(progress.text[shown:], end="", flush=True)
        shown = len(progress.text)
        if progress.state == "failed":
            raise SettingsError(progress.error)
    print("\n", flush=True)


@cli.command()
def doctor(as_json: JsonFlag = False) -> None:
    """Say what is installed and which model would be used, and why."""
    settings = Settings.from_env()
    facts: dict[str, Any] = {
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers", "gradio", "sqlalchemy")},
    }
    try:
        choice = choose(settings.model, models_dir=ROOT / "models")
        facts |= {"model": choice.model_id, "why": choice.why}
        facts["runs_in"] = place(choice, settings.device, settings.dtype, settings.quantize).why
    except ModelError as error:
        facts["broken_model"] = str(error)
    with _service(settings) as service:
        facts["database"] = service.store.location
        facts["personas"] = len(service.catalog.entries(OWNER))
        facts["broken_personas"] = [str(error) for error in service.catalog.broken()]
    _print(facts, as_json)


@cli.command()
def prompt(
    persona: Annotated[str, typer.Option(help="The persona's slug.")],
    messages: Annotated[
        Path, typer.Option(help="JSON list of {role, content}; - is standard input.")
    ],
) -> None:
    """Print the assembled prompt as JSON: text, token ids, lore, dropped messages."""
    history = _messages(messages)
    with _running() as service:
        speaker = service.catalog.entry(OWNER, persona).persona
        engine = _engine(service)
        built = build(
            speaker,
            (HistoryItem(i, message) for i, message in reversed(list(enumerate(history)))),
            user=speaker.user_name,
            budget=prompt_budget(engine, speaker.sampling),
            count=engine.count_tokens,
            seed=speaker.sampling.seed or 0,
            now=datetime.now().astimezone(),
            tools=TOOLBOX.chosen(speaker.tools),
        )
        _print(
            {
                "text": text_of(built.pieces),
                "token_ids": engine.token_ids(built.pieces),
                "lore": [asdict(decision) for decision in built.lore],
                "dropped": built.dropped,
            },
            as_json=True,
        )


@persona_cli.command("list")
def persona_list(as_json: JsonFlag = False) -> None:
    """List the personas, broken files included."""
    with _service() as service:
        rows = [
            {
                "slug": each.slug,
                "name": each.persona.name,
                "origin": each.origin,
                "digest": each.digest,
            }
            for each in service.catalog.entries(OWNER)
        ]
        broken = service.catalog.broken()
    _print_rows(rows, as_json)
    for error in broken:
        print(f"hermes-ui: {error}", file=sys.stderr)


@persona_cli.command("show")
def persona_show(slug: str, as_json: JsonFlag = False) -> None:
    """Print a persona's YAML."""
    with _service() as service:
        entry = service.catalog.entry(OWNER, slug)
    if as_json:
        _print(entry.persona.model_dump(mode="json") | {"digest": entry.digest}, as_json)
    else:
        print(entry.text, end="" if entry.text.endswith("\n") else "\n")


@persona_cli.command("check")
def persona_check(files: list[Path]) -> None:
    """Check persona files; every problem is one line."""
    found = [
        f"{file}, line {each.line}, {each.where}: {each.why}"
        if each.line and each.field
        else f"{file}, {each.where}: {each.why}"
        for file in files
        for each in problems(_read(file))
    ]
    for line in found:
        print(line, file=sys.stderr)
    if found:
        raise typer.Exit(1)
    print(f"{len(files)} of {len(files)} good")


@conversation_cli.command("list")
def conversation_list(
    as_json: JsonFlag = False, limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50
) -> None:
    """List conversations, newest first."""
    with _service() as service:
        rows = [
            {
                "id": each.id,
                "title": each.title,
                "persona": each.persona_slug,
                "updated": each.updated_at.isoformat(timespec="seconds"),
            }
            for each in service.store.conversations(OWNER, limit=limit)
        ]
    _print_rows(rows, as_json)


@conversation_cli.command("show")
def conversation_show(conversation_id: str, as_json: JsonFlag = False) -> None:
    """Print the current branch of a conversation."""
    with _service() as service:
        conversation = service.store.conversation(OWNER, conversation_id)
        leaf = conversation.leaf_id
        path = service.store.path(OWNER, leaf) if leaf else []
        name = service.persona_of(OWNER, conversation).display_name
    if as_json:
        _print([asdict(row) for row in path], as_json)
    else:
        for row in path:
            print(f"{name if row.role == 'assistant' else row.role}: {row.content}\n")


@conversation_cli.command("export")
def conversation_export(
    conversation_id: str,
    to: Annotated[str, typer.Option(help="markdown or json")],
    out: OutOption,
) -> None:
    """Write a conversation to a file."""
    with _service() as service:
        conversation = service.store.conversation(OWNER, conversation_id)
        name = service.persona_of(OWNER, conversation).display_name
        text = export(service.store, OWNER, conversation_id, to, assistant=name)
    _write(out, text)


@conversation_cli.command("replay")
def conversation_replay(
    conversation_id: str,
    speed: Annotated[float, typer.Option(min=0.1, help="2 plays twice as fast.")] = 1.0,
) -> None:
    """Play a conversation back at the speed at which it was said."""
    with _service() as service:
        shown = 0
        for played in play(OWNER, service.store, conversation_id, speed=speed):
            if not shown:
                print(f"{played.message.role}: ", end="")
            print(played.text[shown:], end="", flush=True)
            shown = len(played.text)
            if played.done:
                print("\n")
                shown = 0


@model_cli.command("list")
def model_list(as_json: JsonFlag = False) -> None:
    """List the models that are on this machine; the one in use is marked."""
    used: Path | None = None
    try:
        used = choose(Settings.from_env().model, models_dir=ROOT / "models").where
    except ModelError as error:  # the others are still worth knowing
        print(error, file=sys.stderr)
    rows = [
        {"model": each.model_id, "where": str(each.where), "used": each.where == used}
        for each in installed(models_dir=ROOT / "models")
    ]
    _print_rows(rows, as_json)


@model_cli.command("download")
def model_download(hub_id: str) -> None:
    """Get a model from the hub. Interrupt it to stop; run it again to go on."""

    def show(done: int, total: int) -> None:
        print(f"\r{done / 1e9:.2f} of {total / 1e9:.2f} GB", end="", file=sys.stderr, flush=True)

    download(hub_id, show, threading.Event())
    print(f"\n{choose(hub_id, models_dir=ROOT / 'models').where}")


@model_cli.command("use")
def model_use(model_id: str) -> None:
    """Remember a model in `.env`, for the next start."""
    choice = choose(model_id, models_dir=ROOT / "models")
    remember("MODEL", model_id)
    print(f"{choice.model_id}: {choice.why}")


@contextmanager
def _service(settings: Settings | None = None) -> Iterator[ChatService]:
    """The rooms without a running model."""
    service = create_chat(settings or Settings.from_env())
    try:
        yield service
    finally:
        service.store.close()


@contextmanager
def _running(**given: object) -> Iterator[ChatService]:
    """The rooms with the model loading and replies possible."""
    with _service(Settings.from_env(**given)) as service:
        service.host.start()
        service.runs.open()
        try:
            yield service
        finally:
            service.runs.close()
            service.host.close()


def _engine(service: ChatService) -> Engine:
    while True:
        try:
            return service.host.engine(timeout_s=1.0)
        except EngineNotReady:
            continue


def _messages(path: Path) -> list[Message]:
    try:
        return TypeAdapter(list[Message]).validate_json(_read(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise SettingsError(f"{path}: {where}: {first['msg']}") from None


def _read(path: Path) -> str:
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise SettingsError(f"{path}: {reason}") from None


def _write(path: Path, text: str) -> None:
    if str(path) == "-":
        print(text)
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None


def _print(value: Any, as_json: bool) -> None:
    if as_json:
        print(json.dumps(value, ensure_ascii=False, indent=2, default=str))
    else:
        for key, each in value.items():
            print(f"{key}: {each}")


def _print_rows(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        _print(rows, as_json)
    else:
        for row in rows:
            print("  ".join(str(value) for value in row.values()))
