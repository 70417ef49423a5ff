"""How much memory this machine has, and how much of it a container may use."""

import ctypes
import sys
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file")


def available(cgroups: Path = CGROUPS) -> int:
    """Bytes that can be taken now, counting what the file cache, full of weights, gives back."""
    free = int(psutil.virtual_memory().available)
    return min([free, *(limit - used for limit, used in _limits(cgroups))])


def total(cgroups: Path = CGROUPS) -> int:
    """Bytes that there are for everybody."""
    return min([int(psutil.virtual_memory().total), *(limit for limit, _ in _limits(cgroups))])


def _limits(cgroups: Path) -> list[tuple[int, int]]:
    """The limit of a container and what it uses, which `/proc/meminfo` does not know.

    Inside of a container its own control group is the root of the tree, in either version
    (https://docs.kernel.org/admin-guide/cgroup-v2.html, "memory.max" and "memory.stat").
    """
    found = []
    for limit_file, used_file, file_cache in (_V2, _V1):
        try:
            limit = int((cgroups / limit_file).read_text())  # "max" where there is none
            used = int((cgroups / used_file).read_text())
            stat = (cgroups / used_file).with_name("memory.stat").read_text()
            kept = dict(line.split() for line in stat.splitlines())
            found.append((limit, used - int(kept.get(file_cache, 0))))
        except (OSError, ValueError):
            continue
    return found


def give_back() -> None:
    """Return what was freed to the system; glibc keeps it for the thread that is gone."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)
