import random
import re

import pytest

from hermes_ui.prompt.patterns import BadPattern, Effort, Pattern


def found(source: str, text: str, flags: str = "i") -> bool:
    return Pattern(source, flags).found_in(text, Effort())


@pytest.mark.parametrize(
    ("source", "text", "flags", "is_found"),
    [
        pytest.param("dragons?", "A DRAGON!", "i", True, id="either case"),
        pytest.param("dragon", "A DRAGON!", "", False, id="this case"),
        pytest.param(r"\bcat\b", "concatenate", "i", False, id="border of a word"),
        pytest.param(r"\bcat\b", "a cat.", "i", True, id="borders of a word"),
        pytest.param("king of the (north|south)", "King of the South", "i", True, id="choice"),
        pytest.param(r"\d{2,3} (?:gold|silver)", "1 gold, 20 silver", "", True, id="counts"),
        pytest.param("^now$", "then\nnow", "", False, id="ends of the text"),
        pytest.param("^now$", "then\nnow\n", "m", True, id="ends of a line"),
        pytest.param("a.b", "a\nb", "", False, id="a dot stays in its line"),
        pytest.param("a.b", "a\nb", "s", True, id="a dot that does not"),
        pytest.param(r"[^\W\d_]+é[à-ü]", "caféü", "i", True, id="sets"),
        pytest.param(r"(?<name>x)\u0041\x42\/\.", "xAB/.", "", True, id="escapes"),
        pytest.param("", "anything", "", True, id="nothing is everywhere"),
    ],
)
def test_patterns_find_what_they_mean(source, text, flags, is_found):
    assert found(source, text, flags) is is_found


@pytest.mark.parametrize(
    "source",
    [
        *("(", ")", "[", "[z-a]", "a{2,1}", "*", "a**", "\\", r"\b*"),
        *(r"\1", r"(a)\1", r"\k<a>", "(?P=a)", "(?=a)", "(?<!a)", "(?i)a", r"\p{L}"),
        *("a{400}b{400}", "(" * 100, "x" * 501, "((){9999}){9999}"),
        "(" * 20 + "a{9}" + "){9}" * 20,
    ],
)
def test_what_is_broken_or_needs_backtracking_is_refused(source):
    with pytest.raises(BadPattern):
        Pattern(source)


def test_an_unknown_flag_is_refused():
    with pytest.raises(BadPattern, match="flag 'x'"):
        Pattern("a", "ix")


@pytest.mark.parametrize(
    "source",
    ["(a*)*b", "(a|a)*b", "(a+)+$b", "a?" * 100 + "a" * 100 + "b", ".*.*.*.*.*.*.*x", "(.|a)*b"],
)
def test_no_pattern_takes_more_than_its_share_of_steps(source):
    effort = Effort(100_000)

    assert not Pattern(source).found_in("a" * 10_000, effort)
    assert effort.steps > 0


def test_a_search_that_costs_too_much_is_given_up():
    with pytest.raises(BadPattern, match="too long"):
        Pattern("a").found_in("x" * 1000, Effort(999))


def test_patterns_agree_with_python():
    dice = random.Random(3)

    def pattern(depth: int = 0) -> str:
        atoms = ["a", "b", "A", " ", "\n", ".", r"\b", r"\w", r"\s", "[ab]", "[^a]", "^", "$"]
        match dice.randrange(5 if depth < 3 else 1):
            case 0 | 1:
                return dice.choice(atoms)
            case 2:
                return f"({pattern(depth + 1)}|{pattern(depth + 1)})"
            case 3:
                return f"(?:{pattern(depth + 1)})" + dice.choice(["*", "+", "?", "{2}", "{1,}"])
            case _:
                return pattern(depth + 1) + pattern(depth + 1)

    for _ in range(3000):
        source, flags = pattern(), dice.choice(["m", "im", "ms"])
        text = "".join(dice.choice("abcAB \n_1") for _ in range(dice.randrange(9)))
        wanted = re.search(source, text, sum(getattr(re, flag.upper()) for flag in flags))
        # Python's `$` also matches before each line's end, which is the same with `m`.
        assert found(source, text, flags) is bool(wanted), (source, flags, text)
