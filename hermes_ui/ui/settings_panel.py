"""The drawer with the user's name and the sampling parameters, built from `SamplingParams`."""

from html import escape
from typing import Any

from annotated_types import Ge, Le
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from hermes_ui.chat import ChatService
from hermes_ui.errors import SettingsError
from hermes_ui.params import SamplingParams
from hermes_ui.ui import words
from hermes_ui.ui.bridge import Action, Answer, Fields

MOST_ROWS = 8  # of a field of several lines, before it scrolls


def actions(chat: ChatService) -> dict[str, Action]:
    """What the script may ask for, by name."""

    def settings(owner: str, fields: Fields) -> Answer:
        return {"html": panel(chat, owner, fields.text("conversation"))}

    def sampling(owner: str, fields: Fields) -> Answer:
        """Override one parameter, or give it back to the persona when it is sent as null."""
        conversation_id, name = fields.text("conversation"), fields.text("name")
        conversation = chat.store.conversation(owner, conversation_id)
        overrides = dict(conversation.settings.get("sampling", {}))
        overrides.pop(name, None)
        given = fields.mapping("values").get(name)
        if given is not None:
            overrides[name] = given
        chat.set_sampling(owner, conversation_id, _checked(overrides))
        return settings(owner, fields)

    def reset(owner: str, fields: Fields) -> Answer:
        chat.set_sampling(owner, fields.text("conversation"), SamplingParams())
        return settings(owner, fields)

    def user(owner: str, fields: Fields) -> Answer:
        chat.set_user(owner, fields.text("conversation"), fields.text("name"))
        return {}

    return {"settings": settings, "sampling": sampling, "sampling-reset": reset, "user": user}


def panel(chat: ChatService, owner: str, conversation_id: str) -> str:
    """The drawer's content."""
    conversation = chat.store.conversation(owner, conversation_id)
    persona = chat.persona_of(owner, conversation)
    own = set(conversation.settings.get("sampling", {}))
    values = chat.sampling_of(owner, conversation)
    controls = "".join(_group(group, values, own) for group in words.GROUPS)
    reset_all = "" if own else "disabled"
    user = escape(str(conversation.settings.get("user", "")))
    return (
        f'<section><label class="control"><span class="label">{words.YOUR_NAME}</span>'
        f'<input type="text" name="user" maxlength="80" value="{user}" autocomplete="off" '
        f'placeholder="{escape(persona.user_name or words.YOU)}">'
        f'<span class="info">{words.YOUR_NAME_HINT}</span></label></section>'
        f'<section><div class="section-head"><h3>{words.SAMPLING}</h3>'
        f'<button type="button" class="link" data-action="sampling-reset" {reset_all}>'
        f'{words.RESET_ALL}</button></div><p class="quiet">{words.SAMPLING_HINT}</p>'
        f"{controls}</section>"
    )


def _group(group: str, values: SamplingParams, own: set[str]) -> str:
    """The controls of one group; those that few people need are folded until one is changed."""
    fields = {
        name: field
        for name, field in SamplingParams.model_fields.items()
        if _of(field)["group"] == group
    }
    controls = "".join(
        _control(name, field, getattr(values, name), name in own) for name, field in fields.items()
    )
    title, hint = words.GROUPS[group]
    if not hint:
        return controls
    is_open = (
        "open" if any(getattr(values, name) != _default(fields[name]) for name in fields) else ""
    )
    return (
        f'<details class="group" {is_open}><summary>{title}</summary>'
        f'<p class="quiet">{hint}</p>{controls}</details>'
    )


def _of(field: FieldInfo) -> dict[str, Any]:
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


def _default(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True)


def _control(name: str, field: FieldInfo, value: Any, changed: bool) -> str:
    label = words.FIELD_NAMES.get(name, name)
    mark = (
        f'<span class="unseen">{words.CHANGED}</span>'
        f'<button type="button" class="link" data-action="sampling-default" data-name="{name}" '
        f'aria-label="{words.RESET}: {label}">{words.RESET}</button>'
        if changed
        else ""
    )
    info = f'<span class="info">{escape(field.description or "")}</span>'
    return (
        f'<div class="control{" changed" if changed else ""}" data-field="{name}">'
        f'<div class="control-head"><label class="label" for="field-{name}">{label}</label>{mark}'
        f"</div>{_input(name, field, value)}{info}</div>"
    )


def _input(name: str, field: FieldInfo, value: Any) -> str:
    low, high = _range(field)
    if isinstance(value, tuple | dict):
        kind, hint = (
            ("lines", words.LINES_HINT) if isinstance(value, tuple) else ("map", words.MAP_HINT)
        )
        rows = min(max(2, len(value)), MOST_ROWS)
        return (
            f'<textarea id="field-{name}" name="{name}" rows="{rows}" data-kind="{kind}" '
            f'placeholder="{hint}">{escape(_lines(value))}</textarea>'
        )
    if name == "seed":
        shown = "" if value is None else value
        return (
            f'<input type="number" id="field-{name}" name="{name}" min="{low}" step="1" '
            f'data-kind="integer" value="{shown}">'
        )
    kind = "integer" if field.annotation is int else "decimal"
    step = _of(field)["step"]
    shared = f'min="{low}" max="{high}" step="{step}" value="{value}" data-kind="{kind}"'
    label = words.FIELD_NAMES.get(name, name)
    return (
        f'<div class="pair"><input type="range" id="field-{name}" name="{name}" {shared}>'
        f'<input type="number" name="{name}" aria-label="{label}" {shared}></div>'
    )


def _lines(value: tuple[str, ...] | dict[int, float]) -> str:
    r"""One a line: texts with \n for a line break, or `id: bias`."""
    if isinstance(value, dict):
        return "\n".join(f"{token}: {bias:g}" for token, bias in value.items())
    return "\n".join(text.replace("\\", "\\\\").replace("\n", "\\n") for text in value)


def _range(field: FieldInfo) -> tuple[Any, Any]:
    low = next((each.ge for each in field.metadata if isinstance(each, Ge)), None)
    high = next((each.le for each in field.metadata if isinstance(each, Le)), None)
    return low, high


def _checked(overrides: dict[str, Any]) -> SamplingParams:
    try:
        return SamplingParams.model_validate(overrides)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise SettingsError(f"{words.FIELD_NAMES.get(name, name)}: {first['msg']}") from None
