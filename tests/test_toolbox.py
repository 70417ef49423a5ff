import json
import math
import random
from datetime import UTC, datetime

import pytest

from hermes_ui.errors import ToolError
from hermes_ui.messages import ToolCall
from hermes_ui.toolbox import BUILT_IN, Tool, Toolbox, calculate

NOW = datetime(2026, 9, 28, 17, 3, tzinfo=UTC)


@pytest.fixture
def toolbox():
    return Toolbox(BUILT_IN)


def answer(toolbox: Toolbox, name: str, arguments: object, seed: int = 1) -> dict:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    result = toolbox.run(ToolCall("c1", name, text), rng=random.Random(seed), now=NOW)
    assert (result.call_id, result.name) == ("c1", name)
    return json.loads(result.content)


def test_dice_are_rolled_with_the_dice_that_are_handed_over(toolbox):
    first = answer(toolbox, "roll_dice", {"notation": "3d6+2"}, seed=4)

    assert first == answer(toolbox, "roll_dice", {"notation": "3d6+2"}, seed=4)
    assert len(first["rolls"]) == 3
    assert first["total"] == sum(first["rolls"]) + 2
    assert first != answer(toolbox, "roll_dice", {"notation": "3d6+2"}, seed=5)


def test_the_time_is_the_one_that_is_handed_over(toolbox):
    assert answer(toolbox, "current_time", {}) == {
        "date": "2026-09-28",
        "time": "17:03:00",
        "weekday": "Monday",
        "timezone": "UTC",
    }


def test_the_time_is_told_for_another_zone(toolbox):
    assert answer(toolbox, "current_time", {"timezone": "Asia/Tokyo"})["time"] == "02:03:00"


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 + 3 * 4", 14),
        ("(2 + 3) * 4", 20),
        ("-2 ** 2", -4),
        ("2 ** 3 ** 2", 512),
        ("2 ** -1", 0.5),
        ("7 // 2 + 7 % 2", 4),
        ("1.5e3 / 3", 500),
        ("2^10", 1024),
        ("6 × 7 ÷ 2", 21),
        ("sqrt(2) * sqrt(2)", pytest.approx(2)),
        ("cos(pi)", -1),
        ("abs(-3) + floor(2.7) + ceil(2.1)", 8),
        ("12345678901234567890 * 10", 123456789012345678900),
        (".5 + 5.", 5.5),
    ],
)
def test_arithmetic_is_worked_out(expression, value):
    assert calculate(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "1 +",
        "1 2",
        "(1",
        "1)",
        "x",
        "1/0",
        "0 ** -1",
        "9 ** 9 ** 9",
        "10 ** 1000",
        "1e308 * 10",
        "1e999",
        "(-8) ** 0.5",
        "sqrt(-1)",
        "log(0)",
        "floor(1e308 * 10)",
        "__import__('os')",
        "().__class__",
        "(" * 150 + ")" * 150,
        "2**" * 90 + "2",
        "1" * 301,
        "٣ + ٤",
        "²",
        "1_000",
        "0x10",
        "\0",
    ],
)
def test_what_cannot_be_worked_out_is_refused(expression):
    with pytest.raises(ToolError):
        calculate(expression)


def test_no_result_is_endless_or_no_number():
    for expression in ("1e308 + 1e308", "1e308 * 1e308", "1e308 * 10 - 1e308 * 10"):
        with pytest.raises(ToolError, match="too large"):
            calculate(expression)
    assert math.isfinite(calculate("1e308"))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        pytest.param("nothing", {}, id="unknown tool"),
        pytest.param("roll_dice", {}, id="missing argument"),
        pytest.param("roll_dice", {"notation": 6}, id="wrong type"),
        pytest.param("roll_dice", {"notation": "2d6", "x": 1}, id="unknown argument"),
        pytest.param("roll_dice", {"notation": "six"}, id="no dice"),
        pytest.param("roll_dice", {"notation": "999d6"}, id="too many dice"),
        pytest.param("roll_dice", {"notation": "1d0"}, id="no sides"),
        pytest.param("current_time", {"timezone": "../../etc/passwd"}, id="a path"),
        pytest.param("current_time", {"timezone": "Europe"}, id="a folder of zones"),
        pytest.param("current_time", {"timezone": "Middle/Earth"}, id="no zone"),
        pytest.param("current_time", {"timezone": True}, id="a truth value"),
        pytest.param("calculate", {"expression": "1/0"}, id="no value"),
        pytest.param("calculate", "not json", id="not json"),
        pytest.param("calculate", "[]", id="no object"),
        pytest.param("calculate", "[" * 9_000, id="too deep"),
        pytest.param("calculate", "9" * 9_000, id="too long a number"),
        pytest.param("calculate", '{"expression": "' + "1" * 20_000 + '"}', id="too long"),
        pytest.param("calculate", '{"\\ud800": 1}', id="a lone surrogate"),
    ],
)
def test_whatever_is_wrong_is_told_to_the_model(toolbox, name, arguments):
    assert list(answer(toolbox, name, arguments)) == ["error"]


def test_results_can_be_stored_as_utf_8(toolbox):
    call = ToolCall("1", "roll_dice", '{"notation": "\\ud800"}')

    result = toolbox.run(call, rng=random.Random(1), now=NOW)

    assert result.content.encode()


def test_tools_are_chosen_in_the_order_of_the_persona(toolbox):
    chosen = toolbox.chosen(["calculate", "unknown", "roll_dice", "calculate"])

    assert [tool.name for tool in chosen] == ["calculate", "roll_dice"]


def test_a_tool_of_somebody_else_is_not_run():
    toolbox = Toolbox([Tool("theirs", "Runs elsewhere.", {"type": "object"})])

    assert "error" in answer(toolbox, "theirs", {})


def test_a_toolbox_is_a_mapping_of_names(toolbox):
    assert toolbox["calculate"].name == "calculate"
    assert len(toolbox) == len(list(toolbox)) == len(BUILT_IN)
