"""`Persona`: who speaks, as a frozen value and as YAML.

The field descriptions are read by the editor's form and by the documentation. A persona
has one YAML form (`dump`), and `parse(dump(persona)) == persona` whatever its texts hold.
"""

import hashlib
import json
import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from hermes_ui.errors import PersonaError
from hermes_ui.params import SamplingParams
from hermes_ui.personas.faults import problem
from hermes_ui.personas.meaning import meant
from hermes_ui.personas.writing import write
from hermes_ui.personas.yaml_io import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_NODES,
    MAX_PROBLEMS,
    Problem,
    read,
)

__all__ = [
    "LoreEntry",
    "Lorebook",
    "Persona",
    "PersonaTest",
    "Problem",
    "digest",
    "dump",
    "parse",
    "problems",
]

LONG = 65_536  # characters of one long text
AVATAR_BYTES = 512 * 1024
JSON_DEPTH = 20
JSON_DIGITS = 300
LANGUAGE = r"^(?:[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*)?$"
PICTURE_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}\.(?:png|webp|jpg|jpeg)")
PICTURE_URL = re.compile(r"data:image/(?:png|webp|jpeg);base64,[A-Za-z0-9+/]+={0,2}")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

SURROGATE = re.compile("[\ud800-\udfff]")


def _tidy(text: str) -> str:
    """Line breaks as \\n; control characters refused."""
    bad = CONTROL.search(text)
    if bad is not None:
        raise PydanticCustomError(
            "control", "holds the control character U+{code}", {"code": f"{ord(bad.group()):04X}"}
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _one_line(text: str) -> str:
    if len(text.splitlines()) > 1 or "\t" in text:
        raise PydanticCustomError("one_line", "must be one line")
    return text


def _picture(text: str) -> str:
    if text and not PICTURE_FILE.fullmatch(text) and not PICTURE_URL.fullmatch(text):
        raise PydanticCustomError(
            "avatar", "must be the name of a picture in personas/avatars, or a data:image URL"
        )
    return text


def _json_object(value: dict[str, Any]) -> dict[str, Any]:
    return {_json_text(key): _json_value(each, 1) for key, each in value.items()}


def _json_value(value: Any, depth: int) -> Any:
    """A copy of `value`, if it is JSON of reasonable size."""
    if depth > JSON_DEPTH:
        raise PydanticCustomError("json_depth", "is nested too deeply")
    match value:
        case None | bool():
            return value
        case str():
            return _json_text(value)
        case int() if abs(value) < 10**JSON_DIGITS:
            return value
        case float() if value - value == 0:  # neither infinite nor NaN
            return value
        case list() | tuple():
            return [_json_value(each, depth + 1) for each in value]
        case dict():
            return {_json_text(key): _json_value(each, depth + 1) for key, each in value.items()}
    raise PydanticCustomError("json", "must be JSON: texts, finite numbers, lists and objects")


def _json_text(text: Any) -> str:
    if not isinstance(text, str) or SURROGATE.search(text):
        raise PydanticCustomError("json", "must be JSON with whole Unicode texts")
    return text


Text = Annotated[str, StringConstraints(max_length=LONG), AfterValidator(_tidy)]
Line = Annotated[
    str, StringConstraints(max_length=200), AfterValidator(_tidy), AfterValidator(_one_line)
]
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=80),
    AfterValidator(_tidy),
    AfterValidator(_one_line),
]
Nickname = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=80),
    AfterValidator(_tidy),
    AfterValidator(_one_line),
]
Key = Annotated[str, StringConstraints(max_length=1000), AfterValidator(_tidy)]
Language = Annotated[str, StringConstraints(pattern=LANGUAGE, max_length=60)]
ToolName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$")]
Picture = Annotated[
    str, StringConstraints(max_length=AVATAR_BYTES * 4 // 3 + 40), AfterValidator(_picture)
]
JsonObject = Annotated[dict[str, Any], AfterValidator(_json_object)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class LoreEntry(_Frozen):
    """A piece of knowledge that speaks up when one of its keys is mentioned."""

    keys: tuple[Key, ...] = Field(
        (), max_length=200, description="Words that call the entry; one of them is enough."
    )
    content: Text = Field("", description="What the model is told then.")
    secondary_keys: tuple[Key, ...] = Field(
        (), max_length=200, description="With `selective`: one of these must be mentioned too."
    )
    selective: bool = Field(False, description="Ask for a secondary key as well.")
    constant: bool = Field(False, description="Always told, within the budget.")
    use_regex: bool = Field(False, description="The keys are patterns such as /tide(s)?/i.")
    case_sensitive: bool = Field(False, description="Capitals in keys must match.")
    enabled: bool = Field(True, description="Off: the entry stays silent.")
    insertion_order: int = Field(
        100, ge=-(10**9), le=10**9, description="Lower stands higher in the prompt."
    )
    priority: int = Field(
        10, ge=-(10**9), le=10**9, description="Lower is dropped first when the budget is short."
    )
    position: Literal["before_char", "after_char"] = Field(
        "before_char", description="Before or after the persona's description."
    )
    name: Key = Field("", description="A name for the entry; the model does not see it.")
    comment: Text = Field("", description="A note about the entry; the model does not see it.")
    id: int | Key | None = Field(None, description="The entry's id in the program it came from.")
    extensions: JsonObject = Field({}, description="Data of other programs, kept untouched.")


class Lorebook(_Frozen):
    """What a persona knows of its world, told piece by piece when it matters."""

    name: Key = Field("", description="A name for the lorebook; the model does not see it.")
    description: Text = Field("", description="About the lorebook; the model does not see it.")
    scan_depth: int | None = Field(
        None, ge=0, le=1000, description="How many of the newest messages are searched for keys."
    )
    token_budget: int | None = Field(
        None, ge=0, le=131_072, description="Tokens that lore may take in the prompt."
    )
    recursive_scanning: bool = Field(False, description="Entries may call further entries.")
    entries: tuple[LoreEntry, ...] = Field(
        (), max_length=2000, description="The lore entries, in order."
    )
    extensions: JsonObject = Field({}, description="Data of other programs, kept untouched.")


class PersonaTest(_Frozen):
    """One question to the persona and what its answer must or must not hold."""

    say: Annotated[Text, StringConstraints(min_length=1)] = Field(
        description="What the user says to the persona, after its greeting."
    )
    expect_any: tuple[Key, ...] = Field(
        (), max_length=50, description="The reply holds at least one of these, in any case."
    )
    expect_all: tuple[Key, ...] = Field(
        (), max_length=50, description="The reply holds all of these, in any case."
    )
    expect_none: tuple[Key, ...] = Field(
        (), max_length=50, description="The reply holds none of these, in any case."
    )


class Persona(_Frozen):
    """Who speaks. `{{char}}` and `{{user}}` stand for the two names in every text."""

    name: Name = Field(description="The persona's name, as the gallery shows it.")
    nickname: Nickname = Field("", description="What {{char}} is instead of the name.")
    description: Text = Field("", description="Who the persona is: trade, place, looks, history.")
    personality: Text = Field("", description="How the persona behaves and speaks.")
    scenario: Text = Field("", description="Where the two meet, and why.")
    system_prompt: Text = Field(
        "", description="Replaces the app's own instruction; {{original}} stands for that one."
    )
    post_history_instructions: Text = Field(
        "", description="An instruction placed after the conversation, just before the reply."
    )
    greeting: Text = Field("", description="The first message. Empty: the user speaks first.")
    alternate_greetings: tuple[Text, ...] = Field(
        (), max_length=100, description="Other first messages to swipe to."
    )
    group_only_greetings: tuple[Text, ...] = Field(
        (), max_length=100, description="First messages for conversations of several personas."
    )
    examples: Text = Field(
        "",
        description="Sample dialogue: blocks that begin with <START>, in them lines that begin "
        "with {{user}}: or {{char}}:",
    )
    user_name: Name = Field("User", description="What {{user}} is until the user says a name.")
    creator_notes: Text = Field("", description="A line for people; the model does not see it.")
    creator_notes_multilingual: dict[Language, Text] = Field(
        {}, description="The same line in other languages, by language code."
    )
    creator: Line = Field("", description="Who wrote the persona.")
    version: Line = Field("", description="The creator's own version mark.")
    tags: tuple[Name, ...] = Field((), max_length=100, description="Words to find the persona by.")
    source: tuple[Key, ...] = Field(
        (), max_length=100, description="Where the persona came from: ids or addresses."
    )
    language: Language = Field("", description="The language it speaks, such as en or pt-BR.")
    lorebook: Lorebook | None = Field(None, description="What it knows of its world.")
    sampling: SamplingParams = Field(
        SamplingParams(), description="How its replies are drawn; only what differs is set."
    )
    tools: tuple[ToolName, ...] = Field(
        (), max_length=32, description="Functions of the toolbox that it may call."
    )
    response_format: JsonObject | None = Field(
        None, description="A JSON schema that its replies are asked to follow."
    )
    avatar: Picture = Field(
        "", description="A picture: a file name in the avatars folder, or a data:image URL."
    )
    tests: tuple[PersonaTest, ...] = Field(
        (), max_length=100, description="Questions to ask it, and what the answers must hold."
    )
    extensions: JsonObject = Field({}, description="Data of other programs, kept untouched.")

    @property
    def display_name(self) -> str:
        """What {{char}} is: the nickname, or else the name."""
        return self.nickname or self.name

    @model_validator(mode="after")
    def _can_be_written(self) -> Self:
        """Whatever is a persona can be dumped and read again."""
        fields = _fields(self)
        nodes, depth = _measure(fields)
        if nodes > MAX_NODES or depth > MAX_DEPTH:
            raise PydanticCustomError("size", "the persona holds too many or too nested values")
        if len(write(fields).encode()) > MAX_BYTES:
            raise PydanticCustomError("size", f"the persona is larger than {MAX_BYTES // 1024} KiB")
        return self


def parse(text: str, where: str) -> Persona:
    """The persona that `text`, YAML, describes. `where` names the text in errors.

    Raises:
        PersonaError: the first thing that is wrong, with its line or field.
    """
    persona, found = _parsed(text)
    if found:
        first = found[0]
        raise PersonaError(
            where if first.where == "the text" else f"{where}, {first.where}", first.why
        )
    assert persona is not None
    return persona


def problems(text: str) -> list[Problem]:
    """Everything that keeps `text` from being a persona, in the order of its lines."""
    return _parsed(text)[1]


def dump(persona: Persona) -> str:
    """The persona as YAML: what differs from the defaults, always in the same order."""
    return write(_fields(persona))


def digest(persona: Persona) -> str:
    """The persona's content as 64 hex digits; defaults and the order of keys do not count."""
    canonical = json.dumps(
        _whole(_fields(persona)), sort_keys=True, ensure_ascii=False, separators=(",", ":")
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def _parsed(text: str) -> tuple[Persona | None, list[Problem]]:
    document, found = read(text)
    if document is None:
        return None, found
    persona = None
    try:
        persona = Persona.model_validate(meant(document.data, Persona))
    except ValidationError as error:
        found += [problem(each, document, Persona) for each in error.errors(include_url=False)]
    found.sort(key=lambda each: each.line or 0)
    return persona, found[:MAX_PROBLEMS]


def _fields(persona: Persona) -> dict[str, Any]:
    """The fields that differ from their defaults, in the model's order.

    Of the sampling parameters those that were set count, so that a default that changes
    one day does not change the persona.
    """
    fields = persona.model_dump(exclude_defaults=True, exclude={"sampling"})
    fields["sampling"] = persona.sampling.model_dump(exclude_unset=True)
    if not fields["sampling"]:
        del fields["sampling"]
    return {name: fields[name] for name in Persona.model_fields if name in fields}


def _measure(value: Any) -> tuple[int, int]:
    """How many YAML nodes `value` has, and how deep it is."""
    if isinstance(value, dict):
        sizes = [_measure(each) for each in value.values()]
        nodes = 1 + len(sizes)
    elif isinstance(value, list | tuple):
        sizes = [_measure(each) for each in value]
        nodes = 1
    else:
        return 1, 1
    return nodes + sum(size for size, _ in sizes), 1 + max((deep for _, deep in sizes), default=0)


def _whole(value: Any) -> Any:
    """`value` with 2.0 as 2, so that equal numbers are written alike."""
    if isinstance(value, dict):
        return {key: _whole(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
