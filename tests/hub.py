"""A Hugging Face Hub on a loopback port that serves the data sets in a folder."""

import hashlib
import http.server
import json
import threading
from pathlib import Path
from urllib.parse import unquote, urlparse

REVISION = "0" * 40
DATE = "2026-01-01T00:00:00.000Z"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    root: Path
    asked: list[str]

    def do_GET(self):
        path = unquote(urlparse(self.path).path)
        self.asked.append(f"{self.command} {path}")
        if path.startswith("/api/datasets/"):
            owner, name, *rest = path.removeprefix("/api/datasets/").split("/")
            self._api(self.root / owner / name, f"{owner}/{name}", rest)
            return
        owner, name, *file = path.removeprefix("/datasets/").split("/")
        self._file(self.root.joinpath(owner, name, *file[2:]))  # resolve/REVISION/FILE

    do_HEAD = do_GET

    def do_POST(self):
        """Facts of paths: `/api/datasets/OWNER/NAME/paths-info/REVISION`."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        owner, name, *_ = urlparse(self.path).path.removeprefix("/api/datasets/").split("/")
        repository = self.root / owner / name
        paths = [repository / path for path in body["paths"]]
        self._json([_entry(path, repository) for path in paths if path.exists()])

    def _api(self, repository: Path, identity: str, rest: list[str]):
        if not repository.is_dir():
            self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif rest[:1] == ["tree"]:
            below = repository.joinpath(*rest[2:])
            if not below.is_dir():
                self._answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})
                return
            listed = below.rglob("*") if "recursive=true" in self.path.lower() else below.iterdir()
            self._json([_entry(path, repository) for path in sorted(listed)])
        else:
            self._json({"id": identity, "sha": REVISION, "siblings": [], "tags": [], "private": False})

    def _file(self, path: Path):
        if not path.is_file():
            self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        content = path.read_bytes()
        headers = {"ETag": f'"{_oid(path)}"', "X-Repo-Commit": REVISION, "Accept-Ranges": "bytes"}
        asked = self.headers.get("Range")
        if not asked:
            self._answer(200, content, headers)
            return
        first, last = asked.removeprefix("bytes=").split("-")
        part = content[int(first) : int(last) + 1 if last else None]
        headers["Content-Range"] = f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
        self._answer(206, part, headers)

    def _json(self, value):
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, content: bytes, headers: dict[str, str]):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


def _oid(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()


def _entry(path: Path, repository: Path) -> dict:
    name = str(path.relative_to(repository))
    commit = {"id": REVISION, "title": "", "date": DATE}
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": REVISION, "size": 0, "lastCommit": commit}
    return {
        "type": "file",
        "path": name,
        "oid": _oid(path),
        "size": path.stat().st_size,
        "lastCommit": commit,
    }


class Hub:
    """Serves `root/OWNER/NAME` until it is closed."""

    def __init__(self, root: Path):
        self.asked: list[str] = []
        """What was asked for: method and path."""
        handler = type("Handler", (_Handler,), {"root": root, "asked": self.asked})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
