"""A real server in a process of its own and a real Chromium before it."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Page,
    Route,
    sync_playwright,
)

from tests.required import skip_or_fail

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PERSONA = """\
name: Mara Voss
description: A lighthouse keeper.
greeting: '*The door is ajar.* "Mind the third step."'
alternate_greetings: ['"You are late," she says.']
"""
STARTS_S = 60
# What a browser says by itself when a page goes away under an open stream.
LEAVING = re.compile("AbortError|Connection errored out")


class Server:
    """The application at `url`, to be killed and started again on the same data."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        clean = {name: value for name, value in os.environ.items() if name[:7] != "HERMES_"}
        command = [sys.executable, "-m", "tests.browser.serve", str(self._port), str(self._folder)]
        self._process = subprocess.Popen(command, cwd=ROOT, env=clean)
        deadline = time.monotonic() + STARTS_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise RuntimeError("the server did not start")

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def new_server(folder: Path) -> Server:
    """A server of one persona that keeps its data in `folder`."""
    (folder / "personas").mkdir()
    (folder / "personas" / "mara.yaml").write_text(PERSONA, encoding="utf-8")
    return Server(folder)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = new_server(tmp_path_factory.mktemp("served"))
    running.start()
    yield running
    running.kill()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        skip_or_fail("chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Tabs:
    """Opens tabs, and remembers what went wrong in them."""

    def __init__(self, browser: Browser, url: str) -> None:
        self._browser = browser
        self._url = url
        self._contexts: list[BrowserContext] = []
        self.wrong: list[str] = []

    def open(self, width: int = 1280, height: int = 800, **options: Any) -> Page:
        """A tab in a browser profile of its own."""
        context = self._browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(15_000)
        context.route(lambda url: not url.startswith((self._url, "data:", "blob:")), self._refuse)
        context.on("page", self._watch)
        self._contexts.append(context)
        return context.new_page()

    @property
    def first(self) -> BrowserContext:
        """The profile that was opened first."""
        return self._contexts[0]

    def close(self) -> None:
        """Close every tab."""
        for context in self._contexts:
            context.close()

    def _refuse(self, route: Route) -> None:
        self.wrong.append(f"request to {route.request.url}")
        route.abort()

    def _watch(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.wrong.append(f"script error: {error}"))
        page.on("dialog", self._dismiss)
        page.on("console", self._note)

    def _dismiss(self, dialog: Dialog) -> None:
        self.wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _note(self, line: ConsoleMessage) -> None:
        if line.type == "error" and not LEAVING.search(line.text):
            self.wrong.append(line.text)


@pytest.fixture
def tabs(browser: Browser, server: Server) -> Iterator[Tabs]:
    """Tabs of this test. Script errors, dialogs and requests to other servers fail it."""
    opened = Tabs(browser, server.url)
    yield opened
    opened.close()
    assert opened.wrong == []


@pytest.fixture(scope="session")
def _shared_tabs(browser: Browser, server: Server) -> Iterator[Tabs]:
    opened = Tabs(browser, server.url)
    opened.open()
    yield opened
    opened.close()


@pytest.fixture
def page(_shared_tabs: Tabs, server: Server) -> Iterator[Page]:
    """A tab that shows the gallery; kept from test to test, because Gradio takes long to load."""
    context = _shared_tabs.first
    tab = context.pages[0]
    if not tab.url.startswith(server.url):
        tab.goto(server.url)
    tab.get_by_role("button", name="New chat").click()
    tab.wait_for_selector(".pg-card")
    yield tab
    for other in context.pages[1:]:
        other.close()
    found, _shared_tabs.wrong = _shared_tabs.wrong, []
    assert found == []
