"""The page's files fit each other, and load nothing from anywhere else."""

import re

import pytest

from hermes_ui.ui import words
from hermes_ui.ui.shell import shell
from hermes_ui.ui.theme import SCRIPTS, STATIC, STYLES, head, theme

SCRIPT = "\n".join((STATIC / name).read_text(encoding="utf-8") for name in SCRIPTS)
MARKUP = "\n".join(
    path.read_text(encoding="utf-8")
    for path in STATIC.parent.glob("*.py")
    if path.name not in ("gallery_cards.py", "editor.py")
)
CALLS = re.compile(r'(?:button\(\s*"|data-action="|_button\(")([a-z-]+)"')


def test_the_script_uses_only_words_that_it_is_given():
    assert set(re.findall(r"WORDS\.([A-Z_]+)", SCRIPT)) == set(words.FOR_SCRIPT)


def test_every_action_in_the_markup_has_a_handler_in_the_script():
    handled = set(re.findall(r'^  "?([a-z-]+)"?(?::|,| \()', SCRIPT, re.MULTILINE))
    handled |= {"copy", "edit", "delete", "seal", "regenerate", "resume", "switch"}

    assert set(CALLS.findall(MARKUP)) <= handled


def test_every_part_that_the_script_asks_for_stands_in_the_frame():
    asked = set(re.findall(r'\b(?:part|label)\("([a-z-]+)"', SCRIPT))

    assert asked <= set(re.findall(r'data-part="([a-z-]+)"', shell(temporary_storage=False)))


@pytest.mark.parametrize("name", STYLES + SCRIPTS)
def test_a_file_names_no_other_server(name):
    assert "://" not in (STATIC / name).read_text(encoding="utf-8")


def test_the_fonts_are_the_systems():
    assert theme()._stylesheets == []


def test_words_cannot_end_the_script():
    assert head().count("</script>") == 1


def test_temporary_storage_is_said_on_the_page():
    assert words.TEMPORARY in shell(temporary_storage=True)
    assert words.TEMPORARY not in shell(temporary_storage=False)
