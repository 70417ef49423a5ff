"""Which model is chosen, and what is said about a folder that holds none."""

import json
import shutil
import subprocess
import sys
from threading import current_thread

import pytest

from hermes_ui.errors import ModelError
from hermes_ui.generation.loading import HERMES, ModelChoice, choose, installed, load
from hermes_ui.generation.placement import Placement
from hermes_ui.generation.weights import fingerprint
from tests.tiny_model import write_tiny_model

ON_CPU = Placement("cpu", "float32", "")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def folder(tiny, tmp_path):
    """A copy that a test may break."""
    return shutil.copytree(tiny, tmp_path / "mine")


@pytest.fixture
def models_dir(tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "models" / "hermes-mini")
    return tmp_path / "models"


@pytest.fixture
def cache_dir(tmp_path):
    return tmp_path / "cache"


def put_in_cache(tiny, cache_dir, hub_id, commit="a" * 40):
    """Lay a model where the hub's client lays downloads."""
    repo = cache_dir / f"models--{hub_id.replace('/', '--')}"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    return shutil.copytree(tiny, repo / "snapshots" / commit)


def test_auto_takes_the_embedded_model_where_there_is_no_hermes(models_dir, cache_dir):
    choice = choose("auto", models_dir=models_dir, cache_dir=cache_dir)

    assert (choice.model_id, choice.where) == ("hermes-mini", models_dir / "hermes-mini")
    assert "not on this machine" in choice.why


def test_auto_takes_hermes_out_of_the_hubs_cache(tiny, models_dir, cache_dir):
    snapshot = put_in_cache(tiny, cache_dir, HERMES)

    choice = choose("auto", models_dir=models_dir, cache_dir=cache_dir)

    assert (choice.model_id, choice.where) == (HERMES, snapshot)


def test_auto_takes_hermes_that_lies_beside_the_embedded_model(tiny, models_dir, cache_dir):
    beside = shutil.copytree(tiny, models_dir / "Hermes-3-Llama-3.2-3B")

    choice = choose("auto", models_dir=models_dir, cache_dir=cache_dir)

    assert (choice.model_id, choice.where) == (HERMES, beside)


def test_a_half_downloaded_hermes_is_passed_over(tiny, models_dir, cache_dir):
    (put_in_cache(tiny, cache_dir, HERMES) / "model.safetensors").unlink()

    assert choose("auto", models_dir=models_dir, cache_dir=cache_dir).model_id == "hermes-mini"


def test_a_hub_id_that_is_not_here_says_how_to_get_it(models_dir, cache_dir):
    with pytest.raises(ModelError, match=r"someone/model: .*model download someone/model"):
        choose("someone/model", models_dir=models_dir, cache_dir=cache_dir)


def test_a_half_downloaded_hub_id_says_what_is_missing(tiny, models_dir, cache_dir):
    (put_in_cache(tiny, cache_dir, "someone/model") / "tokenizer.json").unlink()

    with pytest.raises(ModelError, match="has no tokenizer"):
        choose("someone/model", models_dir=models_dir, cache_dir=cache_dir)


def test_a_local_folder_is_taken_as_it_is(folder, models_dir):
    assert choose(str(folder), models_dir=models_dir) == ModelChoice(
        folder, "mine", f"the folder {folder}"
    )


def test_all_whole_models_are_listed(tiny, models_dir, cache_dir):
    put_in_cache(tiny, cache_dir, "someone/model")
    (models_dir / "empty").mkdir()

    found = installed(models_dir=models_dir, cache_dir=cache_dir)

    assert [each.model_id for each in found] == ["hermes-mini", "someone/model"]


@pytest.mark.parametrize("name", ["~nobody-is-called-so/model", "m" * 300, "/" + "m" * 300])
def test_a_name_that_cannot_be_looked_up_says_so(models_dir, name):
    with pytest.raises(ModelError, match="cannot be looked at"):
        choose(name, models_dir=models_dir)


def test_a_name_that_is_nothing_says_so(models_dir):
    with pytest.raises(ModelError, match="is no folder, and no hub id"):
        choose("nonsense", models_dir=models_dir)


def remove(name):
    return lambda folder: (folder / name).unlink()


def write(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def cut(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-1000])


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        pytest.param(remove("config.json"), "has no config.json", id="no config"),
        pytest.param(write("config.json", b"{"), "config.json cannot be read", id="broken config"),
        pytest.param(write("config.json", b"[]"), "names no model_type", id="a list for a config"),
        pytest.param(write("config.json", b"\xff\xfe"), "cannot be read", id="a binary config"),
        pytest.param(remove("tokenizer.json"), "has no tokenizer", id="no tokenizer"),
        pytest.param(remove("model.safetensors"), "has no weights", id="no weights"),
        pytest.param(cut("model.safetensors"), "is cut off", id="half the weights"),
        pytest.param(write("model.safetensors", b"x" * 99), "is no safetensors", id="other bytes"),
        pytest.param(write("model.safetensors", b""), "is no safetensors", id="empty weights"),
        pytest.param(
            write("model.safetensors.index.json", b'{"weight_map": {"a": "part-1.safetensors"}}'),
            "part-1.safetensors is missing",
            id="a shard is missing",
        ),
        pytest.param(
            write("model.safetensors.index.json", b"7"), "cannot be read", id="a broken index"
        ),
        pytest.param(
            write("model.safetensors.index.json", b'{"weight_map": {"a": "../../etc/passwd"}}'),
            "passwd is missing",
            id="an index that points outside",
        ),
    ],
)
def test_a_broken_folder_is_named_with_its_fault(folder, models_dir, harm, words):
    harm(folder)

    with pytest.raises(ModelError) as refusal:
        choose(str(folder), models_dir=models_dir)

    assert words in str(refusal.value)
    assert str(folder) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_pickled_weights_are_refused(folder, models_dir):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")

    with pytest.raises(ModelError, match="pickles"):
        choose(str(folder), models_dir=models_dir)


def test_a_missing_folder_and_a_file_are_told_apart(tmp_path, models_dir):
    (tmp_path / "model.gguf").touch()

    with pytest.raises(ModelError, match="no such folder"):
        choose(str(tmp_path / "nowhere"), models_dir=models_dir)
    with pytest.raises(ModelError, match="is a GGUF file"):
        choose(str(tmp_path / "model.gguf"), models_dir=models_dir)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"model_type": "nonsense"}, "cannot be loaded", id="an unknown type"),
        pytest.param({"num_hidden_layers": 3}, "do not fit the config", id="weights are lacking"),
        pytest.param({"intermediate_size": 96}, "cannot be loaded|do not fit", id="other shapes"),
        pytest.param({"num_attention_heads": "x"}, "cannot be loaded", id="a word for a number"),
    ],
)
def test_a_config_that_lies_is_an_error_of_one_line(folder, changes, words):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))

    with pytest.raises(ModelError, match=words) as refusal:
        load(ModelChoice(folder, "mine", ""), ON_CPU)

    assert "\n" not in str(refusal.value)


def test_a_tokenizer_without_chatml_is_an_error_of_one_line(folder):
    text = (folder / "tokenizer.json").read_text().replace("<|im_start|>", "<|other|>")
    (folder / "tokenizer.json").write_text(text)

    with pytest.raises(ModelError, match=r"has no token <\|im_start\|>"):
        load(ModelChoice(folder, "mine", ""), ON_CPU)


@pytest.mark.parametrize("content", ["{}", "[]", "x", '{"version": "1.0", "model": {}}'])
def test_a_broken_tokenizer_is_an_error_of_one_line(folder, content):
    (folder / "tokenizer.json").write_text(content)

    with pytest.raises(ModelError, match="has no usable tokenizer"):
        load(ModelChoice(folder, "mine", ""), ON_CPU)


def test_code_beside_the_weights_is_never_run(folder):
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "evil.Model", "AutoConfig": "evil.Config"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text("raise SystemExit('it ran')")

    load(ModelChoice(folder, "mine", ""), ON_CPU).close()


def test_the_identity_changes_with_the_weights(folder):
    first = load(ModelChoice(folder, "mine", ""), ON_CPU)
    first.close()
    write_tiny_model(folder, end_bias=0.0)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rope_theta": 5000.0}))
    second = load(ModelChoice(folder, "mine", ""), ON_CPU)
    second.close()

    assert first.identity.model_id == second.identity.model_id == "mine"
    assert first.identity.tokenizer_hash == second.identity.tokenizer_hash
    assert len(first.identity.tokenizer_hash) == 64
    assert first.identity.revision != second.identity.revision


def test_weights_trained_again_have_another_fingerprint(folder):
    before = fingerprint(folder)
    file = folder / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)

    file.write_bytes(data)

    assert fingerprint(folder) != before


def test_choosing_a_model_does_not_import_torch():
    code = (
        "import sys, hermes_ui.generation.host\n"
        "print(sorted({'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)))"
    )

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert said.stdout.strip() == "[]"


def test_a_load_computes_in_a_thread_that_ends_with_it(tiny):
    seen = []

    load(
        ModelChoice(tiny, "tiny", ""), ON_CPU, progress=lambda _: seen.append(current_thread())
    ).close()

    assert seen
    assert not any(thread.is_alive() for thread in seen)
