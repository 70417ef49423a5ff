"""The form's fields, read from the models: labels, help, ranges and kinds have one home.

A field has a value in the persona ("stored") and one in its control ("shown"). `show`
and `read` translate between the two; what they cannot translate, they refuse.
"""

import json
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hermes_ui.params import SamplingParams
from hermes_ui.personas.persona import Lorebook, LoreEntry, Persona
from hermes_ui.personas.yaml_io import json_value
from hermes_ui.ui import persona_words as words

Kind = Literal["line", "text", "list", "lines", "flag", "number", "knob", "choice", "json", "tools"]
Path = tuple[str | int, ...]

COMMA_LISTS = ("tags",)
TEXTS = ("line", "text", "list", "lines", "tools")  # stored as text, not as JSON means it
ENTRY, SAMPLING, GREETING, LOREBOOK = "entry", "sampling", "alternate", "lorebook"


@dataclass(frozen=True, slots=True)
class Field:
    """One control of the form.

    `name` is unique in the form; `path` leads to the value inside the persona's mapping,
    from the entry for fields of a lore entry.
    """

    name: str
    path: Path
    kind: Kind
    label: str
    help: str
    default: Any
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    step: float | None = None

    def show(self, stored: Any) -> Any:
        """What the control shows for a stored value.

        Raises:
            ValueError: the value is of a kind that this control cannot show.
        """
        if self.kind not in TEXTS:
            stored = json_value(stored)
        if stored is None:
            stored = self.default
        return SHOW[self.kind](self, stored)

    def read(self, shown: Any) -> Any:
        """What is stored for the content of the control; None takes the field away.

        Raises:
            ValueError: the content means nothing yet; the text is one readable line.
        """
        said = READ[self.kind](shown)
        return None if said in ("", [], {}, None) or said == self.default else said

    def holds(self, shown: Any, stored: Any) -> bool:
        """Whether the control already says what is stored, in whatever spelling."""
        try:
            said = self.read(shown)
        except ValueError:
            return False
        if self.kind not in TEXTS:
            stored = json_value(stored)
        return bool(_normal(said, self.default) == _normal(stored, self.default))


def persona_fields() -> dict[str, Field]:
    """Every field of a persona that has a control of its own, in the model's order."""
    apart = {"lorebook", "sampling", "alternate_greetings", "extensions", "avatar"}
    return {
        name: _field(name, (name,), info)
        for name, info in Persona.model_fields.items()
        if name not in apart
    }


def sampling_fields() -> dict[str, Field]:
    """One field for each sampling parameter, named `sampling.temperature` and so on."""
    return {
        f"{SAMPLING}.{name}": _field(f"{SAMPLING}.{name}", (SAMPLING, name), info)
        for name, info in SamplingParams.model_fields.items()
    }


def lorebook_fields() -> dict[str, Field]:
    """The lorebook's own settings, named `lorebook.scan_depth` and so on."""
    return {
        f"{LOREBOOK}.{name}": _field(f"{LOREBOOK}.{name}", (LOREBOOK, name), info)
        for name, info in Lorebook.model_fields.items()
        if name not in ("entries", "extensions")
    }


def entry_fields() -> dict[str, Field]:
    """One field for each part of a lore entry, named `entry.keys` and so on."""
    return {
        f"{ENTRY}.{name}": _field(f"{ENTRY}.{name}", (name,), info)
        for name, info in LoreEntry.model_fields.items()
        if name not in ("extensions", "id")
    }


def _field(name: str, path: Path, info: FieldInfo) -> Field:
    annotation = _bare(info.annotation)
    low = high = None
    for mark in info.metadata:
        low = getattr(mark, "ge", low)
        high = getattr(mark, "le", high)
    extra = info.json_schema_extra
    step = extra.get("step") if isinstance(extra, dict) else None
    leaf = str(path[-1])
    return Field(
        name=name,
        path=path,
        kind=_kind(leaf, annotation, step=step),
        label=info.title or words.LABELS.get(name) or leaf.replace("_", " ").capitalize(),
        help=info.description or "",
        default=None if info.is_required() else _plain(info.get_default(call_default_factory=True)),
        choices=_choices(annotation),
        low=low,
        high=high,
        step=step,  # type: ignore[arg-type]
    )


def _kind(leaf: str, annotation: Any, *, step: Any) -> Kind:
    origin = get_origin(annotation)
    of_parts = origin is dict or (origin is tuple and _is_part(get_args(annotation)[0]))
    kind: Kind = "line" if leaf in words.ONE_LINE else "text"
    if leaf == "tools":
        kind = "tools"
    elif of_parts:
        kind = "json"
    elif origin is tuple:
        kind = "list" if leaf in COMMA_LISTS else "lines"
    elif origin is Literal:
        kind = "choice"
    elif annotation is bool:
        kind = "flag"
    elif annotation in (int, float):
        kind = "number" if step is None else "knob"
    return kind


def _is_part(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _choices(annotation: Any) -> tuple[str, ...]:
    is_closed = get_origin(annotation) is Literal
    return tuple(str(each) for each in get_args(annotation)) if is_closed else ()


def _bare(annotation: Any) -> Any:
    """The annotation without `Annotated` and `| None`."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [each for each in get_args(annotation) if each is not type(None)]
        if len(rest) == 1:
            return _bare(rest[0])
    return annotation


def _plain(value: Any) -> Any:
    """A default as YAML would give it."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value


def _normal(value: Any, default: Any) -> Any:
    """The value that two spellings of the same thing share."""
    if value is None or value in ("", [], {}):
        value = default
    if value in ("", [], {}, False):
        return None
    return _plain(value)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return str(value)
    raise ValueError(words.NOT_A_TEXT)


def _sequence(value: Any) -> Iterable[Any]:
    if isinstance(value, list | None):
        return value or []
    raise ValueError(words.NOT_A_LIST)


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError(words.NOT_A_FLAG)


def _choice(field: Field, value: Any) -> str:
    if value in field.choices:
        return str(value)
    raise ValueError(words.NOT_A_CHOICE)


def _number(field: Field, value: Any) -> float | int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(words.NOT_A_NUMBER)
    if field.kind == "knob" and not (field.low or 0) <= value <= (field.high or value):
        raise ValueError(words.NOT_A_NUMBER)
    return value


def _read_number(shown: Any) -> float | int | None:
    if shown is None or shown == "":
        return None
    try:
        number = float(shown)
    except (TypeError, ValueError):
        raise ValueError(words.NOT_A_NUMBER) from None
    return int(number) if number.is_integer() else number


def _read_json(shown: Any) -> Any:
    if not (shown or "").strip():
        return None
    try:
        return json.loads(shown)
    except json.JSONDecodeError as error:
        raise ValueError(
            words.NOT_JSON.format(line=error.lineno, column=error.colno, why=error.msg.lower())
        ) from None


def _escaped(line: str) -> str:
    return line.replace("\\", "\\\\").replace("\n", "\\n")


def _unescaped(line: str) -> str:
    return line.replace("\\\\", "\0").replace("\\n", "\n").replace("\0", "\\")


SHOW: dict[Kind, Callable[[Field, Any], Any]] = {
    "line": lambda _, stored: _text(stored),
    "text": lambda _, stored: _text(stored),
    "list": lambda _, stored: ", ".join(_text(each) for each in _sequence(stored)),
    "lines": lambda _, stored: "\n".join(_escaped(_text(each)) for each in _sequence(stored)),
    "tools": lambda _, stored: [_text(each) for each in _sequence(stored)],
    "json": lambda _, stored: json.dumps(stored, indent=2, ensure_ascii=False) if stored else "",
    "flag": lambda _, stored: _flag(stored),
    "choice": _choice,
    "number": _number,
    "knob": _number,
}
READ: dict[Kind, Callable[[Any], Any]] = {
    "line": lambda shown: shown or "",
    "text": lambda shown: shown or "",
    "list": lambda shown: [each.strip() for each in (shown or "").split(",") if each.strip()],
    "lines": lambda shown: [_unescaped(each) for each in (shown or "").splitlines() if each],
    "tools": lambda shown: shown or [],
    "json": _read_json,
    "flag": bool,
    "choice": lambda shown: shown,
    "number": _read_number,
    "knob": _read_number,
}
