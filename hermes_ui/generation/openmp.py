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
from llvmlite import ir
from numba import carray, cfunc, njit, types
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
    library.GOMP_barrier.argtypes = []
    library.GOMP_parallel.restype = library.GOMP_barrier.restype = None
    return library


def is_available() -> bool:
    """Whether PyTorch has such threads here: on Linux."""
    try:
        return sys.platform == "linux" and bool(_library())
    except AttributeError:
        return False


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


class Compiled:
    """A function as threads call it, compiled when it is first needed.

    Args:
        function: Takes a record of the call, this thread's number and how many there are.
        record: How the call is laid out.
    """

    def __init__(self, function: Callable[[Any, int, int], None], record: Record) -> None:
        self._function, self._record = function, record

    @functools.cached_property
    def address(self) -> int:
        """Where it is in memory; takes the address of a call."""
        number, count = _library().omp_get_thread_num, _library().omp_get_num_threads
        function, kind = njit(error_model="numpy")(self._function), self._record.dtype

        @cfunc(types.void(types.voidptr))
        def part(data: Any) -> None:
            function(carray(data, (1,), kind)[0], number(), count())

        self._part = part  # else it would not stay there
        address: int = part.address
        return address


def compiled(record: Record) -> Callable[[Callable[[Any, int, int], None]], Compiled]:
    """Make a function `Compiled`."""
    return lambda function: Compiled(function, record)


def run(compiled: Compiled, call: bytes, threads: int) -> None:
    """So many threads, each of which is given the address of `call`."""
    _library().GOMP_parallel(compiled.address, call, threads, 0)


class Program:
    """What is computed in one go: calls of compiled code, and of Python between them."""

    def __init__(self) -> None:
        self.threads = torch.get_num_threads()
        self._parts: list[_Calls | Callable[[], object]] = []

    def add(self, compiled: Compiled, call: bytes | np.ndarray) -> None:
        """Call it next. What is in an array may change from run to run."""
        calls = self._parts[-1] if self._parts else None
        if not isinstance(calls, _Calls):
            calls = _Calls(self.threads)
            self._parts.append(calls)
        calls.add(compiled, call)

    def add_python(self, work: Callable[[], object]) -> None:
        """Call `work` next."""
        self._parts.append(work)

    def run(self) -> None:
        """All of it, the compiled code in as many threads as there were at first."""
        for part in self._parts:
            part()


class _Calls:
    """Compiled code that all threads call; none begins with the next before all are done."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._where: list[tuple[int, int]] = []
        self._kept: list[Any] = []

    def add(self, compiled: Compiled, call: bytes | np.ndarray) -> None:
        data = np.frombuffer(call, np.uint8) if isinstance(call, bytes) else call
        self._where.append((compiled.address, data.ctypes.data))
        self._kept.append(data)

    def __call__(self) -> None:
        call = CALLS.pack(len(self._where), self._laid.ctypes.data)
        run(_one_by_one(), call, self._threads)

    @functools.cached_property
    def _laid(self) -> Any:
        """Where all of it lies, from the first run on."""
        return np.array(self._where, dtype=np.int64)


CALLS = Record("count where")


@functools.cache
def _one_by_one() -> Compiled:
    """Makes all calls of a list, each when no thread is left in the one before."""
    barrier = _library().GOMP_barrier

    def part(calls: Any, _thread: int, _threads: int) -> None:
        where = carray(pointer(calls.where), (calls.count, 2), np.int64)
        for number in range(calls.count):
            _call(where[number, 0], where[number, 1])
            barrier()

    return Compiled(part, CALLS)


@intrinsic
def _call(typing: Any, function: Any, data: Any) -> Any:
    """Call what lies at an address, with another one."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        address = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [address])
        function, data = values
        builder.call(
            builder.inttoptr(function, kind.as_pointer()), [builder.inttoptr(data, address)]
        )
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def pointer(typing: Any, address: Any) -> Any:
    """An address as numba takes one."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.inttoptr(values[0], context.get_value_type(signature.return_type))

    return types.voidptr(types.int64), generate


@njit
def floats(address: Any) -> Any:
    """The float32 at an address."""
    return carray(pointer(address), (ENDLESS,), np.float32)


@njit
def integers(address: Any) -> Any:
    """The int64 at an address."""
    return carray(pointer(address), (ENDLESS,), np.int64)


@intrinsic
def take(typing: Any, counter: Any, count: Any) -> Any:
    """The number at the address `counter`, which is larger by `count` for the thread after."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        address, more = values
        place = builder.inttoptr(address, more.type.as_pointer())
        return builder.atomic_rmw("add", place, more, "monotonic")

    return types.int64(types.int64, types.int64), generate
