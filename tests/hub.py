"""A small model hub on loopback, for the real client."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlparse

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CHUNK = 16_384


class Hub(ThreadingHTTPServer):
    """Serves `folder` as the model `hub_id`; `gate` lets the weights through when it is set."""

    daemon_threads = True

    def __init__(self, hub_id: str, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub_id = hub_id
        self.folder = folder
        self.gate = threading.Event()
        self.gate.set()
        self.fetched: list[str] = []
        self.resumed_at: list[int] = []  # bytes that the client had already

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        path = urlparse(self.path).path
        hub_id, folder = self.server.hub_id, self.server.folder
        names = {f"/{hub_id}/resolve/{rev}/": rev for rev in ("main", COMMIT)}
        start = next((each for each in names if path.startswith(each)), None)
        if path in (f"/api/models/{hub_id}", f"/api/models/{hub_id}/revision/main"):
            files = [
                {"rfilename": each.name, "size": each.stat().st_size, "blobId": "0"}
                for each in sorted(folder.iterdir())
            ]
            self._send(200, json.dumps({"id": hub_id, "sha": COMMIT, "siblings": files}).encode())
        elif start is not None and (folder / path.removeprefix(start)).is_file():
            self._send_file(folder / path.removeprefix(start))
        elif path.startswith("/api/models/") or start is None:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        else:
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})

    def _send_file(self, file: Path) -> None:
        content = file.read_bytes()
        if self.command == "GET":
            self.server.fetched.append(file.name)
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        asked = self.headers.get("Range", "")
        if asked:  # "bytes=100-": how the client goes on
            first = int(asked.removeprefix("bytes=").partition("-")[0])
            self.server.resumed_at.append(first)
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
            self._send(206, content[first:], headers, slowly=True)
        else:
            self._send(200, content, headers, slowly=True)

    def _send(
        self, status: int, content: bytes, headers: dict[str, str] | None = None, *,
        slowly: bool = False,
    ) -> None:  # fmt: skip
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        for start in range(0, len(content), CHUNK):
            if slowly and start:
                self.server.gate.wait(20)
            self.wfile.write(content[start : start + CHUNK])


@contextmanager
def serving(hub_id: str, folder: Path) -> Iterator[Hub]:
    """A hub that runs until the block is left."""
    with Hub(hub_id, folder) as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield hub
        finally:
            hub.gate.set()
            hub.shutdown()
            thread.join()
