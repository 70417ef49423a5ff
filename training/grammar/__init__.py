"""The grammar's files, and the template language they are written in.

`[a|b|]` is a choice, `{key}` a value. An alternative that needs a value which is not known
is never chosen, so a template says only what the conversation has established.
"""

import random
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent

Node = str | tuple[str, Any]  # plain text, ("key", name) or ("choice", [[Node, …], …])

_TOKEN = re.compile(r"[\[\]|]|\{(\w+)\}|[^\[\]|{]+|\{")


@cache
def load(name: str) -> Any:
    """The parsed content of `training/grammar/NAME.yaml`."""
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


@cache
def words(name: str) -> tuple[str, ...]:
    """One comma-separated list of words.yaml; doubled entries count double."""
    return tuple(word.strip() for word in load("words")[name].split(","))


def expand(template: str, known: Mapping[str, str], rng: random.Random) -> str | None:
    """One text that `template` can say with `known`, or None when it needs more."""
    return _expand(_parse(template), known, rng)


def pick(templates: list[str], known: Mapping[str, str], rng: random.Random) -> str | None:
    """The text of one of `templates`, chosen among those that can be said."""
    for template in rng.sample(templates, len(templates)):
        text = expand(template, known, rng)
        if text is not None:
            return text
    return None


@cache
def _parse(template: str) -> list[Node]:
    stack: list[list[list[Node]]] = [[[]]]
    for match in _TOKEN.finditer(template):
        token = match.group()
        if token == "[":
            stack.append([[]])
        elif token == "]" and len(stack) > 1:
            options = stack.pop()
            stack[-1][-1].append(("choice", options))
        elif token == "|" and len(stack) > 1:
            stack[-1].append([])
        elif match.group(1):
            stack[-1][-1].append(("key", match.group(1)))
        else:
            stack[-1][-1].append(token)
    if len(stack) != 1:
        raise ValueError(f"unclosed [ in {template!r}")
    return stack[0][0]


def _expand(nodes: list[Node], known: Mapping[str, str], rng: random.Random) -> str | None:
    said: list[str] = []
    for node in nodes:
        if isinstance(node, str):
            said.append(node)
            continue
        kind, content = node
        part = _value(content, known) if kind == "key" else _choose(content, known, rng)
        if part is None:
            return None
        said.append(part)
    return "".join(said)


def _choose(options: list[list[Node]], known: Mapping[str, str], rng: random.Random) -> str | None:
    for option in rng.sample(options, len(options)):
        text = _expand(option, known, rng)
        if text is not None:
            return text
    return None


def _value(key: str, known: Mapping[str, str]) -> str | None:
    """`{key}` as it is; `{Key}` with a capital first letter."""
    value = known.get(key.lower() if key[0].isupper() else key)
    if value is not None and key[0].isupper():
        return value[:1].upper() + value[1:]
    return value
