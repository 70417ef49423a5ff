"""What the README says is true: settings, persona fields, commands, and its example."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from hermes_ui.cli import cli
from hermes_ui.config import PREFIX, Settings
from hermes_ui.personas.persona import Persona, parse

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def plain(text: str) -> str:
    return " ".join(text.replace("`", "").split())


def rows_of_table(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in text.splitlines()
        if line.startswith("| ")
    ]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_described_in_its_own_words(name):
    rows = {row[0].strip("`"): row for row in rows_of_table(README)}
    field = Settings.model_fields[name]

    row = rows[PREFIX + name.upper()]

    assert plain(row[2]) == plain(field.description)


@pytest.mark.parametrize("name", Persona.model_fields)
def test_every_persona_field_is_described_in_its_own_words(name):
    rows = {row[0].strip("`"): row for row in rows_of_table(README)}

    assert plain(rows[name][1]) == plain(Persona.model_fields[name].description)


def commands(group, prefix=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*prefix, name))
        else:
            yield (*prefix, name)


def test_every_command_is_listed():
    listed = re.search(r"python -m hermes_ui COMMAND.*?```", README, re.DOTALL)[0]

    for path in commands(get_command(cli)):
        line = next(line for line in listed.splitlines() if line.startswith(path[0]))
        assert path[-1] in line


def test_the_example_persona_is_one():
    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)

    persona = parse(text, "README.md")

    assert persona.greeting
    assert persona.lorebook


def test_the_picture_is_there():
    (path,) = re.findall(r"!\[.*?\]\((.*?)\)", README)

    assert (ROOT / path).is_file()


def test_the_image_runs_as_an_ordinary_user_on_the_port_of_the_space():
    dockerfile = (ROOT / "Dockerfile").read_text()

    assert re.search(r"^USER (?!root)", dockerfile, re.MULTILINE)
    assert "--uid 1000" in dockerfile
    assert "HERMES_PORT=7860" in dockerfile
    assert "app_port: 7860" in README
