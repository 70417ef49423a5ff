"""Tools and JSON schemas, told in the words that Hermes was trained on.

Wording: the model card of Hermes 3. Tool descriptions, arguments and results are JSON in
which a closing tag is escaped, so that none of them can end the block that it stands in.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hermes_ui.messages import Message, ToolCall, ToolResult
from hermes_ui.toolbox import Tool

_CALL_SCHEMA = (
    '{"properties": {"arguments": {"title": "Arguments", "type": "object"}, '
    '"name": {"title": "Name", "type": "string"}}, "required": ["arguments", "name"], '
    '"title": "FunctionCall", "type": "object"}'
)
_TOOLS = (
    "You are a function calling AI model. You are provided with function signatures within "
    "<tools></tools> XML tags. You may call one or more functions to assist with the user "
    "query. Don't make assumptions about what values to plug into functions. Here are the "
    "available tools: <tools> ",
    " </tools> Use the following pydantic model json schema for each tool call you will make: "
    f"{_CALL_SCHEMA} For each function call return a json object with function name and "
    "arguments within <tool_call></tool_call> XML tags as follows:\n"
    '<tool_call>\n{"arguments": <args-dict>, "name": <function-name>}\n</tool_call>',
)
_JSON_MODE = (
    "You are a helpful assistant that answers in JSON. "
    "Here's the json schema you must adhere to:\n<schema>\n",
    "\n</schema>",
)


def system_text(tools: Sequence[Tool]) -> str:
    """What the system turn says about `tools`, one JSON object a line; empty without tools."""
    if not tools:
        return ""
    described = (
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
            },
        }
        for tool in tools
    )
    return "\n".join(map(_json, described)).join(_TOOLS)


def json_mode_text(schema: Mapping[str, Any]) -> str:
    """What the system turn says when the reply has to be JSON of this schema."""
    return _json(schema).join(_JSON_MODE)


def rendered(message: Message) -> str:
    """The text of a message's turn, its tool calls or tool results written out."""
    if message.tool_results:
        return "\n".join(map(_result_block, message.tool_results))
    blocks = [_call_block(call) for call in message.tool_calls]
    return "\n".join([message.content, *blocks] if message.content else blocks)


def _call_block(call: ToolCall) -> str:
    arguments: Any = _parsed(call.arguments or "{}")
    if not isinstance(arguments, dict):
        arguments = call.arguments  # as the model wrote it, so that it can see its mistake
    return f"<tool_call>\n{_json({'arguments': arguments, 'name': call.name})}\n</tool_call>"


def _result_block(result: ToolResult) -> str:
    content: Any = _parsed(result.content)
    if not isinstance(content, dict | list):
        content = result.content
    return f"<tool_response>\n{_json({'name': result.name, 'content': content})}\n</tool_response>"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).replace("</", "<\\/")


def _parsed(text: str) -> object:
    """The JSON value of `text`, or None where it is none that can be written out again."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> None:
    raise ValueError(constant)
