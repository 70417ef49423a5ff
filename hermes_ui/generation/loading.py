"""Which model, from where, and loading it. Never reaches for a network."""

import hashlib
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hermes_ui.errors import EngineError, ModelError, first_line
from hermes_ui.generation import memory
from hermes_ui.generation.engine import EngineIdentity
from hermes_ui.generation.placement import SMALL, Placement
from hermes_ui.generation.threads import in_own_thread
from hermes_ui.generation.weights import fingerprint, parameters, problem_with

if TYPE_CHECKING:
    from hermes_ui.generation.local import TransformersEngine

HERMES = "NousResearch/Hermes-3-Llama-3.2-3B"
EMBEDDED = "hermes-mini"
SMALL_STEP = 448  # tokens; their angles, of heads of 64, are not divided among threads

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A folder with a whole model, its name, and why it was chosen."""

    where: Path
    model_id: str
    why: str


def choose(model: str, *, models_dir: Path, cache_dir: Path | None = None) -> ModelChoice:
    """The model that `model` names: `auto`, `embedded`, a folder, or a hub id on this machine.

    Args:
        models_dir: The folder of the embedded model, and of others laid beside it.
        cache_dir: The hub's cache; None: its usual place.

    Raises:
        ModelError: it is not here, or not whole.
    """
    if model == "auto":
        found = _hermes(models_dir, cache_dir)
        return found or _embedded(
            models_dir, f"Hermes 3 3B is not on this machine; `model download {HERMES}` gets it"
        )
    if model in ("embedded", EMBEDDED):
        return _embedded(models_dir, "asked for")
    try:
        folder = Path(model).expanduser()
        is_folder = folder.exists() or model.startswith((".", "/", "~")) or folder.is_absolute()
    except (OSError, RuntimeError) as error:  # no such user, a name too long, no way in
        raise ModelError(model, f"cannot be looked at: {first_line(error)}") from None
    if is_folder:
        return _checked(ModelChoice(folder, folder.resolve().name, f"the folder {folder}"))
    if _HUB_ID.fullmatch(model):
        return _from_hub(model, models_dir, cache_dir)
    beside = models_dir / model
    if Path(model).name == model and beside.is_dir():
        return _checked(ModelChoice(beside, model, f"the folder {beside}"))
    raise ModelError(model, f"is no folder, and no hub id such as {HERMES}")


def installed(*, models_dir: Path, cache_dir: Path | None = None) -> list[ModelChoice]:
    """Every whole model on this machine: beside the embedded one, and in the hub's cache."""
    found: list[ModelChoice] = []
    for folder in sorted(models_dir.iterdir()) if models_dir.is_dir() else ():
        if folder.is_dir() and not problem_with(folder):
            model_id = HERMES if folder.name == HERMES.partition("/")[2] else folder.name
            found.append(ModelChoice(folder, model_id, "in the models folder"))
    for hub_id in _cached_ids(cache_dir):
        cached = _cached(hub_id, cache_dir)
        if cached is not None and not problem_with(cached):
            found.append(ModelChoice(cached, hub_id, "in the hub's cache"))
    return found


def _checked(choice: ModelChoice) -> ModelChoice:
    problem = problem_with(choice.where)
    if problem:
        raise ModelError(str(choice.where), problem)
    return choice


def _embedded(models_dir: Path, why: str) -> ModelChoice:
    return _checked(ModelChoice(models_dir / EMBEDDED, EMBEDDED, f"the embedded model: {why}"))


def _hermes(models_dir: Path, cache_dir: Path | None) -> ModelChoice | None:
    try:
        return _from_hub(HERMES, models_dir, cache_dir)
    except ModelError:
        return None


def _from_hub(hub_id: str, models_dir: Path, cache_dir: Path | None) -> ModelChoice:
    """A hub model that lies in the models folder or, as downloaded, in the hub's cache."""
    beside = models_dir / hub_id.partition("/")[2]
    if beside.is_dir() and not problem_with(beside):
        return ModelChoice(beside, hub_id, f"{hub_id} lies in {beside}")
    cached = _cached(hub_id, cache_dir)
    if cached is None:
        raise ModelError(
            hub_id, f"is not on this machine; `python -m hermes_ui model download {hub_id}` gets it"
        )
    if problem := problem_with(cached):
        raise ModelError(hub_id, f"is not whole ({problem}); download it again to complete it")
    return ModelChoice(cached, hub_id, f"{hub_id} is in the hub's cache")


def _cached(hub_id: str, cache_dir: Path | None) -> Path | None:
    """The snapshot of a hub model in the cache."""
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415  # takes 0.2 s
    from huggingface_hub.errors import HFValidationError  # noqa: PLC0415

    try:
        config = try_to_load_from_cache(hub_id, "config.json", cache_dir=cache_dir)
    except HFValidationError:
        return None
    return Path(config).parent if isinstance(config, str) else None


def _cached_ids(cache_dir: Path | None) -> list[str]:
    if cache_dir is None:
        from huggingface_hub.constants import HF_HUB_CACHE  # noqa: PLC0415

        cache_dir = Path(HF_HUB_CACHE)
    folders = sorted(cache_dir.glob("models--*--*")) if cache_dir.is_dir() else []
    ids = (folder.name.removeprefix("models--").replace("--", "/", 1) for folder in folders)
    return [hub_id for hub_id in ids if _HUB_ID.fullmatch(hub_id)]


@in_own_thread
def load(
    choice: ModelChoice,
    placement: Placement,
    *,
    context_length: int = 8192,
    max_active: int = 8,
    max_waiting: int = 32,
    cache_tokens: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> "TransformersEngine":
    """The engine of a model, ready to speak. `progress` is told what is going on.

    `cache_tokens` is the most that is kept of all prompts and replies together; 0: what fits.
    Code that comes with a model is never run, and weights are read as safetensors only.

    Raises:
        ModelError: the folder holds no model that can be loaded; in one line.
    """
    _checked(choice)
    progress("starting PyTorch")
    from hermes_ui.generation.capacity import Capacity  # noqa: PLC0415  # takes seconds
    from hermes_ui.generation.local import TransformersEngine  # noqa: PLC0415

    tokenizer = _tokenizer(choice.where)
    model = _model(choice.where)
    is_small = parameters(choice.where) < SMALL
    with _loading(choice.where):
        quantization = _settle(model, tokenizer, placement, progress)
        progress("warming up")
        capacity = Capacity.of(
            model,
            step_tokens=2048 if placement.device == "cuda" else SMALL_STEP if is_small else 128,
            context_length=context_length,
            max_active=max_active,
            max_waiting=max_waiting,
            cache_tokens=cache_tokens,
        )
        identity = _identity(choice, placement, tokenizer, quantization)
        engine = TransformersEngine(model, tokenizer, identity, capacity)
        memory.give_back()
        return engine


def _tokenizer(folder: Path) -> Any:
    from tokenizers import Tokenizer  # noqa: PLC0415
    from transformers import AutoTokenizer  # noqa: PLC0415

    try:
        Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the library raises nothing narrower for a file it cannot read
        raise ModelError(str(folder), f"has no usable tokenizer: {first_line(error)}") from error
    with _loading(folder):
        tokenizer = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(str(folder), "has no fast tokenizer")
    return tokenizer


def _model(folder: Path) -> Any:
    """The model on the mapped file: nothing of the weights has been read yet."""
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    with _loading(folder):
        model, report = AutoModelForCausalLM.from_pretrained(
            str(folder),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype="auto",
            output_loading_info=True,
        )
    if lacking := sorted(report["missing_keys"]) or sorted(map(str, report["mismatched_keys"])):
        raise ModelError(str(folder), f"the weights do not fit the config, first at {lacking[0]}")
    return model.requires_grad_(False).eval()


def _settle(
    model: Any, tokenizer: Any, placement: Placement, progress: Callable[[str], None]
) -> str:
    """Read the weights into their place; returns what the seal says of their quantization."""
    import torch  # noqa: PLC0415

    from hermes_ui.generation import settling, streaming  # noqa: PLC0415

    dtype = getattr(torch, placement.dtype)
    reading = streaming.Reading(model, progress)
    if not placement.quantization:
        streaming.settle(model, dtype, placement.device, reading)
        return ""
    longest = model.config.get_text_config().max_position_embeddings
    ids = settling.text_ids(tokenizer, longest)
    return settling.quantize(model, ids, dtype, reading, placement.quantization)


@contextmanager
def _loading(folder: Path) -> Iterator[None]:
    """What is raised over a folder becomes one line; the library's notes stay off the terminal."""
    from huggingface_hub.errors import StrictDataclassError  # noqa: PLC0415
    from safetensors import SafetensorError  # noqa: PLC0415
    from transformers.utils import logging as library  # noqa: PLC0415

    library.disable_progress_bar()
    logger = library.get_logger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    except ModelError as error:
        raise ModelError(str(folder), f"{error.where} {error.why}") from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, ImportError,
            MemoryError, EngineError, SafetensorError, StrictDataclassError) as error:  # fmt: skip
        raise ModelError(str(folder), f"cannot be loaded: {first_line(error)}") from error
    finally:
        logger.setLevel(level)


def _identity(
    choice: ModelChoice, placement: Placement, tokenizer: Any, quantization: str
) -> EngineIdentity:
    snapshot = choice.where.name
    template = getattr(tokenizer, "chat_template", None) or ""
    return EngineIdentity(
        model_id=choice.model_id,
        revision=snapshot if _COMMIT.fullmatch(snapshot) else fingerprint(choice.where),
        dtype=placement.dtype,
        quantization=quantization,
        device=placement.device,
        tokenizer_hash=hashlib.sha256((choice.where / "tokenizer.json").read_bytes()).hexdigest(),
        template_hash=hashlib.sha256(str(template).encode()).hexdigest(),
    )
