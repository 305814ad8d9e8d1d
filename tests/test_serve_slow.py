"""Clients that send or read slowly, against a real port: they are let go, and others are served meanwhile."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx2")
import httpx2
from test_serve import wav

from accompany.serve import access, protocol, reception, uploads
from accompany.serve.app import build_app
from accompany.serve.jobs import BusyError
from accompany.serve.limits import Address, Limits
from accompany.serve.reception import Reception, SlowUploadError
from accompany.serve.run import open_port, server_config

SLOTS = 4
HEAD = "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{more}\r\n"


@pytest.fixture(scope="module")
def server(band, tmp_path_factory) -> Iterator[tuple[Any, int]]:
    """A server on a port of its own, with deadlines of a second or less; its folder is watched by the tests."""
    import uvicorn

    with pytest.MonkeyPatch.context() as short:
        short.setattr(protocol, "HEAD_S", 1.0)
        short.setattr(protocol, "READ_S", 1.0)
        short.setattr(reception, "_WINDOW_S", 1.0)
        short.setattr(uploads, "_CHUNK_S", 1.0)
        short.setattr(access, "_JSON_S", 1.0)
        listener, address = open_port(Address(port=0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        app = build_app(band, Limits(max_uploads=SLOTS), address, tmp_path_factory.mktemp("served"))
        running = uvicorn.Server(server_config(app))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        until = time.monotonic() + 30
        while not running.started and time.monotonic() < until:
            time.sleep(0.01)
        yield app, address.port
        running.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def connected(port: int, text: str = "") -> socket.socket:
    line = socket.create_connection(("127.0.0.1", port), timeout=20)
    line.sendall(text.encode())
    return line


def request(method: str, path: str, *more: str) -> str:
    return HEAD.format(method=method, path=path, more="".join(f"{line}\r\n" for line in more))


def dripped(line: socket.socket, within_s: float = 10.0) -> tuple[bytes, float]:
    """Send a byte now and then until the server closes; returns its answer and how long that took."""
    line.settimeout(0.1)
    started, answer = time.monotonic(), b""
    while time.monotonic() - started < within_s:
        try:
            got = line.recv(4096)
            if not got:
                return answer, time.monotonic() - started
            answer += got
        except TimeoutError:
            pass
        except OSError:
            return answer, time.monotonic() - started
        try:
            line.sendall(b"a")
        except OSError:
            return answer, time.monotonic() - started
    raise AssertionError(f"still open after {within_s} s; answered {answer!r}")


def comes_true(holds: Callable[[], bool], within_s: float = 10.0) -> bool:
    until = time.monotonic() + within_s
    while not holds() and time.monotonic() < until:
        time.sleep(0.02)
    return holds()


@pytest.mark.parametrize("clients", [SLOTS, 3 * SLOTS])
@pytest.mark.parametrize("length", ["Content-Length: 90000000", "Transfer-Encoding: chunked"])
def test_others_upload_while_clients_drip(server, clients, length):
    _, port = server
    first = "1\r\na\r\n" if "chunked" in length else "a"
    with ExitStack() as lines:
        for _ in range(clients):
            lines.enter_context(closing(connected(port, request("POST", "/api/vocals", length) + first)))
        time.sleep(reception._GRACE_S + 0.1)
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as visitor:
            answer = visitor.post("/api/vocals", params={"name": "mine.wav"}, content=wav(1.0))
            assert answer.status_code == 201, answer.text
            assert visitor.delete(f"/api/vocals/{answer.json()['id']}").status_code == 204


def test_an_upload_below_the_least_rate_is_given_up(server):
    app, port = server
    with closing(connected(port, request("POST", "/api/vocals", "Content-Length: 90000000"))) as line:
        answer, took_s = dripped(line)
    assert answer.startswith(b"HTTP/1.1 408") and b"took too long" in answer and took_s < 6
    assert b"connection: close" in answer.lower()
    assert comes_true(lambda: not list(app.state.server.store.root.glob("tmp*/upload")))


@pytest.mark.parametrize(
    "sent",
    ["", "G", "POST /api/vocals HTTP/1.1\r\nHost: local", "GET / HTTP/1.1\r\nHost: localhost\r\nX: 1\r\n"],
    ids=["nothing", "a letter", "half a line", "no end"],
)
def test_heads_in_half_do_not_stay(server, sent):
    _, port = server
    with closing(connected(port, sent)) as line:
        answer, took_s = dripped(line) if sent else (line.recv(10), 0.0)
    assert answer == b"" and took_s < 6


def test_one_address_cannot_hold_all_lines(server, monkeypatch):
    _, port = server
    monkeypatch.setattr(protocol, "MOST_CONNECTIONS", 5)
    with ExitStack() as lines:
        held = [lines.enter_context(closing(connected(port, "GET / HTTP/1.1\r\nX: "))) for _ in range(5)]
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as visitor:
            assert visitor.get("/api/about").status_code == 200
        held[0].settimeout(0.5)
        with suppress(ConnectionError):
            assert held[0].recv(10) == b""
        held[-1].sendall(b"1\r\nHost: localhost\r\n\r\n")
        assert held[-1].recv(4096).startswith(b"HTTP/1.1 200")


def test_a_second_head_in_half_does_not_stay(server):
    _, port = server
    with closing(connected(port, request("GET", "/api/vocals"))) as line:
        assert line.recv(4096).startswith(b"HTTP/1.1 200")
        line.sendall(b"GET /api/ab")
        _, took_s = dripped(line)
    assert took_s < 6


@pytest.mark.parametrize("path", ["/api/vocals/x/takes", "/api/takes/x/retake"])
def test_json_that_drips_is_given_up(server, path):
    _, port = server
    with closing(connected(port, request("POST", path, "Content-Length: 5000") + "{")) as line:
        answer, took_s = dripped(line)
    assert answer.startswith(b"HTTP/1.1 408") and b"too slowly" in answer and took_s < 6


@pytest.mark.parametrize(
    ("path", "status"), [("/api/vocals", b"413"), ("/api/takes/x/retake", b"413"), ("/api/none", b"413")]
)
def test_the_rest_of_a_refused_body_does_not_keep_the_line(server, path, status):
    _, port = server
    with closing(connected(port, request("POST", path, "Content-Length: 900000000"))) as line:
        answer, took_s = dripped(line)
    assert answer.startswith(b"HTTP/1.1 " + status) and took_s < 6


def test_a_download_that_is_not_read_is_given_up(server):
    app, port = server
    root = app.state.server.store.root
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as visitor:
        vocal = visitor.post("/api/vocals", content=wav(20.0)).json()
        ((name, value),) = visitor.cookies.items()
        line = socket.socket()
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with closing(line):
            line.settimeout(20)
            line.connect(("127.0.0.1", port))
            line.sendall(request("GET", f"/api/vocals/{vocal['id']}/sound", f"Cookie: {name}={value}").encode())
            assert line.recv(100).startswith(b"HTTP/1.1 200")
            assert list(root.rglob("out-*"))
            assert comes_true(lambda: not list(root.rglob("out-*")))
        whole = visitor.get(f"/api/vocals/{vocal['id']}/sound")
        assert len(whole.content) == int(whole.headers["content-length"]) > 1e6


def test_half_of_the_uploads_at_most_are_one_visitors(monkeypatch):
    monkeypatch.setattr(reception, "_GRACE_S", 60.0)
    doors = Reception(4)
    with doors.admit("a"), doors.admit("a"):
        with pytest.raises(BusyError, match="2 of your uploads"), doors.admit("a"):
            pass
        others = doors.admit("b"), doors.admit("c")
        with others[0], others[1], pytest.raises(BusyError, match="4 uploads are running"), doors.admit("d"):
            pass
        with doors.admit("d"):
            pass


def test_the_rate_is_that_of_the_last_seconds(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(reception, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(reception, "_WINDOW_S", 10.0)
    upload = reception.Upload("a")
    upload.count(50_000_000)
    assert upload.bytes_per_s == float("inf")
    for _ in range(30):  # a phone far from the next mast
        now[0] += 1.0
        upload.count(5000)
    for _ in range(9):
        now[0] += 1.0
        upload.count(1)
    assert upload.bytes_per_s < reception.LEAST_BYTES_PER_S
    now[0] += 1.0
    with pytest.raises(SlowUploadError, match="took too long"):
        upload.count(1)
