"""Fixtures that every room's tests may use, and the rule that no test reaches a network."""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.store import Store
from tests.required import skip_or_fail

LOOPBACK = ("127.", "::1", "localhost")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            assert str(address[0]).startswith(LOOPBACK), f"a test reached for {address}"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets how many threads PyTorch computes in, until the test is over."""
    import torch  # noqa: PLC0415  # takes seconds

    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store in a SQLite file."""
    opened = Store.open(f"sqlite:///{tmp_path / 'hermes.db'}")
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server of our own on a socket in a temporary folder."""
    binaries = _postgres_binaries()
    if binaries is None:
        skip_or_fail("postgresql")
        return
    folder = tmp_path_factory.mktemp("postgres")
    data = folder / "data"
    as_user = _ordinary_user(folder)

    def run(*command: str) -> None:
        subprocess.run([*as_user, *command], check=True, capture_output=True, cwd="/")

    run(str(binaries / "initdb"), "-D", str(data), "-U", "hermes", "-A", "trust", "-E", "UTF8")
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    run(
        str(binaries / "pg_ctl"), "-D", str(data), "-w", "-o", options,
        "-l", str(folder / "log"), "start",
    )  # fmt: skip
    yield f"postgresql+psycopg://hermes@/postgres?host={folder}"
    run(str(binaries / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop")


def _postgres_binaries() -> Path | None:
    """The newest server's folder; a wrapper on the PATH may have no initdb beside it."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if found:
        return found[-1].parent
    return Path(on_path).resolve().parent if on_path else None


def _ordinary_user(folder: Path) -> list[str]:
    """PostgreSQL refuses root: then its own user runs it, in a folder that it may enter."""
    if os.geteuid() != 0:
        return []
    shutil.chown(folder, "postgres")
    for parent in (folder, *folder.parents):
        if parent == Path("/tmp"):
            break
        parent.chmod(parent.stat().st_mode | 0o711)
    return ["runuser", "-u", "postgres", "--"]
