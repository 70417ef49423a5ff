"""Bring the weights from the file to where they work, one tensor at a time.

`from_pretrained` in the file's own number format copies nothing: the tensors are views of the
mapped file. What is made of a tensor, here or in `settling`, lasts; the pages it was read from
are given back at once, so that memory never holds the model twice.
"""

import ctypes
import mmap
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

_MAPS = Path("/proc/self/maps")  # Linux; elsewhere the system takes the pages when it needs them


class Reading:
    """The mapped weights of `model`, and how much of them has been taken in.

    Args:
        progress: Told "reading the weights, 40 %", once for every hundredth.
    """

    def __init__(self, model: nn.Module, progress: Callable[[str], None]) -> None:
        self._mapped = _mapped_files()
        self._total = sum(each.nbytes for each in model.parameters()) or 1
        self._done = 0
        self._seen: set[int] = set()  # tied weights count once
        self._percent = -1
        self._progress = progress
        self._say()

    def done_with(self, tensor: Tensor) -> None:
        """Count `tensor` and give its pages back; it may still be read again, from the file."""
        self._give_back(tensor)
        if tensor.data_ptr() not in self._seen:
            self._seen.add(tensor.data_ptr())
            self._done += tensor.nbytes
            self._say()

    def _say(self) -> None:
        percent = 100 * self._done // self._total
        if percent > self._percent:
            self._percent = percent
            self._progress(f"reading the weights, {percent} %")

    def _give_back(self, tensor: Tensor) -> None:
        first = tensor.data_ptr()
        last = first + tensor.nbytes
        if not any(start <= first and last <= end for start, end in self._mapped):
            return  # memory of our own, which this would empty
        first += -first % mmap.PAGESIZE
        last -= last % mmap.PAGESIZE
        if first < last:
            ctypes.CDLL(None).madvise(
                ctypes.c_void_p(first), ctypes.c_size_t(last - first), mmap.MADV_DONTNEED
            )


def settle(model: nn.Module, dtype: torch.dtype, device: str, reading: Reading) -> None:
    """Give every parameter memory of its own on `device`; those of the file's format get `dtype`.

    Formats that the library chose for a few layers on purpose are left alone.
    """
    of_file = model.dtype
    settled: dict[Tensor, None] = {}  # by identity: tied weights stay tied
    for parameter in model.parameters():
        if parameter in settled:
            continue
        mapped = parameter.data
        wanted = dtype if mapped.dtype == of_file else mapped.dtype
        parameter.data = mapped.to(device=device, dtype=wanted, copy=True)
        reading.done_with(mapped)
        settled[parameter] = None
    model.to(device)  # the buffers


def _mapped_files() -> list[tuple[int, int]]:
    """Address ranges of the safetensors files that are mapped into this process."""
    if not _MAPS.exists():
        return []
    ranges = []
    for line in _MAPS.read_text().splitlines():
        if line.endswith(".safetensors") or "/blobs/" in line:
            start, end = line.split(maxsplit=1)[0].split("-")
            ranges.append((int(start, 16), int(end, 16)))
    return ranges
