"""Fetching a model from a hub: what an interrupted try leaves, and what becomes of it."""

import random
import threading

import pytest
from huggingface_hub import constants

from hermes_ui.errors import ModelError
from hermes_ui.generation.download import PART, Cancelled, download
from tests.hub import serving

HUB_ID = "somebody/large"
WEIGHTS = random.Random(5).randbytes(600_000)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 20_000)
    folder = tmp_path / "hub"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    with serving(HUB_ID, folder) as server:
        yield server


@pytest.fixture
def fetch(hub, tmp_path):
    """Download up to so many bytes; the shares of progress, in bytes."""

    def run(stop_at: int = 2 * len(WEIGHTS)) -> list[int]:
        cancelled, seen = threading.Event(), []

        def progress(done: int, _total: int) -> None:
            seen.append(done)
            if done >= stop_at:
                cancelled.set()

        download(HUB_ID, progress, cancelled, endpoint=hub.url, cache_dir=tmp_path / "cache")
        return seen

    return run


def parts(tmp_path):
    return list((tmp_path / "cache").rglob(f"*{PART}"))


def weights(tmp_path):
    (file,) = (tmp_path / "cache").rglob("snapshots/*/model.safetensors")
    return file.read_bytes()


def test_half_a_file_is_taken_up_again_where_it_ended(hub, fetch, tmp_path):
    with pytest.raises(Cancelled):
        fetch(stop_at=300_000)
    (part,) = parts(tmp_path)
    half = part.stat().st_size

    seen = fetch()

    assert 200_000 < half < len(WEIGHTS)
    assert hub.resumed_at == [half]
    large = next(done for done in seen if done > 1000)  # the small files come first
    assert half <= large < half + 50_000  # the bar goes on where it stood
    assert weights(tmp_path) == WEIGHTS
    assert parts(tmp_path) == []


def test_half_a_file_that_was_damaged_is_given_up_and_fetched_anew(hub, fetch, tmp_path):
    with pytest.raises(Cancelled):
        fetch(stop_at=300_000)
    (part,) = parts(tmp_path)
    part.write_bytes(bytes(part.stat().st_size))

    with pytest.raises(ModelError, match=r"model\.safetensors was damaged"):
        fetch()
    fetch()

    assert len(hub.resumed_at) == 1
    assert weights(tmp_path) == WEIGHTS


def test_nothing_that_is_there_is_fetched_again(hub, fetch):
    fetch()
    before = list(hub.fetched)

    fetch()

    assert hub.fetched == before


@pytest.mark.parametrize("lacking", ["model.safetensors", "tokenizer.json"])
def test_what_could_not_be_loaded_is_refused_before_anything_is_fetched(hub, fetch, lacking):
    (hub.folder / lacking).unlink()

    with pytest.raises(ModelError, match=lacking.rpartition(".")[2]):
        fetch()

    assert hub.fetched == []
