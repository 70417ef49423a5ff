"""On which device a model runs, in which number format, and why."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from hermes_ui.errors import ModelError
from hermes_ui.generation import memory
from hermes_ui.generation.weights import parameters

if TYPE_CHECKING:
    from hermes_ui.generation.loading import ModelChoice

SMALL = 1_000_000_000  # parameters; below this a CPU does float32 as fast as anything
WORTH_INT8 = (
    25_000_000  # parameters; measured: 28 million are 1.6 times as fast, 4 million not at all
)

OURS_NEED = "Linux, numba, and a CPU with AVX2"
INT8_NEEDS = "an x86 CPU with AVX2"

Device = Literal["auto", "cpu", "cuda", "mps"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Quantize = Literal["auto", "none", "int8", "int4"]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model runs and in which number format, and why.

    With a `quantization` ("int8", "int4"), `dtype` is the format of what stands between its layers.
    """

    device: str
    dtype: str
    why: str
    quantization: str = ""


def place(
    choice: "ModelChoice",
    device: Device = "auto",
    dtype: Dtype = "auto",
    quantize: Quantize = "auto",
) -> Placement:
    """Where and how the model shall run: as asked for, else the best that is here.

    Raises:
        ModelError: the device or the quantization that was asked for is not here.
    """
    import torch  # noqa: PLC0415  # takes seconds

    here = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if device != "auto" and not here[device]:
        raise ModelError(choice.model_id, f"cannot run on {device}: this machine has none")
    where = device if device != "auto" else next(name for name, is_here in here.items() if is_here)
    if kind := quantization(choice, where, dtype, quantize):
        return _place_in_integers(kind, dtype)
    if dtype != "auto":
        return Placement(where, dtype, f"{dtype} on {where}, as asked for")
    if where == "cuda":
        return Placement(where, "bfloat16", "bfloat16, the weights' own format, on the GPU")
    if where == "mps":
        return Placement(where, "float16", "float16, which Apple's GPUs do best")
    placement = _place_on_cpu(parameters(choice.where), cpu_does_bfloat16())
    if quantize == "auto" and _is_worth_int8(choice):
        return replace(placement, why=f"{placement.why}; int8 needs {INT8_NEEDS}")
    return placement


def quantization(choice: "ModelChoice", device: str, dtype: Dtype, quantize: Quantize) -> str:
    """What the model is quantized to, or ""; by itself only where nothing else was asked for.

    Raises:
        ModelError: it was asked for where it cannot be done.
    """
    from hermes_ui.generation.quantize import is_available  # noqa: PLC0415

    if quantize == "none":
        return ""
    if quantize == "auto":
        fits = device == "cpu" and dtype == "auto" and _is_worth_int8(choice)
        return "int8" if fits and is_available("int8") else ""
    if device != "cpu":
        raise ModelError(choice.model_id, f"{quantize} is for CPUs, and the model runs on {device}")
    if not is_available(quantize):
        needs = INT8_NEEDS if quantize == "int8" else OURS_NEED
        raise ModelError(choice.model_id, f"{quantize} needs {needs}")
    return quantize


def _is_worth_int8(choice: "ModelChoice") -> bool:
    return parameters(choice.where) >= WORTH_INT8


def _place_in_integers(kind: str, dtype: Dtype) -> Placement:
    from hermes_ui.generation.quantize import has_products, weight_bits  # noqa: PLC0415

    between = "float32" if dtype == "auto" else dtype
    if kind == "int4":
        why = "int4: about half of int8's memory and the fastest writing on a CPU; less exact"
    else:
        why = "int8: a quarter of float32's memory, and fast on a CPU"
        if not has_products():
            why += "; PyTorch's fbgemm multiplies, as our own kernel needs Linux and numba"
        if weight_bits() == 7:
            why += "; weights of 7 bits, because this CPU has no VNNI"
    return Placement("cpu", between, why, kind)


def _place_on_cpu(size: int, bfloat16_is_fast: bool) -> Placement:
    if size < SMALL:
        return Placement("cpu", "float32", "float32: exact, and fast enough for a small model")
    if bfloat16_is_fast:
        return Placement("cpu", "bfloat16", "bfloat16: this CPU multiplies in it")
    if size * 4 < memory.total() * 0.7:
        return Placement("cpu", "float32", "float32: bfloat16 is very slow on this CPU")
    return Placement("cpu", "bfloat16", "bfloat16, slow here: float32 does not fit the memory")


def cpu_does_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 itself."""
    import torch  # noqa: PLC0415

    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
