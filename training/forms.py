"""JSON forms in training: a flat schema, a text that gives its values away, the filled form."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hermes_ui.prompt.tools import json_mode_text
from training.dialogue import Talk, Turn
from training.grammar import expand, load, pick
from training.values import drawn
from training.world import Inventor, in_split

MOST_FIELDS = 6
APART = {"name", "first_name"}  # nobody can tell whose name is whose where both are told
FREE_SHARE = 0.25  # of the fields bear a name that only the text explains
YES_NO_SHARE = 0.15  # of the fields at least are yes or no, which are the hardest to tell


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form; `rules` as in forms.yaml, None where the text says its name."""

    key: str
    type: str
    value: str
    rules: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """Fields in the order of the schema."""

    fields: tuple[Field, ...]
    schema: Mapping[str, Any]


def draw_form(inventor: Inventor, least: int = 1) -> Form:
    """A form whose set of fields belongs to the inventor's split, of `least` fields or more.

    Fewer are left where a field was drawn twice.
    """
    rng = inventor.rng
    while True:
        fields = {field.key: field for field in (
            _field(inventor) for _ in range(rng.randint(least, MOST_FIELDS))
        )}  # fmt: skip
        if not fields.keys() >= APART and in_split(",".join(sorted(fields)), inventor.split):
            break
    order = list(fields.values())
    return Form(tuple(order), _schema(order, inventor))


def ask_for(talk: Talk, form: Form, *, alone: bool) -> None:
    """Add the form's schema to the system turn of `talk`, or make it all of it."""
    told = json_mode_text(form.schema)
    talk.turns[0].text = told if alone else f"{talk.turns[0].text}\n\n{told}"


def fill(talk: Talk, form: Form) -> dict[str, Any]:
    """A text of the user's and the form filled from it."""
    rng, inventor = talk.rng, talk.inventor
    values = {field.key: _value(field, inventor) for field in form.fields}
    lines = [_line(field, values[field.key], inventor) for field in form.fields]
    lines += [rng.choice(load("forms")["chatter"]) for _ in range(rng.choice((0, 0, 1, 2)))]
    if rng.random() < 0.3:
        lines += _aside(form, inventor)
    rng.shuffle(lines)
    talk.turns.append(Turn("user", rng.choice((" ", " ", " ", "\n")).join(lines)))
    talk.turns.append(Turn("assistant", json.dumps(values, ensure_ascii=False), learned=1.0))
    return values


def _field(inventor: Inventor) -> Field:
    rng = inventor.rng
    if rng.random() < FREE_SHARE:
        kind = rng.choice(("colour", "number", "invented", "first_name", "material"))
        key = inventor.word("things")
        return Field(key, "integer" if kind == "number" else "string", kind)
    fields = load("forms")["fields"]
    keys = list(fields)
    if rng.random() < YES_NO_SHARE:
        keys = [key for key in keys if fields[key]["type"] == "boolean"]
    key = rng.choice(keys)
    rules = fields[key]
    return Field(key, rules["type"], rules.get("value", ""), rules)


def _value(field: Field, inventor: Inventor) -> Any:
    if field.type == "boolean":
        return inventor.rng.random() < 0.5
    if field.rules and "enum" in field.rules:
        return inventor.rng.choice(field.rules["enum"])
    return drawn(field.value, inventor)


def _line(field: Field, value: Any, inventor: Inventor) -> str:
    """A sentence that says `value`."""
    rng = inventor.rng
    if field.rules is None:
        words = {"key": field.key, "value": str(value)}
        return str(pick(load("forms")["free"], words, rng))
    if field.type == "boolean":
        return str(rng.choice(field.rules[str(value).lower()]))
    known = {field.key: str(value), "tellsof": rng.choice(load("forms")["tellsof"])}
    text = expand(rng.choice(field.rules["says"]), known, rng)
    assert text is not None, field.key
    return text[:1].upper() + text[1:]


def _aside(form: Form, inventor: Inventor) -> list[str]:
    """Something that no field asks for."""
    asked, taken = {field.key for field in form.fields}, {field.value for field in form.fields}
    while True:
        field = _field(inventor)
        is_clear = not asked | {field.key} >= APART
        if is_clear and field.key not in asked and field.value not in taken:
            return [_line(field, _value(field, inventor), inventor)]


def _schema(fields: Sequence[Field], inventor: Inventor) -> dict[str, Any]:
    """In one of the shapes that programs and pydantic write."""
    rng = inventor.rng
    shape = rng.choice(("plain", "strict", "pydantic", "described"))
    properties: dict[str, dict[str, Any]] = {}
    for field in fields:
        shown: dict[str, Any] = {"type": field.type}
        if field.rules and "enum" in field.rules:
            shown["enum"] = field.rules["enum"]
        label = field.key.replace("_", " ")
        if shape == "pydantic":
            shown = {"title": label.title(), **shown}
        if shape == "described":
            shown["description"] = pick(load("forms")["abouts"], {"key": label}, rng)
        properties[field.key] = shown
    required = [field.key for field in fields]
    if shape == "pydantic":
        title = rng.choice(load("forms")["titles"])
        return {
            "properties": properties, "required": required, "title": title, "type": "object",
        }  # fmt: skip
    schema = {"type": "object", "properties": properties, "required": required}
    return {**schema, "additionalProperties": False} if shape == "strict" else schema
