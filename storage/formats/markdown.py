"""The branch that is shown, as Markdown for people.

Each message stands in a quote, so that no heading or rule inside it can break the frame;
what was said is kept to the letter behind the quote marks.
"""

from storage.store import Store

TIME = "%Y-%m-%d %H:%M UTC"


def export_markdown(store: Store, owner: str, conversation_id: str, assistant: str) -> str:
    """The current branch, oldest message first."""
    conversation = store.conversation(owner, conversation_id)
    path = store.path(owner, conversation.leaf_id) if conversation.leaf_id else []
    names = {"assistant": assistant, "user": conversation.settings.get("user") or "User"}
    parts = [
        f"# {_one_line(conversation.title)}",
        f"With {_one_line(assistant)}, begun {conversation.created_at.strftime(TIME)}.",
    ]
    for row in path:
        name = _one_line(names.get(row.role, row.role))
        note = "" if row.finish_reason in (None, "stop", "tool_calls") else f", {row.finish_reason}"
        parts.append(f"**{name}** · {row.created_at.strftime(TIME)}{note}")
        said = [row.content] if row.content else []
        said += [f"`{call['name']}({call['arguments']})`" for call in row.tool_calls]
        said += [f"`{each['name']}` → {each['content']}" for each in row.tool_results]
        parts.append("\n".join(f"> {line}".rstrip(" ") for line in "\n".join(said).split("\n")))
    return "\n\n".join(parts) + "\n"


def _one_line(text: str) -> str:
    """Free text inside a heading: on one line, and no markup."""
    flat = " ".join(text.split())
    return "".join(f"\\{char}" if char in "\\`*_[]<>#" else char for char in flat)
