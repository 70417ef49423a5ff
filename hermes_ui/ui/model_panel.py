"""Which model speaks, why, and the one button that gets the full one."""

from html import escape

from hermes_ui.chat import ChatService
from hermes_ui.generation.engine import CacheUse
from hermes_ui.generation.host import ModelStatus
from hermes_ui.ui import words
from hermes_ui.ui.bridge import Action, Answer, Fields

HERMES = "NousResearch/Hermes-3-Llama-3.2-3B"
EMBEDDED = "embedded"


def actions(chat: ChatService, *, model_is_fixed: bool = False) -> dict[str, Action]:
    """What the script may ask for, by name.

    Args:
        model_is_fixed: Who reaches the page may see the model, and not exchange it for all.
    """

    def model(_: str, __: Fields) -> Answer:
        html = panel(chat, model_is_fixed=model_is_fixed)
        return {"chip": chip(chat.host.status), "html": html, "key": _key(chat.host.status)}

    def chip_only(_: str, __: Fields) -> Answer:
        return {"chip": chip(chat.host.status), "key": _key(chat.host.status)}

    def download(owner: str, fields: Fields) -> Answer:
        chat.host.download(HERMES)
        return model(owner, fields)

    def cancel(owner: str, fields: Fields) -> Answer:
        chat.host.cancel()
        return model(owner, fields)

    def use(owner: str, fields: Fields) -> Answer:
        chat.host.use(HERMES if fields.text("model") == "hermes" else EMBEDDED)
        return model(owner, fields)

    seen: dict[str, Action] = {"model": model, "chip": chip_only}
    if model_is_fixed:
        return seen
    return seen | {
        "model-download": download,
        "model-cancel": cancel,
        "model-use": use,
    }


def chip(status: ModelStatus) -> str:
    """The model's name and state in a few words."""
    name = status.model_id.rsplit("/", 1)[-1] or words.MODEL
    state = words.MODEL_STATES.get(status.state, status.state)
    share = f" {status.progress:.0%}" if status.progress is not None else ""
    after = "" if status.state == "ready" else f'<span class="state">{state}{share}</span>'
    return (
        f'<span class="dot {escape(status.state)}" aria-hidden="true"></span>'
        f'<span class="model-name">{escape(name)}</span>{after}'
    )


def panel(chat: ChatService, *, model_is_fixed: bool = False) -> str:
    """The panel behind the chip."""
    status = chat.host.status
    state = words.MODEL_STATES.get(status.state, status.state)
    rows = [
        (words.MODEL, status.model_id),
        (words.WHY, status.why),
        (words.DEVICE, " · ".join(filter(None, (status.device, _format(status))))),
        (words.CACHE, _cache(chat.host.cache)),
    ]
    facts = "".join(f"<dt>{label}</dt><dd>{escape(value)}</dd>" for label, value in rows if value)
    detail = f'<p class="detail">{escape(status.detail)}</p>' if status.detail else ""
    offers = f'<p class="quiet">{words.MODEL_FIXED}</p>' if model_is_fixed else _offers(chat)
    return (
        f'<p class="state-line"><span class="dot {escape(status.state)}"></span>{state}</p>'
        f"{_bar(status)}{detail}<dl>{facts}</dl>{offers}"
    )


def _format(status: ModelStatus) -> str:
    """The number format of the weights."""
    return status.quantization or status.dtype


def _cache(use: CacheUse | None) -> str:
    if use is None:
        return ""
    return words.CACHE_USE.format(
        free=f"{use.total - use.running - use.remembered:,}",
        total=f"{use.total:,}",
        running=f"{use.running:,}",
        remembered=f"{use.remembered:,}",
    )


def _bar(status: ModelStatus) -> str:
    if status.state not in ("loading", "downloading"):
        return ""
    if status.progress is None:
        return f"<progress aria-label='{words.MODEL_STATES[status.state]}'></progress>"
    return (
        f'<progress max="1" value="{status.progress:.4f}" '
        f'aria-label="{words.MODEL_STATES[status.state]}"></progress>'
    )


def _offers(chat: ChatService) -> str:
    status = chat.host.status
    if status.state == "downloading":
        return _button("model-cancel", words.CANCEL_DOWNLOAD)
    if status.state == "loading":
        return ""
    if status.model_id == HERMES:
        return _button("model-use", words.USE_EMBEDDED, 'data-model="embedded"')
    reachable = chat.host.hub_reachable()
    if reachable is None:
        return f'<p class="quiet">{words.ASKING_HUB}</p>'
    if not reachable:
        on_disk = _button("model-use", words.USE_HERMES, 'data-model="hermes"')
        return f'<p class="quiet">{words.OFFLINE}</p>{on_disk}'
    return (
        f'<p class="quiet">{words.DOWNLOAD_HINT}</p>'
        f"{_button('model-download', words.DOWNLOAD, kind='primary')}"
    )


def _button(action: str, label: str, more: str = "", *, kind: str = "plain") -> str:
    return f'<button type="button" class="{kind}" data-action="{action}" {more}>{label}</button>'


def _key(status: ModelStatus) -> str:
    return f"{status.state}/{status.model_id}"
