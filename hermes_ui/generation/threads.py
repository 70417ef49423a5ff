"""Work in a thread of its own, which takes those that PyTorch computed in with it."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import wraps
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


def in_own_thread(work: Callable[_P, _T]) -> Callable[_P, _T]:
    """`work`, done in a thread that ends with it.

    PyTorch's own threads (libgomp's) belong to the one that computed, and once all of them
    outnumber the processors they sleep between any two products: steps of a 3B model for 8
    users took 1.4 times as long beside those that were left from its loading.
    """

    @wraps(work)
    def done_apart(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        result: Future[_T] = Future()

        def run() -> None:
            try:
                result.set_result(work(*args, **kwargs))
            except BaseException as error:
                result.set_exception(error)

        thread = threading.Thread(target=run, name="hermes-apart", daemon=True)
        thread.start()
        thread.join()
        return result.result()

    return done_apart
