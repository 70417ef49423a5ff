"""What pydantic refuses, as problems with a field, a line and words for a person."""

import difflib

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from hermes_ui.personas.meaning import fields_at
from hermes_ui.personas.yaml_io import Document, Problem, at_line

WORDS: dict[str, str] = {
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "string_too_long": "is longer than {max_length} characters",
    "string_unicode": "must be whole Unicode text",
    "tuple_type": "must be a list: each item on a line of its own, after a dash",
    "too_long": "has more than {max_length} items",
    "dict_type": "must be lines of `field: value`",
    "model_type": "must be lines of `field: value`",
    "model_attributes_type": "must be lines of `field: value`",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "finite_number": "must be a finite number",
    "missing": "is missing",
}
PARSED = {
    "bool": "must be true or false",
    "int": "must be a whole number",
    "float": "must be a number",
}
PATTERNS = {
    "tools": "must be the name of a tool: letters, digits and _",
    "language": "must be a language code such as en or pt-BR",
    "creator_notes_multilingual": "must be a language code such as en or pt-BR",
}


def problem(error: ErrorDetails, document: Document, model: type[BaseModel]) -> Problem:
    """`error`, raised for the data of `document` as a `model`, with its field and line."""
    path = error["loc"]
    known = path
    while known and known not in document.lines:
        known = known[:-1]
    # A path goes on into the branches of a union, which are no fields.
    field = ".".join(map(str, path if error["type"] == "missing" else known))
    if not field:
        return at_line(None, error["msg"])
    return Problem(field, _why(error, model), document.lines.get(known), field)


def _why(error: ErrorDetails, model: type[BaseModel]) -> str:
    kind = error["type"]
    if kind == "extra_forbidden":
        return _unknown(error, model)
    if kind == "string_pattern_mismatch":
        return PATTERNS[str(error["loc"][0])]
    if kind in WORDS:
        return WORDS[kind].format(**error.get("ctx", {}))
    for name, words in PARSED.items():
        if kind.startswith(f"{name}_"):
            return words
    if kind == "literal_error":
        return f"must be {error['ctx']['expected']}".replace("'", "")
    return error["msg"]


def _unknown(error: ErrorDetails, model: type[BaseModel]) -> str:
    *path, name = error["loc"]
    known = fields_at(model, path)
    close = difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=0.6)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"is not a field here{hint}"
