import pytest

from hermes_ui.prompt.decorators import Decorators, undecorated


def test_decorators_are_read_and_taken_away():
    asked, text = undecorated("@@depth 4\n@@role user\n@@activate_only_after 3\n\nThe text.\n")

    assert asked == Decorators(depth=4, role="user", activate_only_after=3)
    assert text == "The text."


@pytest.mark.parametrize(
    ("content", "asked"),
    [
        pytest.param("@@activate", Decorators(activate=True), id="without a value"),
        pytest.param("@@constant", Decorators(activate=True), id="another word for it"),
        pytest.param("@@DEPTH 2", Decorators(depth=2), id="any case"),
        pytest.param("@@depth -1", Decorators(depth=-1), id="after the newest"),
        pytest.param("@@depth four", Decorators(), id="no number"),
        pytest.param("@@depth " + "9" * 5000, Decorators(), id="too long a number"),
        pytest.param("@@depth ٣", Decorators(), id="another script's digits"),
        pytest.param("@@activate_only_every 0", Decorators(), id="every none"),
        pytest.param("@@role narrator", Decorators(), id="no role"),
        pytest.param("@@position nowhere", Decorators(), id="no position"),
        pytest.param("@@unheard_of 1", Decorators(), id="unknown"),
        pytest.param("@@depth 1\n@@depth 2", Decorators(depth=1), id="the first counts"),
        pytest.param(
            "@@additional_keys a, b\n@@additional_keys c",
            Decorators(additional_keys=(("a", "b"), ("c",))),
            id="more keys",
        ),
        pytest.param("@@exclude_keys a,,b", Decorators(exclude_keys=("a", "b")), id="fewer"),
        pytest.param(
            "@@unheard_of\n@@@depth x\n@@@depth 3\n@@@depth 4",
            Decorators(depth=3),
            id="fallbacks in turn",
        ),
        pytest.param(
            "@@depth 1\n@@@role user", Decorators(depth=1), id="no fallback where none is needed"
        ),
        pytest.param("\r\n@@depth 1\r\ntext", Decorators(depth=1), id="Windows lines"),
    ],
)
def test_decorators_mean_what_the_specification_says(content, asked):
    assert undecorated(content)[0] == asked


def test_lines_further_down_are_text():
    assert undecorated("Mail me:\n@@depth 1") == (Decorators(), "Mail me:\n@@depth 1")


def test_ten_thousand_decorators_are_read_at_once():
    asked, text = undecorated("@@unknown\n@@@also\n" * 5_000 + "end")

    assert (asked, text) == (Decorators(), "end")
