"""How a reply came about, as a small table for people."""

from html import escape
from typing import Any

from hermes_ui.ui import words
from storage.errors import NotFound
from storage.rows import MessageRow
from storage.store import Store

HASH_CHARS = 10
SWITCHES = {  # a parameter that switches others off when it is 0
    "xtc_probability": ("xtc_probability", "xtc_threshold"),
    "dry_multiplier": (
        "dry_multiplier",
        "dry_base",
        "dry_allowed_length",
        "dry_penalty_last_n",
        "dry_sequence_breakers",
    ),
}


def details(store: Store, owner: str, message_id: str) -> str:
    """The seal of a reply as HTML.

    Raises:
        StorageError: the message is not this owner's.
    """
    row = store.message(owner, message_id)
    try:
        body = store.seal(owner, message_id).body
    except NotFound:
        return f'<p class="quiet">{words.SEAL_NONE}</p>'
    rows = "".join(
        f"<dt>{label}</dt><dd>{escape(value)}</dd>" for label, value in _facts(row, body) if value
    )
    reasoning = str(body.get("reasoning") or "")
    pad = (
        f"<details><summary>{words.SEAL_REASONING}</summary><pre>{escape(reasoning)}</pre></details>"
        if reasoning
        else ""
    )
    return f"<dl>{rows}</dl>{pad}"


def _facts(row: MessageRow, body: dict[str, Any]) -> list[tuple[str, str]]:
    engine, params = body.get("engine", {}), body.get("params", {})
    return [
        (words.SEAL_MODEL, _joined(row.model_id, str(engine.get("revision", ""))[:HASH_CHARS])),
        (
            words.SEAL_DEVICE,
            _joined(engine.get("device"), engine.get("dtype"), engine.get("quantization")),
        ),
        (words.SEAL_PROMPT, prompt_read(row)),
        (words.SEAL_REPLY, _count(words.TOKENS, row.completion_tokens)),
        (words.SEAL_SPEED, _time(row, body.get("seconds"))),
        (words.SEAL_ENDED, words.ENDINGS.get(row.finish_reason or "", "")),
        (words.SEAL_SEED, _joined(str(params.get("seed", "")), _repeats(engine))),
        (words.SEAL_PERSONA, str(body.get("persona", ""))[:HASH_CHARS]),
        (words.SEAL_LORE, ", ".join(_lore(body))),
        (words.SEAL_SAMPLING, _sampling(params)),
        (words.SEAL_ERROR, str(body.get("error", ""))),
    ]


def _repeats(engine: dict[str, Any]) -> str:
    """Whether the seed gives this reply again; seals from before that was known say nothing."""
    if "batch_invariant" not in engine:
        return ""
    return words.SEAL_EXACT if engine["batch_invariant"] else words.SEAL_NEARLY


def _joined(*parts: object) -> str:
    return " · ".join(str(part) for part in parts if part)


def prompt_read(row: MessageRow) -> str:
    """How many tokens the prompt of a reply had, and how many of them were in the cache."""
    if row.prompt_tokens is None or row.cached_tokens is None:
        return _count(words.TOKENS, row.prompt_tokens)
    return words.TOKENS_CACHED.format(
        count=f"{row.prompt_tokens:,}",
        cached=f"{row.cached_tokens:,}",
        new=f"{row.prompt_tokens - row.cached_tokens:,}",
    )


def _count(label: str, count: int | None) -> str:
    return "" if count is None else label.format(count=f"{count:,}")


def _time(row: MessageRow, seconds: object) -> str:
    if not isinstance(seconds, int | float) or seconds <= 0:
        return ""
    if not row.completion_tokens:
        return words.SECONDS.format(seconds=seconds)
    return words.SECONDS_SPEED.format(seconds=seconds, speed=row.completion_tokens / seconds)


def _lore(body: dict[str, Any]) -> list[str]:
    return [str(each["entry"]) for each in body.get("lore", []) if each.get("included")]


def _sampling(params: dict[str, Any]) -> str:
    """The parameters that had an effect: what is switched off is left out."""
    off = {each for switch, group in SWITCHES.items() if not params.get(switch) for each in group}
    shown = (
        f"{name} {value}"
        for name, value in params.items()
        if name != "seed" and name not in off and value not in ([], {})
    )
    return ", ".join(shown)
