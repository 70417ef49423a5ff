"""The model's comings and goings, with real models and a hub on loopback."""

import shutil
import socket
import threading
import time
from contextlib import closing
from types import SimpleNamespace

import pytest

from hermes_ui.errors import EngineError, EngineNotReady, ModelError
from hermes_ui.generation.download import SPARE_BYTES
from hermes_ui.generation.engine import Finish
from hermes_ui.generation.host import ModelHost
from hermes_ui.generation.scripted import ScriptedEngine
from hermes_ui.messages import Message
from hermes_ui.params import SamplingParams
from tests.engine_contract import LONG, ask, spoken, until_text, wait_until
from tests.hub import COMMIT, serving
from tests.tiny_model import write_tiny_model

HUB_ID = "someone/tiny"
WAIT_S = 60.0


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def models_dir(tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "models" / "hermes-mini")
    return tmp_path / "models"


@pytest.fixture
def hub(tiny):
    with serving(HUB_ID, tiny) as hub:
        yield hub


@pytest.fixture
def host(models_dir, tmp_path, hub):
    with closing(
        ModelHost(models_dir=models_dir, cache_dir=tmp_path / "cache", endpoint=hub.url, idle_s=0.3)
    ) as host:
        yield host


@pytest.fixture
def prompt():
    return ask(Message("user", "Say hello."))


def test_before_the_start_nothing_is_ready(host):
    assert host.status.state == "loading"
    with pytest.raises(EngineNotReady, match="not ready yet"):
        host.engine(timeout_s=0)


def test_starting_loads_the_embedded_model_in_the_background(host, prompt):
    host.start()

    engine = host.engine(WAIT_S)

    assert spoken(engine, prompt, SamplingParams(max_tokens=4))
    assert (host.status.state, host.status.model_id) == ("ready", "hermes-mini")
    assert (host.status.device, host.status.dtype) == ("cpu", "float32")
    assert host.status.why


def test_a_model_that_cannot_be_loaded_fails_with_its_reason(tmp_path):
    with closing(ModelHost(models_dir=tmp_path)) as host:
        host.start()

        with pytest.raises(ModelError, match="no such folder"):
            host.engine(WAIT_S)

        assert host.status.state == "failed"
        assert "no such folder" in host.status.detail


def test_a_defect_while_loading_fails_with_its_reason(models_dir, monkeypatch):
    def load(*_, **__):
        raise KeyError("rope_theta")

    monkeypatch.setattr("hermes_ui.generation.host.load", load)
    with closing(ModelHost(models_dir=models_dir)) as host:
        host.start()

        with pytest.raises(ModelError, match="cannot be loaded: 'rope_theta'"):
            host.engine(WAIT_S)


def test_a_model_that_nobody_waits_for_any_more_is_not_loaded_to_its_end(models_dir, monkeypatch):
    began = threading.Event()

    def load(*_, progress, **__):
        while True:
            progress("reading the weights")
            began.set()
            time.sleep(0.01)

    monkeypatch.setattr("hermes_ui.generation.host.load", load)
    with closing(ModelHost(models_dir=models_dir)) as host:
        host.start()
        assert began.wait(WAIT_S)

        host.use("/nowhere/at/all")
        with pytest.raises(ModelError, match="no such folder"):
            host.engine(WAIT_S)
        monkeypatch.undo()
        host.use("embedded")
        assert host.engine(WAIT_S)


def test_the_scripted_engine_needs_no_model(tmp_path, prompt):
    with closing(ModelHost(engine="scripted", models_dir=tmp_path)) as host:
        host.start()

        assert host.engine(WAIT_S).identity.model_id == "scripted"


def test_a_host_can_serve_an_engine_that_is_there(prompt):
    with closing(ModelHost.serving(ScriptedEngine("Ahoy."))) as host:
        assert spoken(host.engine(0), prompt, SamplingParams()) == "Ahoy."
        assert host.status.state == "ready"


def test_a_model_that_breaks_down_is_loaded_again_when_it_is_next_asked_for(host, prompt):
    host.start()
    broken = host.engine(WAIT_S)
    events = broken.stream(prompt, LONG)
    until_text(events)

    broken._batcher.model.model.layers[0] = None
    with pytest.raises(EngineError, match="the model stopped"):
        list(events)
    assert host.status.state == "failed"
    assert "the model stopped" in host.status.detail

    again = host.engine(WAIT_S)
    assert again is not broken
    assert host.status.state == "ready"
    assert spoken(again, prompt, SamplingParams(max_tokens=4))


def test_a_model_that_breaks_down_while_another_is_loading_does_not_take_its_place(
    host, tiny, prompt
):
    host.start()
    broken = host.engine(WAIT_S)
    with host._loading:
        host.use(str(tiny))
        broken._batcher.model.model.layers[0] = None
        with pytest.raises(EngineError, match="the model stopped"):
            list(broken.stream(prompt, LONG))
        with pytest.raises(EngineNotReady, match="starting again"):
            host.engine(0)

    assert host.engine(WAIT_S).identity.model_id == tiny.name
    wait_until(lambda: not any(t.name == "hermes-load" for t in threading.enumerate()))
    assert host.status.model_id == tiny.name


def test_switching_lets_a_running_reply_finish_on_the_old_model(host, tiny, prompt):
    host.start()
    old = host.engine(WAIT_S)
    events = old.stream(prompt, LONG)
    until_text(events)

    host.use(str(tiny))
    wait_until(lambda: host.engine(0) is not old)

    *_, finish = events
    assert isinstance(finish, Finish)
    assert host.status.model_id == tiny.name
    assert spoken(host.engine(0), prompt, SamplingParams(max_tokens=4))


def test_a_replaced_model_is_closed_when_it_is_idle(host, tiny, prompt):
    host.start()
    old = host.engine(WAIT_S)

    host.use(str(tiny))
    wait_until(lambda: host.engine(0) is not old)

    wait_until(lambda: not any(t.name == "hermes-load" for t in threading.enumerate()))
    with pytest.raises(Exception, match="was closed"):
        next(old.stream(prompt, LONG))


def test_a_switch_that_fails_leaves_the_old_model_and_says_why(host, prompt):
    host.start()
    old = host.engine(WAIT_S)

    host.use("/nowhere/at/all")
    wait_until(lambda: "/nowhere/at/all" in host.status.detail)

    assert host.engine(0) is old
    assert (host.status.state, host.status.model_id) == ("ready", "hermes-mini")
    assert "no such folder; hermes-mini goes on" in host.status.detail


def test_a_download_reports_bytes_and_switches_to_the_model(host, hub):
    host.start()
    host.engine(WAIT_S)
    hub.gate.clear()

    host.download(HUB_ID)
    wait_until(lambda: host.status.state == "downloading" and host.status.progress)
    share, detail = host.status.progress, host.status.detail
    hub.gate.set()
    wait_until(lambda: host.status.state == "ready" and host.status.model_id == HUB_ID)

    assert 0 < share < 1
    assert HUB_ID in detail
    assert " of " in detail
    assert host.engine(0).identity.revision == COMMIT


def cancel_within_the_weights(host, hub):
    """Serve the embedded model, and end the download of another when its small files are here."""
    host.start()
    host.engine(WAIT_S)
    hub.gate.clear()
    host.download(HUB_ID)
    wait_until(lambda: "model.safetensors" in hub.fetched)
    host.cancel()
    hub.gate.set()
    wait_until(lambda: "cancelled" in host.status.detail)


def test_a_cancelled_download_keeps_its_whole_files(host, hub):
    cancel_within_the_weights(host, hub)

    assert host.status.state == "ready"
    assert "cancelled" in host.status.detail
    assert host.status.model_id == "hermes-mini"
    before = len(hub.fetched)
    host.download(HUB_ID)
    wait_until(lambda: host.status.model_id == HUB_ID)

    assert hub.fetched[before:] == ["model.safetensors"]


def test_a_download_is_taken_up_again_where_only_the_rest_has_room(host, hub, tiny, monkeypatch):
    cancel_within_the_weights(host, hub)
    room = SPARE_BYTES + (tiny / "model.safetensors").stat().st_size
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=room))
    host.download(HUB_ID)

    wait_until(lambda: host.status.model_id == HUB_ID)


def test_a_model_that_is_too_large_for_the_disk_is_not_begun(host, hub, monkeypatch):
    host.start()
    host.engine(WAIT_S)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=SPARE_BYTES))

    host.download(HUB_ID)
    wait_until(lambda: "GB of disk" in host.status.detail)

    assert hub.fetched == []


def test_a_second_download_beside_the_first_does_nothing(host, hub):
    hub.gate.clear()
    host.download(HUB_ID)
    host.download(HUB_ID)
    hub.gate.set()
    wait_until(lambda: host.status.model_id == HUB_ID and host.status.state == "ready")

    assert hub.fetched.count("model.safetensors") == 1


def test_a_model_that_the_hub_does_not_have_is_said(host):
    host.start()
    host.engine(WAIT_S)

    host.download("someone/else")
    wait_until(lambda: "no such model" in host.status.detail)

    assert host.status.state == "ready"


def test_an_unreachable_hub_is_said(models_dir, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with closing(
        ModelHost(models_dir=models_dir, cache_dir=tmp_path / "c", endpoint=nowhere)
    ) as host:
        host.start()
        host.engine(WAIT_S)
        assert host.hub_reachable() is None

        host.download(HUB_ID)
        wait_until(lambda: "the download stopped" in host.status.detail)

        wait_until(lambda: host.hub_reachable() is False)


def test_a_reachable_hub_is_known_after_a_moment(host):
    assert host.hub_reachable() is None

    wait_until(lambda: host.hub_reachable() is True)


def test_weights_as_pickles_are_not_downloaded(tmp_path, models_dir):
    folder = tmp_path / "pickled"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"x")
    with (
        serving(HUB_ID, folder) as hub,
        closing(
            ModelHost(models_dir=models_dir, cache_dir=tmp_path / "c", endpoint=hub.url)
        ) as host,
    ):
        host.download(HUB_ID)
        wait_until(lambda: "no safetensors" in host.status.detail)

        assert hub.fetched == []


def test_closing_leaves_no_thread(models_dir, tmp_path, hub):
    before = set(threading.enumerate())
    host = ModelHost(models_dir=models_dir, cache_dir=tmp_path / "c", endpoint=hub.url)
    host.start()
    host.engine(WAIT_S)
    hub.gate.clear()
    host.download(HUB_ID)
    wait_until(lambda: "model.safetensors" in hub.fetched)
    threading.Timer(0.2, hub.gate.set).start()

    host.close()

    time.sleep(0.3)  # the timer and the server's own threads
    names = {t.name for t in set(threading.enumerate()) - before}
    assert not {name for name in names if name.startswith("hermes")}
    with pytest.raises((ModelError, EngineNotReady)):
        host.engine(0)
