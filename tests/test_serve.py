"""The HTTP API: what a visitor can do, what he is told when it cannot be, and what he cannot reach."""

from __future__ import annotations

import io
import socket
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import sing
from needs import needs

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient

from accompany.cli import main
from accompany.errors import InputError
from accompany.serve import run
from accompany.serve.app import build_app
from accompany.serve.decoding import read_upload
from accompany.serve.limits import Address, Limits

RATE = 24000


def wav(seconds: float = 1.5, seed: int = 0, sample_rate: int = RATE, kind: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sing(seconds, sample_rate, seed), sample_rate, format=kind)
    return file.getvalue()


def client_of(app: Any, **more: Any) -> TestClient:
    return TestClient(app, base_url="http://localhost:8000", **more)


@pytest.fixture
def serve(band, tmp_path):
    """Start servers with given limits; each is entered, and closed at the end.

    They decode uploads in this process. The process that a server starts for each is in test_serve_hostile.py.
    """
    opened = []

    def start(address: Address | None = None, **limits: Any) -> TestClient:
        app = build_app(band, Limits(**limits), address or Address(), tmp_path)
        client = client_of(app).__enter__()
        opened.append(client)
        return client

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("accompany.serve.uploads.decode_apart", read_upload)
        yield start
        for client in opened:
            client.__exit__(None, None, None)
    assert not list(tmp_path.iterdir()), "a server that is stopped leaves no file"


@pytest.fixture
def client(serve) -> TestClient:
    return serve()


def test_what_scores_takes_is_loaded_before_the_first_take(band, monkeypatch):
    warm, plain = threading.Event(), band.bundle.clap.embed_audio
    monkeypatch.setattr(band.bundle.clap, "embed_audio", lambda sound: (plain(sound), warm.set()))
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: None)
    said: list[str] = []
    run.serve(lambda: band, Limits(), Address(port=0), said.append)
    assert said[0].startswith("The page: http://127.0.0.1:") and warm.wait(60)


@pytest.fixture
def held(band, monkeypatch) -> Iterator[threading.Event]:
    """Hold the model at its first step until the event is set (or the test ends), reporting all the while."""
    go, real = threading.Event(), type(band).each_take

    def each_take(self: Any, vocals: Any, settings: Any, count: int, progress: Any) -> Any:
        while not go.is_set():
            progress(0.05)
            time.sleep(0.005)
        yield from real(self, vocals, settings, count, progress)

    monkeypatch.setattr(type(band), "each_take", each_take)
    yield go
    go.set()


def upload(client: TestClient, data: bytes | None = None, name: str = "song.wav") -> dict[str, Any]:
    answer = client.post("/api/vocals", params={"name": name}, content=wav() if data is None else data)
    assert answer.status_code == 201, answer.text
    return answer.json()


def ended(client: TestClient, job: dict[str, Any], within_s: float = 30.0) -> dict[str, Any]:
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        job = client.get(f"/api/jobs/{job['id']}").json()
        if job["state"] not in ("queued", "running"):
            return job
        time.sleep(0.01)
    raise AssertionError(f"still {job}")


def make(client: TestClient, vocal: dict[str, Any], **wish: Any) -> list[dict[str, Any]]:
    answer = client.post(f"/api/vocals/{vocal['id']}/takes", json=wish)
    assert answer.status_code == 202, answer.text
    job = ended(client, answer.json())
    assert job["state"] == "done" and job["share"] == 1.0, job
    return [client.get(f"/api/takes/{take}").json() for take in job["takes"]]


def sound(answer: Any) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return soundfile.read(io.BytesIO(answer.content), dtype="float32")[0]


def refused(answer: Any, status: int, words: str) -> None:
    told = answer.json()
    assert answer.status_code == status and list(told) == ["error"], answer.text
    assert words in told["error"] and told["error"].endswith("."), told


def test_a_vocal_is_heard(client):
    vocal = upload(client, wav(3.0))
    assert (vocal["name"], vocal["seconds"], vocal["sample_rate"]) == ("song.wav", 3.0, RATE)
    assert len(vocal["waveform"]) > 500 and 0.4 < max(vocal["waveform"]) <= 1
    (job,) = vocal["jobs"]
    assert job["kind"] == "listen" and ended(client, job)["state"] == "done"
    heard = client.get(f"/api/vocals/{vocal['id']}").json()
    hz = np.asarray(heard["pitch"]["hz"])
    assert len(hz) == 150 and np.mean(hz > 0) > 0.5 and 200 < np.median(hz[hz > 0]) < 460
    assert heard["plan"]["tempo_bpm"] > 0 and heard["plan"]["chords"][0]["label"]
    assert client.get("/api/vocals").json() == [heard]


def test_takes_are_those_of_the_package(client, band):
    vocal = upload(client)
    first, second = make(client, vocal, prompt="warm piano", seed=5, takes=2)
    assert (first["seed"], second["seed"], first["number"], second["number"]) == (5, 6, 1, 2)
    sung = sound(client.get(f"/api/vocals/{vocal['id']}/sound"))
    takes = band.takes((sing(1.5, RATE), RATE), "warm piano", 2, seed=5)
    expected = next(take for take in takes if take.seed == 6).samples[0]
    made = sound(client.get(f"/api/takes/{second['id']}/accompaniment"))
    assert made.shape == sung.shape == (36000,)
    np.testing.assert_allclose(made, expected, atol=2e-3)  # the upload had 16 bits
    assert not np.array_equal(made, sound(client.get(f"/api/takes/{first['id']}/accompaniment")))


@pytest.mark.parametrize(
    "wish",
    [{"chords": "F# C#"}, {"bpm": 67}, {"key": "C#:min"}, {"temperature": 0.2}, {"guidance": 6}, {"prompt": "rock"}],
    ids=str,
)
def test_every_wish_changes_the_take(client, wish):
    vocal = upload(client)
    (plain,), (other,) = (make(client, vocal, **{"seed": 1, "prompt": "warm piano", **each}) for each in ({}, wish))
    before, after = (sound(client.get(f"/api/takes/{take['id']}/accompaniment")) for take in (plain, other))
    assert not np.array_equal(before, after)


def test_a_retake_changes_its_region_only(client, band):
    vocal = upload(client, wav(3.0))
    (take,) = make(client, vocal, prompt="warm piano", seed=1)
    answer = client.post(f"/api/takes/{take['id']}/retake", json={"start_s": 1.0, "end_s": 2.0, "seed": 9})
    assert answer.status_code == 202
    job = ended(client, answer.json())
    assert (job["kind"], job["state"]) == ("retake", "done")
    new = client.get(f"/api/takes/{job['takes'][0]}").json()
    assert (new["seed"], new["prompt"], new["parent"]) == (9, "warm piano", take["id"])
    assert new["region"] == {"start_s": 1.0, "end_s": 2.0}
    before, after = (sound(client.get(f"/api/takes/{each['id']}/accompaniment")) for each in (take, new))
    np.testing.assert_array_equal(before[:RATE], after[:RATE])
    np.testing.assert_array_equal(before[2 * RATE :], after[2 * RATE :])
    assert not np.array_equal(before[RATE : 2 * RATE], after[RATE : 2 * RATE])
    expected = band.generate((sing(3.0, RATE), RATE), "warm piano", seed=1)
    assert take["scores"]["fit"] == pytest.approx(band.scored(expected).scores["fit"], abs=0.05)
    for start_s, end_s in ((2.9, 3.0), (2.0, 1.0), (-5, 0.1), (7, 9)):
        wish = {"start_s": start_s, "end_s": end_s}
        refused(client.post(f"/api/takes/{take['id']}/retake", json=wish), 400, "The region")


def test_downloads(client):
    vocal = upload(client, name="../Café 'one'.wav")
    assert vocal["name"] == "Café 'one'.wav"
    (take,) = make(client, vocal, prompt="warm piano", seed=1)
    sung = sound(client.get(f"/api/vocals/{vocal['id']}/sound"))
    band = sound(client.get(f"/api/takes/{take['id']}/accompaniment"))
    mix = client.get(f"/api/takes/{take['id']}/mix", params={"vocal_db": -6, "band_db": -12})
    expected = 10 ** (-6 / 20) * sung + 10 ** (-12 / 20) * band
    np.testing.assert_allclose(sound(mix), expected, atol=1e-5)
    assert "caf%c3%a9" in mix.headers["content-disposition"].lower()
    for kind, media in (("flac", "audio/flac"), ("ogg", "audio/ogg"), ("mp3", "audio/mpeg")):
        answer = client.get(f"/api/takes/{take['id']}/mix", params={"format": kind})
        assert answer.headers["content-type"] == media
        assert abs(len(sound(answer)) - len(sung)) < 3000
    midi = client.get(f"/api/takes/{take['id']}/midi")
    assert midi.headers["content-type"] == "audio/midi" and midi.content[:4] == b"MThd"
    refused(client.get(f"/api/takes/{take['id']}/mix", params={"vocal_db": 99}), 400, "vocal_db 99")
    refused(client.get(f"/api/takes/{take['id']}/mix", params={"drums_db": -6}), 400, "no stems")
    refused(client.get(f"/api/takes/{take['id']}/stems/drums"), 404, "no stem 'drums'")
    refused(client.post(f"/api/vocals/{vocal['id']}/takes", json={"mute": ["drums"]}), 400, "plays the band as one")
    refused(client.get(f"/api/takes/{take['id']}/mix", params={"format": "exe"}), 422, "format")


def test_a_project_goes_on_where_the_page_stopped(client, band, random_bundle_dir, tmp_path_factory):
    from accompany.generation.project import Project

    vocal = upload(client)
    make(client, vocal, prompt="warm piano", seed=3, takes=2)
    (_, second) = client.get(f"/api/vocals/{vocal['id']}").json()["takes"]
    answer = client.get(f"/api/vocals/{vocal['id']}/project")
    assert answer.headers["content-type"] == "application/zip"
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(folder)
    project = Project.open(folder)
    assert project.model == str(random_bundle_dir.resolve()), "its own name would be that of a bundled model"
    assert [(entry.seed, entry.prompt) for entry in project.entries()] == [(3, "warm piano"), (4, "warm piano")]
    take = project.take()
    played = sound(client.get(f"/api/takes/{second['id']}/accompaniment"))
    np.testing.assert_allclose(take.samples[0], played, atol=1e-6)
    again = band.retake(take, 0.5, 1.0)
    np.testing.assert_array_equal(again.samples[:, : RATE // 2], take.samples[:, : RATE // 2])


def test_a_section_that_never_comes_is_no_fault(client):
    vocal = upload(client)
    for prompt in ("1.4: loud drums", "[chorus] loud drums", "[bridge] solo piano; 1: x"):
        (take,) = make(client, vocal, prompt=prompt, seed=1)
        assert take["prompt"] == prompt and take["seconds"] == vocal["seconds"]


def test_a_download_that_fails_leaves_no_file(client, band, monkeypatch):
    vocal = upload(client)
    (take,) = make(client, vocal)
    store = client.app.state.server.store

    def fail(*_: Any, **__: Any) -> None:
        raise InputError("No room.")

    monkeypatch.setattr("accompany.generation.take.Take.save_midi", fail)
    monkeypatch.setattr("accompany.serve.downloads.audio.write", fail)
    monkeypatch.setattr("accompany.serve.downloads._write_project", fail)
    for address in (f"takes/{take['id']}/midi", f"takes/{take['id']}/mix", f"vocals/{vocal['id']}/project"):
        refused(client.get(f"/api/{address}"), 400, "No room")
    assert sorted(path.suffix for path in store.root.rglob("*") if path.is_file()) == [".wav", ".wav"]


def test_what_is_sent_is_deleted_after(client):
    vocal = upload(client)
    (take,) = make(client, vocal)
    store = client.app.state.server.store
    client.get(f"/api/takes/{take['id']}/mix")
    client.get(f"/api/vocals/{vocal['id']}/project")
    assert sorted(path.suffix for path in store.root.rglob("*") if path.is_file()) == [".wav", ".wav"]
    assert client.delete(f"/api/takes/{take['id']}").status_code == 204
    refused(client.get(f"/api/takes/{take['id']}/mix"), 404, "no such take")
    assert client.delete(f"/api/vocals/{vocal['id']}").status_code == 204
    assert not [path for path in store.root.rglob("*") if path.is_file()] and client.get("/api/vocals").json() == []


BROKEN: dict[str, tuple[bytes, int, str]] = {
    "empty": (b"", 400, "song.wav is empty (0 bytes)"),
    "text": (b"la la la\n" * 50, 415, "Cannot read song.wav as audio"),
    "playlist": (b"#EXTM3U\nfile:///etc/passwd\n", 415, "Cannot read song.wav as audio"),
    "header alone": (b"RIFF\x24\x08\0\0WAVEfmt ", 400, "Cannot read song.wav as audio"),
    "cut short": (wav()[:30000], 400, "song.wav is cut short"),
    "silent": (wav(1.0)[:44] + bytes(48000), 400, "song.wav is silent"),
    "too short": (wav(0.2), 400, "song.wav lasts 0.200 s"),
    "slow rate": (wav(3.0, sample_rate=1000), 400, "sample rate of 1000 Hz"),
    "no webm": (b"\x1a\x45\xdf\xa3" + bytes(500), 400, "Cannot read song.wav as audio"),
}


def test_a_song_becomes_the_vocal_in_it(client):
    pytest.importorskip("demucs")
    assert client.get("/api/about").json()["separates"]
    sung = wav(3.0)
    answer = client.post("/api/vocals", params={"name": "song.wav", "separate": "true"}, content=sung)
    assert answer.status_code == 201, answer.text
    vocals = answer.json(), upload(client, sung)
    voice, song = (sound(client.get(f"/api/vocals/{vocal['id']}/sound")) for vocal in vocals)
    assert len(voice) == len(song) and np.abs(voice).max() > 0.05 and np.abs(voice - song).max() > 0.01
    refused(client.post("/api/vocals", params={"separate": "true"}, content=b"no song"), 415, "audio")


@pytest.mark.parametrize("name", BROKEN)
def test_broken_uploads_are_told_in_one_sentence_and_leave_nothing(client, name):
    data, status, words = BROKEN[name]
    answer = client.post("/api/vocals", params={"name": "song.wav"}, content=data)
    refused(answer, status, words)
    root = client.app.state.server.store.root
    assert str(root) not in answer.text and "upload" not in answer.text and not list(root.iterdir())
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("kind", ["FLAC", "OGG", "MP3", "AIFF"])
def test_formats_are_read(client, kind):
    assert upload(client, wav(2.0, kind=kind))["seconds"] == pytest.approx(2.0, abs=0.1)


@needs("ffmpeg")
@pytest.mark.parametrize(("container", "codec"), [("webm", "libopus"), ("mp4", "aac"), ("adts", "aac")])
def test_what_browsers_and_phones_record_is_read(client, tmp_path_factory, container, codec):
    import subprocess

    source = tmp_path_factory.mktemp("recorded") / "recorded.wav"
    source.write_bytes(wav(2.0))
    recorded = source.with_suffix(".bin")
    command = ["ffmpeg", "-v", "error", "-i", str(source), "-c:a", codec, "-f", container, str(recorded)]
    subprocess.run(command, check=True)
    assert upload(client, recorded.read_bytes())["seconds"] == pytest.approx(2.0, abs=0.1)


def test_limits_of_size_and_length(serve):
    client = serve(max_mb=0.2, max_minutes=0.05)
    data = wav(5.0)
    refused(client.post("/api/vocals", content=data), 413, "larger than 0.2 MB")
    refused(client.post("/api/vocals", content=iter([data[:150_000], data[150_000:]])), 413, "larger than 0.2 MB")
    refused(client.post("/api/vocals", content=wav(4.0)), 413, "longer than 0.05 minutes")
    assert not list(client.app.state.server.store.root.iterdir())


@pytest.mark.parametrize(
    ("wish", "status", "words"),
    [
        ({"bpm": 5}, 400, "The bpm 5 must be from 30 to 300"),
        ({"bpm": "fast"}, 422, "The field bpm is wrong"),
        ({"key": "H:dur"}, 400, "The key 'H:dur' must be a key such as C:maj"),
        ({"chords": "/etc/passwd"}, 400, "chord"),
        ({"seed": -1}, 400, "The seed -1 must be a whole number from 0"),
        ({"takes": 99}, 400, "The number of takes 99 must be from 1 to 8"),
        ({"temperature": 11}, 400, "The temperature 11"),
        ({"prmpt": "typo"}, 422, "The field prmpt is wrong"),
    ],
    ids=str,
)
def test_wrong_wishes_get_the_sentences_of_the_command_line(client, wish, status, words):
    vocal = upload(client)
    refused(client.post(f"/api/vocals/{vocal['id']}/takes", json=wish), status, words)


def test_bodies_that_are_no_json_or_too_large(client):
    path = f"/api/vocals/{upload(client)['id']}/takes"
    refused(client.post(path, content=b"{", headers={"Content-Type": "application/json"}), 422, "not JSON")
    refused(client.post(path, json=["solo piano"]), 422, "The request is wrong")
    refused(client.post(path, json={"prompt": "la " * 40_000}), 413, "at most 65536 bytes")
    refused(client.post(path, content=iter([b"{}"])), 413, "at most 65536 bytes")


def test_a_visitor_cannot_reach_what_is_another_ones(client):
    vocal = upload(client)
    (take,) = make(client, vocal)
    job = client.get(f"/api/vocals/{vocal['id']}").json()["jobs"][0]
    stranger = client_of(client.app)
    neighbour = client_of(client.app)
    upload(neighbour, wav(1.0, seed=1))
    for other in (stranger, neighbour):
        assert vocal["id"] not in other.get("/api/vocals").text
        for path in (
            f"/api/vocals/{vocal['id']}",
            f"/api/vocals/{vocal['id']}/sound",
            f"/api/vocals/{vocal['id']}/project",
            f"/api/takes/{take['id']}",
            f"/api/takes/{take['id']}/accompaniment",
            f"/api/takes/{take['id']}/mix",
            f"/api/takes/{take['id']}/midi",
            f"/api/jobs/{job['id']}",
        ):
            assert client.get(path).status_code == 200
            assert other.get(path).status_code == 404, path
        for path in (f"/api/vocals/{vocal['id']}/takes", f"/api/takes/{take['id']}/retake"):
            assert other.post(path, json={"start_s": 0, "end_s": 1} if "retake" in path else {}).status_code == 404
        for path in (f"/api/vocals/{vocal['id']}", f"/api/takes/{take['id']}", f"/api/jobs/{job['id']}"):
            assert other.delete(path).status_code == 404
    forged = client_of(client.app, cookies={"accompany_visitor_8000": "../.."})
    assert forged.get("/api/vocals").json() == [] and client.get(f"/api/takes/{take['id']}").status_code == 200


@pytest.mark.parametrize("path", ["/..%2f..%2fetc%2fpasswd", "/%2e%2e/app.py", "/app.py", "/api/takes/..%2f..%2fx/mix"])
def test_no_path_of_a_request_is_a_path(client, path):
    upload(client)
    answer = client.get(path)
    assert answer.status_code == 404 and list(answer.json()) == ["error"]


def test_a_full_queue_says_busy_and_when_to_come_back(serve, held):
    client = serve(max_queue=2, max_waiting=9)
    path = f"/api/vocals/{upload(client)['id']}/takes"
    jobs = [client.post(path, json={}).json()]
    while client.get(f"/api/jobs/{jobs[0]['id']}").json()["state"] == "queued":
        time.sleep(0.005)
    jobs += [client.post(path, json={}).json() for _ in range(2)]
    assert [client.get(f"/api/jobs/{job['id']}").json()["ahead"] for job in jobs] == [0, 1, 2]
    busy = client.post(path, json={})
    refused(busy, 503, "The server is busy: 2 jobs are waiting")
    assert int(busy.headers["retry-after"]) >= 1
    assert client.get("/api/about").json()["waiting"] == 2
    held.set()
    assert all(ended(client, job)["state"] == "done" for job in jobs)


def test_one_visitor_cannot_take_the_whole_queue(serve, held):
    client = serve(max_waiting=1)
    path = f"/api/vocals/{upload(client)['id']}/takes"
    assert client.post(path, json={}).status_code == 202
    refused(client.post(path, json={}), 429, "You have 1 jobs here already")


def test_too_many_uploads_takes_and_vocals(serve):
    client = serve(max_vocals=1, max_takes=2, max_uploads=1)
    vocal = upload(client)
    refused(client.post("/api/vocals", content=wav()), 400, "You have 1 vocals here already")
    make(client, vocal, takes=2)
    refused(client.post(f"/api/vocals/{vocal['id']}/takes", json={}), 400, "the limit is 2")
    with client.app.state.server.uploading():
        refused(client_of(client.app).post("/api/vocals", content=wav()), 503, "1 uploads are running")
    assert serve(max_store_mb=1e-6) and upload(client_of(client.app))


def test_a_full_disk_is_busy(serve):
    client = serve(max_store_mb=0.1)
    upload(client)
    refused(client.post("/api/vocals", content=wav()), 503, "disk space")


def test_cancel_a_job_that_runs_and_one_that_waits(client, held):
    path = f"/api/vocals/{upload(client)['id']}/takes"
    running, waiting = client.post(path, json={}).json(), client.post(path, json={}).json()
    assert client.delete(f"/api/jobs/{waiting['id']}").json()["state"] == "cancelled"
    client.delete(f"/api/jobs/{running['id']}")
    assert ended(client, running)["state"] == "cancelled"
    held.set()
    assert client.get("/api/vocals").json()[0]["takes"] == []
    again = client.post(path, json={})
    assert ended(client, again.json())["state"] == "done"


def test_a_job_that_runs_too_long_is_stopped(serve, held):
    client = serve(job_minutes=0.002)
    job = client.post(f"/api/vocals/{upload(client)['id']}/takes", json={}).json()
    told = ended(client, job)
    assert told["state"] == "failed" and "time limit of 0.12 s" in told["error"]


def test_deleting_a_vocal_stops_its_jobs(client, held):
    vocal = upload(client)
    job = client.post(f"/api/vocals/{vocal['id']}/takes", json={}).json()
    assert client.delete(f"/api/vocals/{vocal['id']}").status_code == 204
    assert ended(client, job)["state"] == "cancelled"


def test_jobs_are_cancelled_before_their_files_go(client, held, monkeypatch):
    vocal = upload(client)
    job = client.post(f"/api/vocals/{vocal['id']}/takes", json={}).json()
    (visitor,) = client.app.state.server.store._visitors.values()
    stopped: list[bool] = []
    monkeypatch.setattr(
        "accompany.serve.store.shutil.rmtree", lambda *_, **__: stopped.append(visitor.jobs[job["id"]].stop.is_set())
    )
    assert client.delete(f"/api/vocals/{vocal['id']}").status_code == 204
    assert stopped == [True]


def test_a_fault_is_told_as_ours_and_the_queue_goes_on(client, band, monkeypatch):
    vocal = upload(client)
    with monkeypatch.context() as broken:
        broken.setattr(type(band), "each_take", lambda *_, **__: 1 / 0)
        job = client.post(f"/api/vocals/{vocal['id']}/takes", json={}).json()
        told = ended(client, job)
    assert told["state"] == "failed" and "fault of accompany" in told["error"] and "division" not in told["error"]
    assert make(client, vocal)


def test_files_go_when_their_owner_stays_away(serve):
    client = serve(keep_minutes=0.001)
    vocal = upload(client)
    store = client.app.state.server.store
    until = time.monotonic() + 20
    while list(store.root.iterdir()) and time.monotonic() < until:
        time.sleep(0.02)
    assert not list(store.root.iterdir())
    refused(client.get(f"/api/vocals/{vocal['id']}"), 404, "deleted")


def test_files_of_an_upload_stay_until_it_is_answered(serve, monkeypatch):
    client = serve(keep_minutes=0.001)
    store = client.app.state.server.store
    monkeypatch.setattr("accompany.serve.store.VisitorStore._sweep_on", lambda self: None)
    real, swept = store.add_vocal, []

    def slow(visitor: Any, vocal: Any) -> None:
        time.sleep(0.1)
        swept.append(store.sweep())
        real(visitor, vocal)

    monkeypatch.setattr(store, "add_vocal", slow)
    vocal = upload(client)
    assert swept == [0] and vocal["seconds"] == 1.5


def test_files_of_a_download_stay_until_it_is_sent(serve, monkeypatch):
    client = serve(keep_minutes=0.02)
    vocal = upload(client)
    store, real = client.app.state.server.store, sys.modules["accompany.serve.downloads"].stem

    def slow(*arguments: Any) -> Any:
        time.sleep(1.5)
        assert store.sweep() == 0
        return real(*arguments)

    monkeypatch.setattr("accompany.serve.downloads.stem", slow)
    assert len(sound(client.get(f"/api/vocals/{vocal['id']}/sound"))) == 36000


def test_what_is_deleted_under_a_download_is_no_fault(client, monkeypatch):
    vocal = upload(client)
    (take,) = make(client, vocal)
    for path in client.app.state.server.store.root.rglob("*.wav"):
        path.unlink()
    for address in (f"vocals/{vocal['id']}/sound", f"takes/{take['id']}/mix", f"vocals/{vocal['id']}/project"):
        refused(client.get(f"/api/{address}"), 404, "deleted")
    job = client.post(f"/api/takes/{take['id']}/retake", json={"start_s": 0, "end_s": 1}).json()
    assert ended(client, job)["error"] == "This was deleted in the meantime."


def test_stopping_cancels_and_deletes(band, tmp_path, held):
    with client_of(build_app(band, Limits(), Address(), tmp_path)) as client:
        job = client.post(f"/api/vocals/{upload(client)['id']}/takes", json={}).json()
        server = client.app.state.server
        record = next(iter(server.store._visitors.values())).jobs[job["id"]]
        assert list(tmp_path.iterdir())
    assert record.state == "cancelled" and not list(tmp_path.iterdir())


def test_what_a_killed_server_left_is_deleted_by_the_next(tmp_path):
    import os

    from accompany.serve.store import remove_stale

    for name, age_s in (("accompany-serve-old", 4000), ("accompany-serve-live", 5), ("other", 4000)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    assert remove_stale(tmp_path) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["accompany-serve-live", "other"]


def test_a_server_that_others_reach_asks_for_its_token(serve):
    client = serve(Address("0.0.0.0", 8000, "correct-horse"))
    refused(client.get("/api/about"), 401, "token")
    refused(client.post("/api/vocals", content=wav()), 401, "token")
    assert client.get("/").status_code == 401 and "token" in client.get("/").text
    assert client.get("/page.js").status_code == 401 and client.get("/page.css").status_code == 200
    assert client.get("/api/about", headers={"Authorization": "Bearer wrong-horse"}).status_code == 401
    assert client.get("/?token=wrong-horse").status_code == 401
    assert client.get("/api/about", headers={"Authorization": "Bearer correct-horse"}).status_code == 200
    assert client.get("/?token=correct-horse", follow_redirects=False).headers["location"] == "/"
    assert client.get("/").status_code == 200 and client.get("/api/about").status_code == 200


def test_an_open_server_asks_nobody_and_may_be_shown_in_a_frame_of_one_site(serve):
    client = serve(Address("0.0.0.0", 8000, open=True, embed="https://hub.example"))
    page = client.get("/")
    assert page.status_code == 200 and "frame-ancestors https://hub.example" in page.headers["content-security-policy"]
    cookie = client.post("/api/vocals", content=wav()).headers["set-cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=none", "Secure", "; Partitioned"))
    refused(client.post("/api/vocals", content=wav(), headers={"Origin": "https://hub.example"}), 403, "another site")
    plain = serve(Address())
    assert "frame-ancestors 'none'" in plain.get("/").headers["content-security-policy"]
    assert "SameSite=strict" in plain.post("/api/vocals", content=wav()).headers["set-cookie"]


def test_addresses():
    assert Address().token == "" and Address("localhost").local and Address("::1").local
    made = Address("0.0.0.0")
    assert len(made.token) >= 20 and made.token != Address("0.0.0.0").token
    for wrong in (
        {"port": 70000}, {"token": "short"}, {"token": "has some spaces"},
        {"open": True, "token": "correct-horse"}, {"embed": "hub.example"}, {"embed": "https://a.b; script-src *"},
    ):  # fmt: skip
        with pytest.raises(InputError):
            Address(**wrong)
    with pytest.raises(InputError, match="--max-mb"):
        Limits(max_mb=0)


def test_pages_of_other_sites_are_kept_out(client):
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""):
        assert client.get("/api/about", headers={"Host": host}).status_code == 403
    for host in ("127.0.0.1:8000", "[::1]:8000", "localhost"):
        assert client.get("/api/about", headers={"Host": host}).status_code == 200
    crossed = {"Origin": "http://evil.example"}
    refused(client.post("/api/vocals", content=wav(), headers=crossed), 403, "another site")
    assert client.post("/api/vocals", content=wav(), headers={"Origin": "http://localhost:8000"}).status_code == 201


def test_the_page_needs_nothing_from_elsewhere(client):
    import re

    from accompany.serve import app

    folder = Path(app.__file__).parent / "page"
    for file in folder.iterdir():
        answer = client.get(f"/{file.name}")
        assert answer.status_code == 200 and answer.content == file.read_bytes()
        assert not re.findall(r"(?:https?:)?//(?!www\.w3\.org/)\w[\w.-]+\.\w+/", answer.text), file.name
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy and "unsafe" not in policy


def test_the_api_is_documented(client):
    told = client.get("/api/openapi.json").json()
    operations = {(path, verb): entry for path, verbs in told["paths"].items() for verb, entry in verbs.items()}
    assert ("/api/vocals", "post") in operations and ("/api/takes/{take_id}/retake", "post") in operations
    assert all(entry.get("description") for entry in operations.values())
    assert client.get("/docs.html").status_code == 200


def test_an_upload_that_comes_to_a_halt_is_given_up(tmp_path, monkeypatch):
    import anyio

    from accompany.serve import uploads

    monkeypatch.setattr(uploads, "_CHUNK_S", 0.05)

    async def stalls():
        yield b"RIFF"
        await anyio.sleep(30)

    with pytest.raises(InputError, match="came to a halt"):
        anyio.run(uploads.receive, stalls(), None, tmp_path, Limits())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--port", "70000"], "port 70000 must be a whole number from 0 to 65535"),
        (["--token", "short"], "The token must have 8"),
        (["--host", "no.such.host.invalid"], "Cannot listen on no.such.host.invalid"),
        (["--max-minutes", "0"], "--max-minutes 0 must be above 0"),
        (["--port", "0", "--model", "no_such_model"], "no_such_model"),
    ],
    ids=lambda each: each[0] if isinstance(each, list) else "",
)
def test_wrong_options_end_with_one_sentence(capsys, options, words):
    assert main(["serve", *options]) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_a_port_that_is_taken(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == 2
    assert "choose another with --host and --port" in capsys.readouterr().err


def test_a_missing_package_is_told_with_the_line_that_installs_it(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "accompany.serve.run", raising=False)
    assert main(["serve"]) == 2
    assert 'pip install "accompany[ui]"' in capsys.readouterr().err
