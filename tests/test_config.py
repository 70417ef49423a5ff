"""Settings enter once, and a wrong one is said in a line."""

import pytest

from hermes_ui.config import Settings
from hermes_ui.errors import SettingsError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # no .env of the developer's
    return tmp_path


def test_a_variable_is_read(monkeypatch):
    monkeypatch.setenv("HERMES_PORT", "8000")

    assert Settings.from_env().port == 8000


def test_given_values_win(monkeypatch):
    monkeypatch.setenv("HERMES_PORT", "8000")

    assert Settings.from_env(port=9000).port == 9000


def test_a_file_is_read(elsewhere):
    (elsewhere / ".env").write_text("HERMES_PORT=8001\n")

    assert Settings.from_env().port == 8001


def test_a_misspelt_variable_is_an_error_with_a_hint(monkeypatch):
    monkeypatch.setenv("HERMES_PROT", "8000")

    with pytest.raises(
        SettingsError, match="HERMES_PROT is not a setting; did you mean HERMES_PORT"
    ):
        Settings.from_env()


def test_a_misspelt_line_in_the_file_is_an_error(elsewhere):
    (elsewhere / ".env").write_text("HERMES_MODLE=auto\n")

    with pytest.raises(
        SettingsError, match="HERMES_MODLE is not a setting; did you mean HERMES_MODEL"
    ):
        Settings.from_env()


def test_a_line_without_the_prefix_is_an_error_where_it_must_mean_a_setting(elsewhere):
    (elsewhere / ".env").write_text("port=8000\n")

    with pytest.raises(SettingsError, match="PORT is not a setting; did you mean HERMES_PORT"):
        Settings.from_env()


def test_a_file_that_is_no_text_is_an_error(elsewhere):
    (elsewhere / ".env").write_bytes(b"# caf\xe9\n")

    with pytest.raises(SettingsError, match=r"\.env: is not UTF-8 text"):
        Settings.from_env()


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "99999"), ("PORT", "http"), ("HOST", "not a host"), ("ENGINE", "steam")],
)
def test_a_bad_value_is_named(monkeypatch, name, value):
    monkeypatch.setenv(f"HERMES_{name}", value)

    with pytest.raises(SettingsError, match=f"HERMES_{name}={value}: ") as caught:
        Settings.from_env()

    assert "\n" not in str(caught.value)


def test_a_space_may_show_the_page_under_its_own_name(monkeypatch):
    monkeypatch.setenv("SPACE_ID", "ava/lighthouse")
    monkeypatch.setenv("SPACE_HOST", "ava-lighthouse.hf.space")

    settings = Settings.from_env()

    assert "ava-lighthouse.hf.space" in settings.host_names
    assert "https://huggingface.co" in settings.frame_ancestors
