"""`ModelHost`: keeps one engine ready, and says how that is going.

Loading, downloading and probing the hub happen in threads of their own; no method waits
for them but `engine`, which is given a time.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypedDict

from hermes_ui.errors import EngineNotReady, HermesError, ModelError, first_line
from hermes_ui.generation.download import Cancelled, download, hub_answers
from hermes_ui.generation.engine import CacheUse, Engine
from hermes_ui.generation.loading import ModelChoice, choose, load
from hermes_ui.generation.placement import Device, Dtype, Quantize, place
from hermes_ui.generation.scripted import SPEAKING_S, ScriptedEngine

State = Literal["loading", "ready", "downloading", "failed"]

IDLE_S = 5.0  # seconds; a reply that calls tools comes back to its engine between rounds
PROBE_S = 3.0
PROBE_AGAIN_S = 60.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """What the model chip shows. `progress` is a share of 1, None where unknown.

    `model_id`, `why`, `device`, `dtype` and `quantization` are of the model that answers;
    before there is one, of the one that is loading.
    """

    state: State
    model_id: str = ""
    why: str = ""
    device: str = ""
    dtype: str = ""
    quantization: str = ""
    detail: str = ""
    progress: float | None = None


class _Superseded(Exception):
    """Ends the loading of a model that is not wanted any more."""


class _Limits(TypedDict):
    context_length: int
    max_active: int
    max_waiting: int


class ModelHost:
    """The engine of this process. Safe to use from many threads."""

    def __init__(
        self,
        model: str = "auto",
        *,
        engine: Literal["auto", "local", "scripted"] = "auto",
        device: Device = "auto",
        dtype: Dtype = "auto",
        quantize: Quantize = "auto",
        context_length: int = 8192,
        max_active: int = 8,
        max_waiting: int = 32,
        cache_tokens: int = 0,
        models_dir: Path = Path("models"),
        cache_dir: Path | None = None,
        endpoint: str | None = None,
        idle_s: float = IDLE_S,
    ) -> None:
        """Nothing runs before `start`.

        Args:
            cache_tokens: The most that an engine here keeps of prompts and replies; 0: what fits.
            cache_dir, endpoint: The hub's cache and address; None: as usual.
            idle_s: How long a replaced engine must have been idle before it is closed.
        """
        self._model = model
        self._is_scripted = engine == "scripted"
        self._device: Device = device
        self._dtype: Dtype = dtype
        self._quantize: Quantize = quantize
        self._limits: _Limits = {
            "context_length": context_length,
            "max_active": max_active,
            "max_waiting": max_waiting,
        }
        self._cache_tokens = cache_tokens
        self._models_dir = models_dir
        self._cache_dir = cache_dir
        self._endpoint = endpoint
        self._idle_s = idle_s
        self._changed = threading.Condition()
        self._status = ModelStatus("loading", detail="waiting to start")
        self._engine: Engine | None = None
        self._served = model  # what `_engine` was loaded as
        self._asked = model  # what comes in its place; the same while nothing else is loading
        self._error: ModelError | None = None
        self._loading = threading.Lock()
        self._wanted = 0  # the newest wish wins
        self._download: threading.Event | None = None  # set it to cancel
        self._is_closed = False
        self._threads: list[threading.Thread] = []
        self._reachable: bool | None = None
        self._probed = -PROBE_AGAIN_S

    @classmethod
    def serving(cls, engine: Engine) -> "ModelHost":
        """A host whose engine is there already."""
        host = cls()
        host._engine = engine
        host._status = _ready(engine, "given")
        return host

    def start(self) -> None:
        """Begin to load; returns at once. A host that serves already is left alone."""
        if self._engine is None:
            self.use(self._model)

    @property
    def status(self) -> ModelStatus:
        """How it stands right now."""
        with self._changed:
            if self._engine is not None and self._engine.failure:
                detail = f"the model stopped: {self._engine.failure}"
                return replace(self._status, state="failed", detail=detail)
            return self._status

    @property
    def cache(self) -> CacheUse | None:
        """How full the engine's memory for prompts is; None where there is none."""
        with self._changed:
            return None if self._engine is None else self._engine.cache

    def engine(self, timeout_s: float) -> Engine:
        """The engine, as soon as there is one. One that broke down is loaded again first.

        Raises:
            EngineNotReady: none is ready within the time; the text says what is going on.
            ModelError: the model could not be loaded.
        """
        self._replace_broken()
        with self._changed:
            self._changed.wait_for(lambda: self._engine or self._error, timeout_s)
            if self._engine is not None:
                return self._engine
            if self._error is not None:
                raise ModelError(self._error.where, self._error.why)
            status = self._status
            raise EngineNotReady(f"the model is not ready yet: {status.detail or status.state}")

    def use(self, model: str) -> None:
        """Load another model in the background and switch to it; returns at once.

        The old engine goes on answering until the new one is ready, finishes what it began,
        and is closed. If the new one cannot be loaded, the old one stays.
        """
        with self._changed:
            self._wanted += 1
            wish = self._wanted
            self._asked = model
            self._error = None
        self._in_background(lambda: self._switch(model, wish), "hermes-load")

    def download(self, hub_id: str) -> None:
        """Get a model from the hub in the background, then use it; returns at once.

        A second call while one is running does nothing. What was fetched before is kept.
        """
        with self._changed:
            if self._download is not None or self._is_closed:
                return
            self._download = threading.Event()
            cancelled = self._download
        self._report(state="downloading", detail=f"{hub_id}: asking the hub", progress=None)
        self._in_background(lambda: self._fetch(hub_id, cancelled), "hermes-download")

    def cancel(self) -> None:
        """Stop the download; what it has fetched is kept for the next try."""
        with self._changed:
            if self._download is not None:
                self._download.set()

    def hub_reachable(self) -> bool | None:
        """Whether the hub answered last; None before it was asked. Never waits.

        Asks again in the background when the answer is old.
        """
        with self._changed:
            now = time.monotonic()
            is_old = now - self._probed >= PROBE_AGAIN_S
            if is_old and not self._is_closed:
                self._probed = now
            else:
                return self._reachable
        self._in_background(self._probe, "hermes-probe")
        return self._reachable

    def close(self) -> None:
        """Cancel what is going on and close the engine; streams still open end with an error."""
        with self._changed:
            self._is_closed = True
            self._wanted += 1
            if self._download is not None:
                self._download.set()
            engine, self._engine = self._engine, None
            self._error = self._error or ModelError("the model", "was closed")
            threads = list(self._threads)
            self._changed.notify_all()
        if engine is not None:
            engine.close()
        for thread in threads:
            thread.join()

    def _replace_broken(self) -> None:
        with self._changed:
            engine = self._engine
            if engine is None or not engine.failure:
                return
            self._engine = None
            self._status = replace(
                self._status, state="loading", detail=f"starting again after {engine.failure}"
            )
            is_replaced = self._asked != self._served
        engine.close()
        if not is_replaced:
            self.use(self._served)

    def _in_background(self, work: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=work, name=name, daemon=True)
        with self._changed:
            if self._is_closed:
                return
            self._threads = [each for each in self._threads if each.is_alive()]
            self._threads.append(thread)
            thread.start()

    def _report(self, **fields: object) -> None:
        with self._changed:
            self._status = replace(self._status, **fields)  # type: ignore[arg-type]
            self._changed.notify_all()

    def _switch(self, model: str, wish: int) -> None:
        """Load `model`, unless something else is wanted by now."""
        with self._loading:
            if wish != self._wanted:
                return
            self._report(state="loading", detail="looking for the model", progress=None)
            try:
                engine, why = self._loaded(model, wish)
            except _Superseded:
                return
            except ModelError as error:
                self._keep_old(error, wish)
                return
            except Exception as error:  # a defect must not leave everyone waiting for a model
                _log.exception("loading %s failed", model)
                self._keep_old(ModelError(model, f"cannot be loaded: {first_line(error)}"), wish)
                return
            with self._changed:
                is_wanted = wish == self._wanted
                if is_wanted:
                    old, self._engine = self._engine, engine
                    self._served = model
                    self._status = _ready(engine, why)
                    self._changed.notify_all()
        if not is_wanted:
            engine.close()
        elif old is not None:
            self._retire(old)

    def _loaded(self, model: str, wish: int) -> tuple[Engine, str]:
        """A new engine, and why it is this one.

        Raises:
            _Superseded: soon after something else is wanted.
        """

        def tell(step: str) -> None:
            if wish != self._wanted:
                raise _Superseded
            self._report(detail=step)

        if self._is_scripted:
            return ScriptedEngine(delay_s=SPEAKING_S, **self._limits), "HERMES_ENGINE=scripted"
        choice = choose(model, models_dir=self._models_dir, cache_dir=self._cache_dir)
        self._announce(choice)
        placement = place(choice, self._device, self._dtype, self._quantize)
        engine = load(
            choice, placement, progress=tell, cache_tokens=self._cache_tokens, **self._limits
        )
        return engine, f"{choice.why}; {placement.why}"

    def _announce(self, choice: ModelChoice) -> None:
        if self._engine is None:
            self._report(model_id=choice.model_id, why=choice.why, detail="starting PyTorch")
        else:
            self._report(detail=f"loading {choice.model_id}; the old model answers meanwhile")

    def _keep_old(self, error: ModelError, wish: int) -> None:
        with self._changed:
            if wish != self._wanted:
                return
            if self._engine is None:
                self._error = error
                self._status = replace(self._status, state="failed", detail=str(error))
            else:
                self._asked = self._served
                detail = f"{error}; {self._engine.identity.model_id} goes on"
                self._status = replace(self._status, state="ready", detail=detail)
            self._changed.notify_all()

    def _retire(self, engine: Engine) -> None:
        """Close a replaced engine once it has been idle for a while, or the host closes."""
        idle_since = time.monotonic()
        while not self._is_closed and time.monotonic() - idle_since < self._idle_s:
            if engine.active:
                idle_since = time.monotonic()
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed, 0.1)
        engine.close()

    def _fetch(self, hub_id: str, cancelled: threading.Event) -> None:
        """Download `hub_id` unless it is here, and use it."""
        failure = ""
        try:
            if not self._is_here(hub_id):
                download(
                    hub_id,
                    lambda done, total: self._report_bytes(hub_id, done, total),
                    cancelled,
                    endpoint=self._endpoint,
                    cache_dir=self._cache_dir,
                )
        except Cancelled:
            failure = f"the download of {hub_id} was cancelled; it can be taken up again"
        except HermesError as error:
            failure = str(error)
        except Exception as error:  # a defect must not bar every later download
            _log.exception("the download of %s failed", hub_id)
            failure = f"the download of {hub_id} failed: {first_line(error)}"
        with self._changed:
            self._download = None
            state: State = "ready" if self._engine else "failed" if self._error else "loading"
            self._status = replace(self._status, state=state, detail=failure, progress=None)
            self._changed.notify_all()
        if not failure:
            self.use(hub_id)

    def _is_here(self, hub_id: str) -> bool:
        try:
            choose(hub_id, models_dir=self._models_dir, cache_dir=self._cache_dir)
        except ModelError:
            return False
        return True

    def _report_bytes(self, hub_id: str, done: int, total: int) -> None:
        self._report(
            state="downloading",
            detail=f"{hub_id}: {done / 1e9:.2f} of {total / 1e9:.2f} GB",
            progress=done / total if total else None,
        )

    def _probe(self) -> None:
        reachable = hub_answers(self._endpoint, PROBE_S)
        with self._changed:
            self._reachable = reachable
            self._changed.notify_all()


def _ready(engine: Engine, why: str) -> ModelStatus:
    identity = engine.identity
    return ModelStatus(
        "ready", identity.model_id, why, identity.device, identity.dtype, identity.quantization
    )
