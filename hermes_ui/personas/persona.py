"""A persona: everything about who speaks, as one frozen value, and its YAML.

Field names and rules follow Character Card V3 (https://github.com/kwaroran/character-card-spec-v3).
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from hermes_ui.errors import PersonaError
from hermes_ui.params import SamplingParams
from hermes_ui.personas import yaml_io

LongText = Annotated[str, StringConstraints(max_length=40_000)]
Line = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\r\n]*$")]
Name = Annotated[
    str, StringConstraints(min_length=1, max_length=80, pattern=r"^[^\r\n]*\S[^\r\n]*$")
]
Texts = tuple[LongText, ...]
Json = Annotated[dict[str, Any], BeforeValidator(yaml_io.json_value)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class LoreEntry(_Part):
    """One piece of knowledge that speaks up when its keys are mentioned."""

    keys: tuple[Line, ...] = Field((), description="The entry is used when one of these is said.")
    content: LongText = Field("", description="What the model is told then.")
    secondary_keys: tuple[Line, ...] = Field(
        (), description="With `selective`: one of these must be said too."
    )
    selective: bool = Field(False, description="Ask for a secondary key beside a key.")
    constant: bool = Field(False, description="Always used, as far as the budget allows.")
    use_regex: bool = Field(False, description="Keys are patterns, written /pattern/flags.")
    case_sensitive: bool = Field(False, description="Keys must match in upper and lower case.")
    enabled: bool = Field(True, description="Off: never used.")
    insertion_order: int = Field(100, description="Lower stands higher in the prompt.")
    priority: int = Field(10, description="Lower is dropped first when the budget is short.")
    position: Literal["before_char", "after_char"] = Field(
        "before_char", description="Before or after the description."
    )
    name: Line = Field("", description="For you; never in the prompt.")
    comment: LongText = Field("", description="For you; never in the prompt.")
    id: Annotated[int | Line | None, BeforeValidator(yaml_io.json_value)] = Field(
        None, description="The entry's id in the card that it came from."
    )
    extensions: Json = Field(default_factory=dict, description="Other programs' data, kept.")


class Lorebook(_Part):
    """Knowledge that enters the prompt only when it is needed."""

    name: Line = Field("", description="For you; never in the prompt.")
    description: LongText = Field("", description="For you; never in the prompt.")
    scan_depth: int | None = Field(
        None, ge=0, le=1000, description="Messages that are searched for keys."
    )
    token_budget: int | None = Field(
        None, ge=0, le=100_000, description="Tokens that all entries may have."
    )
    recursive_scanning: bool = Field(False, description="Entries may call further entries.")
    entries: tuple[LoreEntry, ...] = Field((), max_length=5_000, description="The entries.")
    extensions: Json = Field(default_factory=dict, description="Other programs' data, kept.")


class PersonaTest(_Part):
    """Something to say to the persona, and what its answer must hold."""

    say: LongText = Field(description="What the user says.")
    expect_any: tuple[Line, ...] = Field((), description="One of these must be in the answer.")
    expect_all: tuple[Line, ...] = Field((), description="All of these must be in the answer.")
    expect_none: tuple[Line, ...] = Field((), description="None of these may be in the answer.")


class Persona(_Part):
    """Who speaks. Only `name` is required."""

    name: Name = Field(description="What the persona is called.")
    nickname: Line = Field("", description="What {{char}} becomes; empty: the name.")
    avatar: str = Field("", max_length=700_000, description="The persona's picture.")
    tags: tuple[Line, ...] = Field(
        (), max_length=100, description="For finding it; never in the prompt."
    )
    description: LongText = Field("", description="Who the persona is: looks, history, manner.")
    personality: LongText = Field("", description="Its character in a line or two.")
    scenario: LongText = Field("", description="Where and when the talk takes place.")
    system_prompt: LongText = Field(
        "",
        description="Instructions instead of the default ones; {{original}} puts the default in.",
    )
    post_history_instructions: LongText = Field(
        "", description="Instructions after the newest message, where they weigh most."
    )
    greeting: LongText = Field("", description="The first message, said by the persona.")
    alternate_greetings: Texts = Field(
        (), max_length=100, description="Other first messages, offered as swipes."
    )
    group_only_greetings: Texts = Field(
        (), max_length=100, description="First messages for group chats."
    )
    examples: LongText = Field(
        "",
        description="Example dialogue: blocks after <START>, lines after {{user}}: or {{char}}:.",
    )
    user_name: Line = Field(
        "User", min_length=1, description="What {{user}} becomes when the user gives no name."
    )
    language: Line = Field("", description="The language it speaks, such as en or pt-BR.")
    lorebook: Lorebook | None = Field(
        None, description="Knowledge that enters the prompt when it is needed."
    )
    sampling: SamplingParams = Field(SamplingParams(), description="How its replies are drawn.")
    tools: tuple[Line, ...] = Field(
        (), max_length=50, description="Functions that it may call, such as roll_dice."
    )
    response_format: Json | None = Field(None, description="JSON schema that every reply follows.")
    tests: tuple[PersonaTest, ...] = Field(
        (), max_length=500, description="What to check when the persona changes."
    )
    creator: Line = Field("", description="Who wrote it.")
    creator_notes: LongText = Field("", description="What users should know; never in the prompt.")
    creator_notes_multilingual: dict[str, LongText] = Field(
        default_factory=dict, description="The notes in other languages, by language code."
    )
    version: Line = Field("", description="The author's own version number.")
    source: tuple[Line, ...] = Field(
        (), max_length=100, description="Where it comes from: ids or addresses."
    )
    extensions: Json = Field(default_factory=dict, description="Other programs' data, kept.")

    @property
    def display_name(self) -> str:
        """What {{char}} becomes and the page shows."""
        return self.nickname.strip() or self.name


def digest(persona: Persona) -> str:
    """SHA-256 in hex of the canonical JSON: equal personas have equal digests."""
    said = persona.model_dump(mode="json", exclude_defaults=True)
    said["sampling"] = persona.sampling.model_dump(mode="json", exclude_unset=True)
    text = json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a persona's YAML.

    `field` is the dotted path (`sampling.temperature`, `lorebook.entries.0.keys`), `line`
    counts from 1; both are None where the text is not YAML at all or the place is unknown.
    """

    where: str
    why: str
    line: int | None = None
    field: str | None = None


def problems(text: str) -> list[Problem]:
    """Everything that keeps `text` from being a persona, in the order of its fields."""
    try:
        document = yaml_io.load(text, "persona")
    except PersonaError as error:
        _, _, line = error.where.partition(", line ")
        return [Problem(error.where, error.why, int(line) if line else None)]
    if not isinstance(document.data, dict):
        return [Problem("persona", "must be a mapping such as `name: Ava`", 1)]
    try:
        Persona.model_validate(document.data)
    except ValidationError as error:
        return [_problem(each, document.lines) for each in error.errors(include_url=False)]
    return []


def parse(text: str, where: str) -> Persona:
    """Read a persona from YAML.

    Raises:
        PersonaError: the first of `problems`, under the name `where`.
    """
    document = yaml_io.load(text, where)
    if not isinstance(document.data, dict):
        raise PersonaError(where, "must be a mapping such as `name: Ava`")
    try:
        return Persona.model_validate(document.data)
    except ValidationError as error:
        first = _problem(error.errors(include_url=False)[0], document.lines)
        place = f"{where}, line {first.line}" if first.line else where
        raise PersonaError(f"{place}, {first.field}", first.why) from None


def dump(persona: Persona) -> str:
    """The persona as readable YAML: only what differs from the defaults, in field order."""
    data = persona.model_dump(mode="json", exclude_defaults=True)
    chosen = persona.sampling.model_dump(mode="json", exclude_unset=True)
    data.pop("sampling", None)
    if chosen:
        data["sampling"] = chosen
    order = list(Persona.model_fields)
    return yaml_io.dump({key: data[key] for key in sorted(data, key=order.index)})


def _problem(error: Any, lines: dict[yaml_io.Path, int]) -> Problem:
    path = tuple(part for part in error["loc"] if part not in ("int", "function-before"))
    known = path
    while known and known not in lines:
        known = known[:-1]
    field = ".".join(map(str, path))
    why = "is not a field" if error["type"] == "extra_forbidden" else _plain_words(error)
    return Problem(field, why, lines.get(known), field)


def _plain_words(error: Any) -> str:
    if error["type"] == "missing":
        return "is missing"
    message: str = error["msg"]
    return message[0].lower() + message[1:]
