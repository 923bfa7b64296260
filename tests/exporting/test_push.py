"""A model's folder on its way to a hub, which is a server of ours that huggingface_hub talks to."""

import base64
import http.server
import json
import threading
from urllib.parse import urlparse

import pytest
from huggingface_hub import constants

from gte_ray.errors import RunError, UsageError
from gte_ray.exporting.push import check_push, push


class Hub(http.server.BaseHTTPRequestHandler):
    """Takes what is committed; knows one token."""

    protocol_version = "HTTP/1.1"
    files: dict[str, bytes]
    made: list[dict]
    messages: list[str]
    refuse: bool

    def do_GET(self):
        path = urlparse(self.path).path
        if path == "/api/models/me/model/tree/main":
            self._answer(
                200, [{"type": "file", "path": name, "oid": "0" * 40, "size": 1} for name in self.files]
            )
        elif path != "/api/whoami-v2":
            self._answer(404, {"error": "There is none"})
        else:
            self._answer(
                200 if self._known() else 401, {"name": "me", "type": "user", "error": "Invalid token"}
            )

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        path = urlparse(self.path).path
        if not self._known():
            self._answer(401, {"error": "Invalid token"})
        elif path == "/api/repos/create":
            if self.refuse:
                self._answer(403, {"error": "You have no right to make that"})
                return
            self.made.append(json.loads(body))
            self._answer(200, {"url": f"http://{self.headers['Host']}/me/model"})
        elif path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif "/preupload/" in path:
            names = [file["path"] for file in json.loads(body)["files"]]
            self._answer(
                200, {"files": [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]}
            )
        else:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "header":
                    self.messages.append(line["value"]["summary"])
                elif line["key"] == "deletedFile":
                    del self.files[line["value"]["path"]]
                else:
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            url = f"http://{self.headers['Host']}/me/model"
            self._answer(
                200, {"success": True, "commitOid": "0" * 40, "commitUrl": f"{url}/commit/{'0' * 40}"}
            )

    def _known(self):
        return self.headers["Authorization"] == "Bearer hf_right"

    def _answer(self, status, value):
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch):
    kind = type("Here", (Hub,), {"files": {}, "made": [], "messages": [], "refuse": False})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    yield kind
    server.shutdown()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model/1_Pooling").mkdir(parents=True)
    for name, content in (("config.json", "{}"), ("README.md", "# m"), ("1_Pooling/config.json", "[]")):
        (tmp_path / "model" / name).write_text(content)
    return tmp_path / "model"


def test_all_files_arrive(hub, folder):
    hub.files |= {"onnx/model.onnx": b"of other weights", "NOTES.md": b"of the user", "config.json": b"old"}
    check_push("me/model")
    address = push(str(folder), "me/model", private=True, message="After 8 steps")
    assert address.endswith("/me/model")
    assert hub.files.pop("NOTES.md") == b"of the user"
    assert hub.files == {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    assert [(repo["name"], repo["organization"], repo["visibility"]) for repo in hub.made] == [
        ("model", "me", "private")
    ]
    assert hub.messages == ["After 8 steps"]


@pytest.mark.parametrize("name", ["model", "a/b/c", "me/", "https://hub/me/model"])
def test_a_name_that_is_none_is_refused_before_any_work(hub, name):
    with pytest.raises(UsageError, match=rf"--push is {name!r}; allowed is the name of a repository"):
        check_push(name)


def test_an_unknown_user_is_told_before_any_work(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(
        RunError,
        match=r"--push me/model: Invalid user token.*; `hf auth login`, or a token in HF_TOKEN, says",
    ):
        check_push("me/model")


def test_what_the_hub_refuses_leaves_the_folder(hub, folder):
    hub.refuse = True
    with pytest.raises(RunError, match=rf"--push me/model: .*403.*; the model is in {folder}"):
        push(str(folder), "me/model", private=False, message="m")
    assert not hub.files and (folder / "config.json").exists()
