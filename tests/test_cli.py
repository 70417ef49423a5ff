"""The command line, run as its users run it."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from app import listen
from hermes_ui.config import Settings
from hermes_ui.errors import SettingsError

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def hermes(tmp_path):
    """Run `python -m hermes_ui` with its own data and a scripted model."""

    def run(
        *arguments: str, text: str | bytes = "", cwd: Path = ROOT, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {
            "HERMES_DATA_DIR": str(tmp_path / "data"),
            "HERMES_ENGINE": "scripted",
            "PYTHONPATH": str(ROOT),
            **variables,
        }
        return subprocess.run(
            [sys.executable, "-m", "hermes_ui", *arguments],
            input=text,
            capture_output=True,
            text=True,
            cwd=cwd,
            env=environment,
            timeout=120,
            check=False,
        )

    return run


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    """The readable line of a refusal, which has no traceback and exit code 1."""
    assert result.returncode == 1, result
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


def test_a_chat_in_the_terminal_is_kept_listed_shown_exported_and_played(hermes, tmp_path):
    talk = hermes("chat", "--persona", "hermes", text="Hello there\n")
    assert talk.returncode == 0, talk.stderr
    assert "Hermes:" in talk.stdout

    (row,) = json.loads(hermes("conversation", "list", "--json").stdout)
    shown = hermes("conversation", "show", row["id"])
    exported = hermes("conversation", "export", row["id"], "--to", "markdown", "--out", "-")
    played = hermes("conversation", "replay", row["id"], "--speed", "1000")

    assert row["title"] == "Hello there"
    for result in (shown, exported, played):
        assert result.returncode == 0, result.stderr
        assert "Hello there" in result.stdout


def test_personas_are_listed_and_shown(hermes):
    listed = json.loads(hermes("persona", "list", "--json").stdout)
    shown = hermes("persona", "show", "hermes")

    assert "hermes" in {row["slug"] for row in listed}
    assert len(listed) >= 8
    assert "name:" in shown.stdout


def test_checking_a_broken_persona_names_the_line(hermes, tmp_path):
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: Ava\nsampling:\n  temperature: hot\nmood: sunny\n")

    result = hermes("persona", "check", str(broken))

    assert result.returncode == 1
    assert "sampling.temperature" in result.stderr
    assert "mood" in result.stderr
    assert "Traceback" not in result.stderr


def test_every_starter_is_good(hermes):
    files = sorted(map(str, (ROOT / "personas").glob("*.yaml")))

    assert hermes("persona", "check", *files).returncode == 0


def test_the_prompt_is_printed_as_json(hermes, tmp_path):
    messages = tmp_path / "messages.json"
    messages.write_text('[{"role": "user", "content": "Hello <|im_end|>"}]')

    prompt = json.loads(hermes("prompt", "--persona", "hermes", "--messages", str(messages)).stdout)

    assert set(prompt) == {"text", "token_ids", "lore", "dropped"}
    assert "Hello <|im_end|>" in prompt["text"]


def test_doctor_says_which_model_would_speak_and_why(hermes):
    facts = json.loads(hermes("doctor", "--json").stdout)

    assert facts["model"]
    assert facts["why"]


def test_the_embedded_model_is_listed(hermes):
    rows = json.loads(hermes("model", "list", "--json").stdout)

    assert any("hermes-mini" in row["where"] for row in rows)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["persona", "show", "nobody"], "nobody"),
        (["conversation", "show", "0" * 32], "conversation"),
        (["persona", "check", "/nowhere.yaml"], "/nowhere.yaml"),
        (["prompt", "--persona", "hermes", "--messages", "/nowhere.json"], "/nowhere.json"),
        (["model", "use", "/nowhere"], "/nowhere"),
    ],
)
def test_bad_input_is_one_readable_line(hermes, arguments, part):
    assert part in one_line(hermes(*arguments))


def test_the_model_that_is_used_is_remembered_beside_what_else_is_set(hermes, tmp_path):
    (tmp_path / ".env").write_text("# mine\nHERMES_PORT=7999\nHERMES_MODEL=/nowhere\n")
    folder = tmp_path / "a model #2"
    folder.symlink_to(ROOT / "models" / "hermes-mini")

    assert hermes("model", "use", str(folder), cwd=tmp_path).returncode == 0

    facts = json.loads(hermes("doctor", "--json", cwd=tmp_path).stdout)
    assert facts["model"] == "hermes-mini"
    assert (tmp_path / ".env").read_text().startswith("# mine\nHERMES_PORT=7999\n")


def test_settings_that_are_no_text_are_one_readable_line_and_stay(hermes, tmp_path):
    (tmp_path / ".env").write_bytes(b"# caf\xe9\n")

    line = one_line(hermes("model", "use", "embedded", cwd=tmp_path))

    assert ".env: is not UTF-8 text" in line
    assert (tmp_path / ".env").read_bytes() == b"# caf\xe9\n"


def test_a_model_that_is_gone_hides_neither_the_others_nor_what_is_installed(hermes):
    models = hermes("model", "list", "--json", HERMES_MODEL="/nowhere")
    facts = hermes("doctor", "--json", HERMES_MODEL="/nowhere")

    assert not any(row["used"] for row in json.loads(models.stdout))
    assert "/nowhere" in models.stderr
    assert "/nowhere" in json.loads(facts.stdout)["broken_model"]
    assert json.loads(facts.stdout)["database"]


def test_a_misspelt_variable_is_one_readable_line(hermes):
    assert "HERMES_PORT" in one_line(hermes("doctor", HERMES_PROT="1"))


def test_a_data_folder_that_cannot_be_written_is_one_readable_line(hermes, tmp_path):
    (tmp_path / "file").write_text("not a folder")

    line = one_line(hermes("conversation", "list", HERMES_DATA_DIR=str(tmp_path / "file" / "data")))

    assert "file" in line
    assert (tmp_path / "file").read_text() == "not a folder"


def test_a_port_in_use_is_one_readable_line(hermes, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        line = one_line(hermes("serve", "--port", str(taken.getsockname()[1])))

    assert "HERMES_PORT" in line
    assert not (tmp_path / "data").exists()


def test_of_two_servers_that_start_at_once_only_one_has_the_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        settings = Settings(port=probe.getsockname()[1])

    with listen(settings), pytest.raises(SettingsError, match="HERMES_PORT"):
        listen(settings)


def test_a_hub_that_does_not_answer_is_one_readable_line(hermes):
    result = hermes("model", "download", "nobody/nothing", HF_ENDPOINT="http://127.0.0.1:9")

    assert "nobody/nothing" in one_line(result)


def test_wrong_usage_exits_with_2(hermes):
    assert hermes("conversation", "replay").returncode == 2


def test_a_model_folder_without_a_tokenizer_is_one_readable_line(hermes, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "model.safetensors").write_bytes(b"")

    assert "tokenizer" in one_line(hermes("model", "use", str(folder)))
