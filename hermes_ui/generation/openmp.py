"""Compiled code in the threads that PyTorch computes with.

Threads of its own would wait for PyTorch's to go to sleep, and these for them.
"""

import ctypes
import functools
import struct
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numba import types
from numba.extending import intrinsic

FAST = {"contract", "reassoc", "nsz"}  # sums in vectors; what is no number stays none
ENDLESS = 1 << 40  # the length of an array that is never read to its end


@functools.cache
def _library() -> ctypes.CDLL:
    """OpenMP as PyTorch has loaded it.

    Raises:
        AttributeError: PyTorch has none of this kind.
    """
    library = ctypes.CDLL(None)
    library.omp_get_thread_num.argtypes = library.omp_get_num_threads.argtypes = []
    library.omp_get_thread_num.restype = library.omp_get_num_threads.restype = ctypes.c_int
    library.GOMP_parallel.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_uint] * 2
    library.GOMP_parallel.restype = None
    return library


def is_available() -> bool:
    """Whether PyTorch has such threads here: on Linux."""
    try:
        return sys.platform == "linux" and bool(_library())
    except AttributeError:
        return False


def numbers() -> tuple[Callable[[], int], Callable[[], int]]:
    """What tells compiled code its thread's number, and how many there are."""
    return _library().omp_get_thread_num, _library().omp_get_num_threads


def team(tasks: int) -> int:
    """How many threads to take for so many tasks: all of PyTorch's, or one.

    libgomp ends the threads that a team of some leaves idle, and the next one starts them anew.
    """
    threads = torch.get_num_threads()
    return threads if tasks >= threads else 1


class Record:
    """The layout of what compiled code is told of one call, and does not change.

    Args:
        integers: Names of sizes, strides and addresses.
        floats: Names of what is float32.
    """

    def __init__(self, integers: str, floats: str = "") -> None:
        names, others = integers.split(), floats.split()
        kinds = [*((name, np.int64) for name in names), *((name, np.float32) for name in others)]
        self.dtype = np.dtype(kinds)
        self.pack = struct.Struct(f"={len(names)}q{len(others)}f").pack  # numpy takes longer


def run(compiled: Any, call: bytes, threads: int) -> None:
    """A compiled `cfunc` in so many threads, each of which is given the address of `call`."""
    _library().GOMP_parallel(compiled.address, call, threads, 0)


@intrinsic
def pointer(typing: Any, address: Any) -> Any:
    """An address as numba takes one."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.inttoptr(values[0], context.get_value_type(signature.return_type))

    return types.voidptr(types.int64), generate


@intrinsic
def take(typing: Any, counter: Any, count: Any) -> Any:
    """The number at the address `counter`, which is larger by `count` for the thread after."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        address, more = values
        place = builder.inttoptr(address, more.type.as_pointer())
        return builder.atomic_rmw("add", place, more, "monotonic")

    return types.int64(types.int64, types.int64), generate
