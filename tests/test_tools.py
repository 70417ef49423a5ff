import json

import pytest

from hermes_ui.messages import Message, ToolCall, ToolResult
from hermes_ui.prompt.tools import json_mode_text, rendered, system_text
from hermes_ui.toolbox import Tool

WEATHER = Tool("weather", "Über „das“ Wetter\nhier", {"type": "object", "properties": {}})


def test_tools_are_told_in_the_words_of_the_model_card():
    text = system_text([WEATHER])

    assert text == (
        "You are a function calling AI model. You are provided with function signatures within "
        "<tools></tools> XML tags. You may call one or more functions to assist with the user "
        "query. Don't make assumptions about what values to plug into functions. Here are the "
        'available tools: <tools> {"type": "function", "function": {"name": "weather", '
        '"description": "Über „das“ Wetter\\nhier", "parameters": {"type": "object", '
        '"properties": {}}}} </tools> Use the following pydantic model json schema for each tool '
        'call you will make: {"properties": {"arguments": {"title": "Arguments", "type": '
        '"object"}, "name": {"title": "Name", "type": "string"}}, "required": ["arguments", '
        '"name"], "title": "FunctionCall", "type": "object"} For each function call return a '
        "json object with function name and arguments within <tool_call></tool_call> XML tags "
        'as follows:\n<tool_call>\n{"arguments": <args-dict>, "name": <function-name>}\n'
        "</tool_call>"
    )


def test_without_tools_nothing_is_said():
    assert system_text([]) == ""


def test_json_mode_is_told_in_the_words_of_the_model_card():
    assert json_mode_text({"type": "object"}) == (
        "You are a helpful assistant that answers in JSON. Here's the json schema you must "
        'adhere to:\n<schema>\n{"type": "object"}\n</schema>'
    )


def test_calls_stand_below_what_was_said():
    message = Message(
        "assistant",
        "Let me see.",
        tool_calls=(ToolCall("1", "weather", '{"place": "Köln"}'), ToolCall("2", "weather")),
    )

    assert rendered(message) == (
        'Let me see.\n<tool_call>\n{"arguments": {"place": "Köln"}, "name": "weather"}\n'
        '</tool_call>\n<tool_call>\n{"arguments": {}, "name": "weather"}\n</tool_call>'
    )


def test_results_of_one_round_share_a_turn():
    message = Message(
        "tool",
        "",
        tool_results=(
            ToolResult("1", "weather", '{"degrees": 12}'),
            ToolResult("2", "weather", "rain"),
        ),
    )

    assert rendered(message) == (
        '<tool_response>\n{"name": "weather", "content": {"degrees": 12}}\n</tool_response>\n'
        '<tool_response>\n{"name": "weather", "content": "rain"}\n</tool_response>'
    )


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        pytest.param("", {}, id="empty"),
        pytest.param("not json", "not json", id="no json"),
        pytest.param("[1]", "[1]", id="a list"),
        pytest.param('{"a": NaN}', '{"a": NaN}', id="not a number"),
        pytest.param("[" * 100_000, "[" * 100_000, id="too deep"),
        pytest.param('{"a": ' + "9" * 5000 + "}", '{"a": ' + "9" * 5000 + "}", id="too long"),
    ],
)
def test_broken_arguments_are_shown_as_they_were_written(arguments, shown):
    text = rendered(Message("assistant", "", tool_calls=(ToolCall("1", "f", arguments),)))

    block = text.removeprefix("<tool_call>\n").removesuffix("\n</tool_call>")
    assert json.loads(block) == {"arguments": shown, "name": "f"}


@pytest.mark.parametrize("tag", ["</tool_call>", "</tool_response>", "</tools>", "</schema>"])
def test_no_text_can_end_the_block_that_it_stands_in(tag):
    called = rendered(
        Message("assistant", "", tool_calls=(ToolCall("1", tag, json.dumps({tag: tag})),))
    )
    answered = rendered(Message("tool", "", tool_results=(ToolResult("1", tag, f"a\n{tag}"),)))
    told = system_text([Tool(tag, tag, {tag: tag})]) + json_mode_text({tag: tag})

    assert called.count(tag) == (tag == "</tool_call>")
    assert answered.count(tag) == (tag == "</tool_response>")
    assert told.count(tag) == system_text([WEATHER]).count(tag) + (tag == "</schema>")


def test_a_message_without_calls_is_its_text():
    assert rendered(Message("user", "<tool_call>{}</tool_call>")) == "<tool_call>{}</tool_call>"
