"""The house rule: import only from your left; storage imports nobody of ours."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

VALUES = {"messages", "errors", "params"}
PROMPT = VALUES | {"toolbox", "personas", "prompt"}
SERVICES = PROMPT | {"generation", "storage", "catalog", "reply", "runs", "chat", "replay"}
EDGES = {"ui", "api", "cli", "config"}

# room → the rooms of ours that it may import beside itself
MAY_IMPORT = {
    "messages": set(),
    "errors": set(),
    "params": set(),
    "config": VALUES,
    "toolbox": VALUES,
    "personas": VALUES,
    "prompt": VALUES | {"toolbox", "personas"},
    "generation": VALUES | {"prompt"},
    "storage": set(),
    "catalog": VALUES | {"personas", "storage"},
    "reply": SERVICES - {"runs", "chat", "replay"},
    "runs": SERVICES - {"chat", "replay"},
    "chat": SERVICES - {"replay"},
    "replay": SERVICES - {"chat"},
    "ui": SERVICES,
    "api": SERVICES - {"personas"},
    "cli": SERVICES | EDGES | {"app"},
    "__main__": {"cli"},
    "app": SERVICES | EDGES,
}

# third-party package → the rooms that may import it
WALLS = {
    "yaml": {"personas"},
    "PIL": {"personas"},
    "torch": {"generation"},
    "transformers": {"generation"},
    "tokenizers": {"generation"},
    "huggingface_hub": {"generation"},
    "llguidance": {"generation"},
    "numba": {"generation"},
    "llvmlite": {"generation"},
    "numpy": {"generation"},
    "openai": {"generation"},
    "sqlalchemy": {"storage"},
    "alembic": {"storage"},
    "psycopg": {"storage"},
    "gradio": {"ui", "app"},
    "fastapi": {"api", "app"},
    "starlette": {"api", "app"},
    "uvicorn": {"app"},
    "typer": {"cli"},
    "markdown_it": {"ui"},
    "pydantic_settings": {"config"},
}


def files_of(room: str) -> list[Path]:
    base = ROOT / room if room in ("storage", "app") else ROOT / "hermes_ui" / room
    return sorted(base.rglob("*.py")) if base.is_dir() else [base.with_suffix(".py")]


def modules_imported_by(path: Path) -> Iterator[str]:
    """Dotted names of every import, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_imported_by(path: Path) -> Iterator[str]:
    for name in modules_imported_by(path):
        first, *rest = name.split(".")
        if first == "hermes_ui" and rest:
            yield rest[0]
        elif first in ("storage", "app"):
            yield first


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_room_imports_only_from_upstream(room: str) -> None:
    for path in files_of(room):
        strangers = set(rooms_imported_by(path)) - MAY_IMPORT[room] - {room, "__version__"}

        assert not strangers, f"{path.relative_to(ROOT)} reaches for {sorted(strangers)}"


@pytest.mark.parametrize("package", WALLS)
def test_package_stays_behind_its_wall(package: str) -> None:
    for room in MAY_IMPORT.keys() - WALLS[package]:
        for path in files_of(room):
            imported = {name.split(".")[0] for name in modules_imported_by(path)}

            assert package not in imported, f"{path.relative_to(ROOT)} imports {package}"


def test_only_config_reads_the_environment() -> None:
    for room in MAY_IMPORT.keys() - {"config"}:
        for path in files_of(room):
            source = path.read_text()

            assert "os.environ" not in source, path
            assert "getenv" not in source, path


def test_every_module_belongs_to_a_room() -> None:
    rooms = {path.stem for path in (ROOT / "hermes_ui").iterdir() if path.name != "__pycache__"}

    assert rooms - {"__init__"} <= MAY_IMPORT.keys()
