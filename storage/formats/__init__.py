"""Conversations as files: one module a format."""

from collections.abc import Callable

from storage.errors import BadExport
from storage.formats.json_file import export_json, import_json
from storage.formats.markdown import export_markdown
from storage.store import Store

__all__ = ["FORMATS", "export", "export_json", "export_markdown", "import_json"]

# name → (file ending, exporter)
FORMATS: dict[str, tuple[str, Callable[[Store, str, str, str], str]]] = {
    "markdown": ("md", export_markdown),
    "json": ("json", export_json),
}


def export(
    store: Store, owner: str, conversation_id: str, to: str, *, assistant: str = "assistant"
) -> str:
    """The conversation in the format `to`.

    Args:
        assistant: What formats for people call the persona.

    Raises:
        BadExport: there is no such format.
    """
    if to not in FORMATS:
        raise BadExport(f"{to!r} is not a format; there are {', '.join(FORMATS)}")
    _, exporter = FORMATS[to]
    return exporter(store, owner, conversation_id, assistant)
