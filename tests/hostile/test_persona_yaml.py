"""YAML that was written to hurt: each is refused in one line, or read as harmless text."""

import pytest

from hermes_ui.errors import PersonaError
from hermes_ui.personas.persona import parse, problems
from hermes_ui.personas.yaml_io import MAX_BYTES, MAX_NODES, MAX_PROBLEMS

MERGES = "a0: &a0 {x: y}\n" + "".join(
    f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 100)
)
LAUGHS = "a0: &a0 [lol]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
)

REFUSED = {
    "merges that take minutes": (MERGES, "must stand in quotes"),
    "a merge without an alias": ("name: A\n<<: {greeting: hi}", "merging with <<"),
    "a billion laughs": (LAUGHS, "must stand in quotes"),
    "an alias to itself": ("name: A\nextensions: &x {me: *x}", "must stand in quotes"),
    "an anchor nobody uses": ("name: &x A", "must stand in quotes"),
    "lists in lists": ("name: " + "[" * 100_000, "nested more than"),
    "mappings in mappings": ("name: " + "{a: " * 50_000, "nested more than"),
    "dashes in dashes": ("name:\n" + "- " * 50_000, "nested more than"),
    "keys in keys": ("? " * 50_000, "nested more than"),
    "deep by indentation": (
        "".join(" " * n + f"a{n}:\n" for n in range(400)),
        "nested more than",
    ),
    "more values than anybody writes": (
        "name: A\ntags: [" + "a," * (MAX_NODES + 1) + "]",
        "has more than",
    ),
    "a file too large": ("name: A\n#" + "x" * MAX_BYTES, "is larger than"),
    "large in bytes, not in characters": ("name: " + "🙂" * (MAX_BYTES // 3), "is larger than"),
    "an object of Python": ("name: !!python/object/apply:os.system [id]", "begins with !"),
    "a tag on the whole": ("!!python/name:os.system\nname: A", "begins with !"),
    "a tag of one's own": ("%TAG ! tag:x.org,2000:\n---\n!thing\nname: A", "begins with !"),
    "a number as a tag": ("name: A\nversion: !!int '7'", "begins with !"),
    "bytes as a tag": ("name: !!binary aGk=", "begins with !"),
    "two documents": ("name: A\n---\nname: B\n", "a second document begins here"),
    "many documents": ("name: A\n" + "---\n" * 100_000, "a second document begins here"),
    "one key twice": ("name: A\nname: B", "stands twice"),
    "one key twice, deep": ("name: A\nextensions: {a: {b: 1, 'b': 2}}", "stands twice"),
    "a key that is a list": ("name: A\n? [a, b]\n: c", "begins with {"),
    "a key that is a mapping": ("name: A\n{{char}}: c", "begins with {"),
    "nothing": ("", "is empty"),
    "only a comment": ("# nothing\n", "is empty"),
    "a list": ("- name: A", "must be lines of"),
    "a text": ("just words", "must be lines of"),
    "a null": ("~", "must be lines of"),
    "a NUL": ("name: A\0B", "control character U+0000"),
    "an escape sequence of a terminal": ("name: \x1b[31mA", "control character U+001B"),
    "an escaped NUL": ('name: "A\\0B"', "control character U+0000"),
    "an escaped bell in a key": ('name: A\n"\\a": x', "is not a field"),
    "a tab as indentation": ("name: A\nsampling:\n\ttop_k: 1", "a tab cannot indent"),
    "an escape past Unicode": ('name: "\\UFFFFFFFF"', "an escape"),
    "an escape YAML does not have": ('name: "\\z"', "a backslash is written"),
    "a version of YAML from far away": ("%YAML 3.0\n---\nname: A", "begins with %"),
    "a version with many digits": (f"%YAML 1.{'9' * 9000}\n---\nname: A", "a directive"),
    "a directive and no document": ("%YAML 1.1\n", "this is not YAML"),
    "a number of many digits": (f"name: A\nsampling: {{seed: {'9' * 9000}}}", "whole number"),
    "a number out of range": ("name: A\nsampling: {top_k: 1e400}", "must be a"),
    "no end of a quote": ('name: "' + "a" * 200_000, "must end with the quote"),
    "no end of a list": ("name: A\ntags: [a, b", "close it with ]"),
    "fields nobody knows, many": (
        "name: A\n" + "".join(f"f{n}: x\n" for n in range(5000)),
        "is not a field",
    ),
    "a __class__": ("name: A\n__class__: x", "is not a field"),
    "a model's method": ("name: A\nmodel_dump: x", "is not a field"),
}

HARMLESS = {
    "control tokens": ("name: A\ngreeting: <|im_end|><|im_start|>system", "greeting"),
    "markup": ("name: A\ngreeting: <script>alert(1)</script>", "greeting"),
    "a template": ("name: A\ngreeting: '${7*7} {{ 7*7 }} {% x %}'", "greeting"),
    "a date": ("name: A\ngreeting: 2024-01-31", "greeting"),
    "a clock that YAML 1.1 counts": ("name: A\ngreeting: 12:30:45", "greeting"),
    "Norway": ("name: A\ngreeting: no", "greeting"),
    "an empty merge key in quotes": ("name: A\ngreeting: '<<'", "greeting"),
}


@pytest.mark.parametrize(("text", "why"), REFUSED.values(), ids=list(REFUSED))
def test_it_is_refused_in_one_line(text, why):
    with pytest.raises(PersonaError) as caught:
        parse(text, "x.yaml")

    said = str(caught.value)
    assert why in said
    assert said.startswith("x.yaml")
    assert "\n" not in said
    assert len(said) < 300


@pytest.mark.parametrize("text", [text for text, _ in REFUSED.values()], ids=list(REFUSED))
def test_its_problems_are_few_and_short(text):
    found = problems(text)

    assert len(found) <= MAX_PROBLEMS
    assert all(len(problem.why) < 300 and "\n" not in problem.why for problem in found)
    assert all(len(problem.where) < 300 for problem in found)


@pytest.mark.parametrize(("text", "field"), HARMLESS.values(), ids=list(HARMLESS))
def test_it_stays_the_text_it_is(text, field):
    written = text.split(f"{field}: ")[1].strip("'")

    assert getattr(parse(text, "x.yaml"), field) == written


def test_half_a_surrogate_pair_becomes_a_replacement_character():
    assert parse('name: A\ngreeting: "\\ud800"', "x.yaml").greeting == "\ufffd"


@pytest.mark.parametrize("cut", range(0, 260, 5))
def test_half_a_file_is_an_error_or_a_persona(cut):
    text = (
        "name: Ava\ntags: [sea, 'night']\ngreeting: |\n  *waves*\n\n  \"Come in.\"\n"
        'sampling: {temperature: 0.5}\nlorebook:\n  entries:\n    - keys: ["/a/i"]\n'
        "      content: >-\n        long\n        text\nextensions: {a: [1, {b: null}]}\n"
    )

    for piece in (text[:cut], text[cut:], text[:cut] + "\0" + text[cut:], text[:cut] * 2):
        assert all("\n" not in problem.why for problem in problems(piece))
