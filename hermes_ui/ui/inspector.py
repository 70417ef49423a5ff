"""What the model reads: the next prompt, its control tokens marked, and the meter over it."""

from html import escape

from hermes_ui.chat import ChatService, Meter
from hermes_ui.prompt.build import Prompt
from hermes_ui.prompt.chatml import Control
from hermes_ui.prompt.lore import LoreDecision
from hermes_ui.ui import words
from hermes_ui.ui.bridge import Action, Answer, Fields
from hermes_ui.ui.seal import prompt_read
from storage.rows import MessageRow


def actions(chat: ChatService) -> dict[str, Action]:
    """What the script may ask for, by name."""

    def prompt(owner: str, fields: Fields) -> Answer:
        conversation = chat.store.conversation(owner, fields.text("conversation"))
        leaf = chat.store.message(owner, conversation.leaf_id) if conversation.leaf_id else None
        return {"html": inspected(chat.prompt_for(owner, conversation.id), leaf)}

    def meter(owner: str, fields: Fields) -> Answer:
        return _meter(chat.meter(owner, fields.text("conversation")))

    return {"prompt": prompt, "meter": meter}


def inspected(prompt: Prompt, last: MessageRow | None = None) -> str:
    """The prompt as HTML: every text escaped, every control token marked.

    `last` is the newest message: of a reply is told how much of its prompt was cached.
    """
    text = "".join(
        f"<mark>{escape(piece)}</mark>" if isinstance(piece, Control) else escape(piece)
        for piece in prompt.pieces
    )
    return (
        f'<p class="facts">{words.PROMPT_TOKENS.format(count=f"{prompt.tokens:,}")} · '
        f"{words.PROMPT_KEPT.format(kept=prompt.kept, dropped=prompt.dropped)}</p>{_last(last)}"
        f'<p class="quiet">{words.PROMPT_HINT}</p><pre class="prompt" tabindex="0">{text}</pre>'
        f"{_lore(prompt.lore)}{_draws(prompt)}"
    )


def _last(last: MessageRow | None) -> str:
    if last is None or last.prompt_tokens is None:
        return ""
    return f'<p class="facts">{words.PROMPT_LAST.format(prompt=prompt_read(last))}</p>'


def _lore(decisions: tuple[LoreDecision, ...]) -> str:
    if not decisions:
        return ""
    rows = "".join(
        f'<li class="{"on" if each.included else "off"}"><strong>{escape(each.entry)}</strong> '
        f"{words.LORE_SPEAKS if each.included else words.LORE_SILENT}"
        f"<span>{escape(each.why)}</span></li>"
        for each in decisions
    )
    return f'<h3>{words.LORE}</h3><ul class="lore">{rows}</ul>'


def _draws(prompt: Prompt) -> str:
    if not prompt.draws:
        return ""
    rows = "".join(
        f"<li><code>{escape(each.macro)}</code> → {escape(each.result)}</li>"
        for each in prompt.draws
    )
    return f'<h3>{words.DRAWS}</h3><ul class="lore">{rows}</ul>'


def _meter(meter: Meter) -> Answer:
    used, total = meter.prompt_tokens, meter.context_length
    active = [decision.entry for decision in meter.lore if decision.included]
    lines = [
        words.METER.format(used=f"{used:,}", total=f"{total:,}", reply=f"{meter.reply_tokens:,}"),
        words.METER_MESSAGES.format(kept=meter.kept),
        words.METER_DROPPED.format(dropped=meter.dropped) if meter.dropped else "",
        words.METER_LORE.format(names=", ".join(active)) if active else words.METER_NO_LORE,
    ]
    return {
        "used": min(used / total, 1.0),
        "reply": min(meter.reply_tokens / total, 1.0),
        "label": "\n".join(line for line in lines if line),
        "short": f"{used:,} / {total:,}",
        "dropped": meter.dropped,
    }
