"""A full disk under the server: 507 and a sentence without a path, nothing half written, and all well afterwards."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("resource", reason="no limits of file sizes here")
import resource

from fastapi.testclient import TestClient
from test_serve import client_of, ended, make, refused, upload, wav

from accompany.serve.app import build_app
from accompany.serve.decoding import read_upload
from accompany.serve.disk import DiskFullError
from accompany.serve.limits import Address, Limits

FULL = "The server's disk is full"


@pytest.fixture(scope="module")
def client(band, tmp_path_factory) -> Iterator[TestClient]:
    app = build_app(band, Limits(), Address(), tmp_path_factory.mktemp("served"))
    with client_of(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def made(client) -> tuple[dict[str, Any], dict[str, Any]]:
    vocal = upload(client, wav(2.0))
    return vocal, make(client, vocal, seed=1)[0]


@contextmanager
def largest_file(n_bytes: int) -> Iterator[None]:
    """What is written beyond this fails as on a full disk, in libsndfile and in other processes too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def kept(client: TestClient) -> list[str]:
    root = client.app.state.server.store.root
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("data", "room"), [(lambda: wav(2.0), 20_000), (lambda: wav(2.0, kind="OGG"), 60_000)], ids=["received", "decoded"]
)
def test_uploads_that_do_not_fit(client, made, data: Callable[[], bytes], room):
    before, sung = kept(client), data()
    with largest_file(room):
        refused(client.post("/api/vocals", content=sung), 507, FULL)
    assert kept(client) == before
    assert client.delete(f"/api/vocals/{upload(client, sung)['id']}").status_code == 204


def test_a_decoder_without_room(monkeypatch, tmp_path):
    def run(command: list[str], **_: Any) -> Any:
        return subprocess.CompletedProcess(command, 1, b"", f"{command[-1]}: No space left on device".encode())

    monkeypatch.setattr("accompany.common.ffmpeg.shutil.which", lambda name: name)
    monkeypatch.setattr("accompany.common.ffmpeg.subprocess.run", run)
    (tmp_path / "upload").write_bytes(b"\x1a\x45\xdf\xa3" + bytes(500))
    with pytest.raises(DiskFullError):
        read_upload(tmp_path / "upload", 24000, Limits(), "matroska")


@pytest.mark.parametrize(
    ("what", "room"),
    [
        ("takes/{take}/mix?format=wav", 50_000),
        ("takes/{take}/mix?format=flac", 20_000),
        ("takes/{take}/accompaniment?format=ogg", 50_000),
        ("takes/{take}/accompaniment?format=ogg", 250_000),
        ("vocals/{vocal}/sound?format=mp3", 50_000),
        ("vocals/{vocal}/project", 50_000),
        ("takes/{take}/midi", 10),
    ],
)
def test_downloads_that_do_not_fit(client, made, what, room):
    vocal, take = made
    before = kept(client)
    path = "/api/" + what.format(vocal=vocal["id"], take=take["id"])
    whole = client.get(path).content
    with largest_file(min(room, max(len(whole) - 1, 1)) if room == 250_000 else room):
        refused(client.get(path), 507, FULL)
    assert kept(client) == before and len(client.get(path).content) == len(whole)


@pytest.mark.parametrize("n_bytes", [4000, 6000, 8000])
@pytest.mark.parametrize("format_", ["mp3", "ogg"])
def test_the_encoders_last_page_is_checked(made, client, tmp_path, n_bytes, format_):
    from accompany.serve.encoding import encode

    source, target = tmp_path / "source.wav", tmp_path / f"made.{format_}"
    source.write_bytes(wav(2.0))
    encode(source, target, format_)
    short = target.stat().st_size - (8000 - n_bytes) // 4 - 1
    with largest_file(short), pytest.raises(OSError, match="space"):
        encode(source, target, format_)


def test_jobs_that_do_not_fit(client, made):
    vocal, take = made
    before = kept(client)
    with largest_file(20_000):
        jobs = [client.post(f"/api/vocals/{vocal['id']}/takes", json={}).json()]
        jobs.append(client.post(f"/api/takes/{take['id']}/retake", json={"start_s": 0, "end_s": 1}).json())
        said = [ended(client, job) for job in jobs]
    for job in said:
        assert job["state"] == "failed" and job["error"].startswith(FULL), job
    assert kept(client) == before
    assert client.delete(f"/api/takes/{make(client, vocal)[0]['id']}").status_code == 204


@pytest.mark.parametrize(
    ("number", "status", "words"),
    [
        (errno.ENOSPC, 507, FULL),
        (errno.EDQUOT, 507, FULL),
        (errno.EACCES, 500, "fault of accompany"),
        (errno.EMFILE, 500, "fault of accompany"),
        (errno.EIO, 500, "fault of accompany"),
    ],
)
def test_no_error_of_the_system_shows_a_path(client, made, monkeypatch, number, status, words):
    vocal, take = made

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number), "/srv/secret/vocal.wav")

    monkeypatch.setattr(tempfile, "mkdtemp", fail)
    monkeypatch.setattr(tempfile, "mkstemp", fail)
    for answer in (
        client.post("/api/vocals", content=wav()),
        client.get(f"/api/vocals/{vocal['id']}/sound"),
        client.get(f"/api/takes/{take['id']}/midi"),
    ):
        refused(answer, status, words)
        assert "secret" not in answer.text and "accompany-" not in answer.text


def test_a_sentence_with_a_path_of_the_server_is_kept_back(client, made, monkeypatch):
    from accompany.errors import InputError

    root = client.app.state.server.store.root

    def fail(*_: Any) -> None:
        raise InputError(f"Cannot read {root}/x/vocal.wav (odd); check it.")

    monkeypatch.setattr("accompany.serve.downloads.stem", fail)
    answer = client.get(f"/api/vocals/{made[0]['id']}/sound")
    refused(answer, 500, "fault of accompany")
    assert str(root) not in answer.text
