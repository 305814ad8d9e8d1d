"""A stand-in of the Hugging Face hub's HTTP API, as far as models are uploaded and downloaded. (No package has one.)"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

USER, TOKEN = "singer", "hf_token_of_the_singer"
_LARGE = (".safetensors", ".wav", ".mp3")


@dataclass
class Model:
    """A model: who may see it, its files, and the commits that brought them."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)


@dataclass
class Hub:
    """What the server holds; `refused` maps the beginning of a path to a status that it answers with."""

    address: str = ""
    models: dict[str, Model] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)


@contextmanager
def serving() -> Iterator[Hub]:
    """The hub at a free local port."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_POST(self) -> None:
        path, body = self._begin()
        if path is None:
            return
        if path == "/api/repos/create":
            self._create(json.loads(body))
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif path.endswith("/info/lfs/objects/batch"):
            asked = json.loads(body)["objects"]
            sent = [
                {**each, "actions": {"upload": {"href": f"{self.hub.address}/lfs/{each['oid']}"}}} for each in asked
            ]
            self._json({"transfer": "basic", "objects": sent})
        elif (model := self._model(path)) is None:
            self._no(404, "RepoNotFound")
        elif "/preupload/" in path:
            files = json.loads(body)["files"]
            modes = {True: "lfs", False: "regular"}
            rows = [
                {"path": each["path"], "uploadMode": modes[each["path"].endswith(_LARGE)], "shouldIgnore": False}
                for each in files
            ]
            self._json({"files": rows})
        elif "/commit/" in path:
            self._commit(model, path, [json.loads(line) for line in body.splitlines()])

    def do_PUT(self) -> None:
        path, body = self._begin()
        if path is not None:
            assert hashlib.sha256(body).hexdigest() == path.rpartition("/")[2]
            self.hub.large[path.rpartition("/")[2]] = body
            self._send(200, b"")

    def do_GET(self) -> None:
        path, _ = self._begin()
        if path is None:
            return
        name = "/".join(path.removeprefix("/api/models").split("/")[1:3])
        model = self.hub.models.get(name)
        if model is None or (model.private and not self._is_owner()):
            self._no(404 if self._is_owner() else 401, "RepoNotFound")
        elif path.startswith("/api/models/") and "/tree/" not in path:
            files = [{"rfilename": place} for place in model.files]
            self._json({"id": name, "sha": model.commits[-1], "private": model.private, "siblings": files})
        elif "/tree/" in path:
            rows = [{"type": "file", "path": place, "size": len(data), "oid": _oid(data)} for place, data in
                    model.files.items()]  # fmt: skip
            self._json(rows)
        else:
            place = unquote(path.split("/resolve/", 1)[1].split("/", 1)[1])
            if place not in model.files:
                self._no(404, "EntryNotFound")
                return
            data = model.files[place]
            self._send(200, data, {"ETag": f'"{_oid(data)}"', "X-Repo-Commit": model.commits[-1]})

    do_HEAD = do_GET

    def _begin(self) -> tuple[str | None, bytes]:
        """Path and body of the request; no path where it has been refused."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        self.hub.requests.append(f"{self.command} {path}")
        status = next((code for begin, code in self.hub.refused.items() if path.startswith(begin)), None)
        if status is None and self.command == "POST" and not self._is_owner():
            status = 401
        if status is not None:
            self._no(status)
            return None, b""
        return path, body

    def _is_owner(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization'] or USER}/{asked['name']}"
        if not name.startswith(f"{USER}/"):
            self._no(403)
        else:
            status = 409 if name in self.hub.models else 200
            self.hub.models.setdefault(name, Model(asked.get("visibility") == "private", commits=["0" * 40]))
            self._send(status, json.dumps({"url": f"{self.hub.address}/{name}", "name": name}).encode())

    def _commit(self, model: Model, path: str, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                model.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                model.files[value["path"]] = self.hub.large[value["oid"]]
        model.commits.append(_oid(path.encode() + str(len(model.commits)).encode()))
        name = "/".join(path.split("/")[3:5])
        address = f"{self.hub.address}/{name}/commit/{model.commits[-1]}"
        self._json({"commitUrl": address, "commitOid": model.commits[-1], "hookOutput": ""})

    def _model(self, path: str) -> Model | None:
        return self.hub.models.get("/".join(path.removeprefix("/api/models/").split("/")[:2]))

    def _json(self, content: Any) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _no(self, status: int, code: str = "") -> None:
        self._send(status, b'{"error": "no"}', {"X-Error-Code": code} if code else {})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


def _oid(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
