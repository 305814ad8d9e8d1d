"""The HTTP API under values that nobody means: each is answered by a sentence, none by a fault."""

from __future__ import annotations

import io
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import sing

pytest.importorskip("fastapi")
pytest.importorskip("hypothesis")
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_serve import RATE, client_of, make, refused, upload, wav

from accompany.serve.app import build_app
from accompany.serve.limits import Address, Limits

JSON = {"Content-Type": "application/json"}
RETAKE = {"start_s": 0.2, "end_s": 1.0}


@pytest.fixture(scope="module")
def client(band, tmp_path_factory) -> Iterator[TestClient]:
    """A server whose model is not asked: what passes the door waits in a queue."""
    limits = Limits(max_queue=10_000, max_waiting=10_000, max_takes=10_000, max_vocals=100)
    app = build_app(band, limits, Address(), tmp_path_factory.mktemp("served"))
    with client_of(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def doors(client) -> dict[str, str]:
    """The address of each POST route, for a vocal of 1.5 s with a take."""
    vocal = upload(client)
    (take,) = make(client, vocal, seed=1)
    client.app.state.server.making.submit = lambda job: job
    return {"takes": f"/api/vocals/{vocal['id']}/takes", "retake": f"/api/takes/{take['id']}/retake"}


def answered(answer: Any) -> dict[str, Any]:
    """The answer as strict JSON: a result, or one sentence."""
    said = json.loads(answer.text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON: {answer.text}"))
    assert answer.status_code in (202, 400, 413, 422), answer.text
    if answer.status_code != 202:
        assert list(said) == ["error"] and said["error"].endswith(".") and len(said["error"]) < 600, said
    return said


def post(client: TestClient, path: str, body: str | bytes) -> Any:
    return client.post(path, content=body, headers=JSON)


HOSTILE: list[tuple[str, str, int, str]] = [
    ("takes", '{"bpm": NaN}', 422, "bpm is wrong: Input should be a finite number"),
    ("takes", '{"bpm": Infinity}', 422, "bpm"),
    ("takes", '{"bpm": -1e999}', 422, "bpm"),
    ("takes", '{"guidance": 1e400}', 422, "guidance"),
    ("takes", '{"temperature": -0.001}', 400, "temperature -0.001 must be from 0 to 10"),
    ("takes", '{"bpm": 1' + "0" * 400 + "}", 422, "bpm"),
    ("takes", '{"seed": -1}', 400, "seed -1"),
    ("takes", '{"seed": 9223372036854775808}', 400, "from 0 to 9223372036854775807"),
    ("takes", '{"seed": 9223372036854775807, "takes": 2}', 400, "leaves no seeds for 2 takes"),
    ("takes", '{"seed": 1' + "0" * 4200 + "}", 400, "seed"),
    ("takes", '{"seed": 1' + "0" * 6000 + "}", 400, ""),
    ("takes", '{"seed": 1.5}', 422, "seed"),
    ("takes", '{"seed": true}', 422, "seed"),
    ("takes", '{"seed": "7"}', 422, "seed"),
    ("takes", '{"seed": NaN}', 422, "seed"),
    ("takes", '{"takes": 0}', 400, "takes 0 must be from 1 to 8"),
    ("takes", '{"takes": -3}', 400, "takes -3"),
    ("takes", '{"takes": 99999999999999999999}', 400, "takes 99999999999999999999"),
    ("takes", '{"takes": null}', 422, "takes"),
    ("takes", '{"takes": [1]}', 422, "takes"),
    ("takes", '{"prompt": null}', 422, "prompt"),
    ("takes", '{"prompt": {"a": 1}}', 422, "prompt"),
    ("takes", '{"prompt": 7}', 422, "prompt"),
    ("takes", '{"prompt": "' + "la" * 500_000 + '"}', 413, "at most 65536 bytes"),
    ("takes", '{"prompt": "99: loud drums"}', 400, "cue at 99 s lies beyond the end of the vocal (1.50 s)"),
    ("takes", '{"prompt": "0: piano; 1.5: drums"}', 400, "cue at 1.5 s"),
    ("takes", '{"prompt": "' + "9" * 400 + ': drums"}', 400, "The cue"),
    ("takes", '{"prompt": "' + "9" * 1900 + ':00: drums"}', 400, "The cue"),
    ("takes", '{"key": "C:maj\\u0000"}', 400, "The key"),
    ("takes", '{"key": ""}', 400, "The key"),
    ("takes", '{"key": "\\ud800"}', 422, "key"),
    ("takes", '{"key": "' + "A" * 300 + '"}', 422, "key"),
    ("takes", '{"chords": ""}', 400, "chords are empty"),
    ("takes", '{"chords": "|||"}', 400, "chords are empty"),
    ("takes", '{"chords": "C \\ud800"}', 422, "chords"),
    ("takes", '{"chords": "C \\u0000"}', 400, "chord"),
    ("takes", '{"chords": "' + "X" * 300 + '"}', 400, "chord"),
    ("takes", '{"chords": "' + "C " * 30_000 + '"}', 422, "chords"),
    ("takes", '{"\\ud800": 1}', 422, "is wrong"),
    ("takes", '{"' + "n" * 300 + '": 1}', 422, "is wrong"),
    ("takes", '{"a\\u0000b": 1}', 422, "is wrong"),
    ("takes", '{"taps": [1, 0.5]}', 400, "taps"),
    ("takes", '{"taps": [0.5, 99]}', 400, "taps"),
    ("takes", '{"taps": "0.5 1"}', 422, "taps"),
    ("takes", "[" * 30_000 + "]" * 30_000, 0, ""),
    ("takes", '{"prompt": ' + '{"a":' * 9_000 + "1" + "}" * 9_000 + "}", 0, ""),
    ("takes", "null", 422, "The request is wrong"),
    ("takes", "7", 422, "The request is wrong"),
    ("takes", '"solo piano"', 422, "The request is wrong"),
    ("takes", "", 422, "The request is wrong"),
    ("takes", "{", 422, "not JSON"),
    ("takes", '{"seed": 1,}', 422, "not JSON"),
    ("takes", "\xff\xfe{}", 0, ""),
    ("retake", '{"start_s": 0}', 422, "end_s"),
    ("retake", '{"start_s": NaN, "end_s": 1}', 422, "start_s"),
    ("retake", '{"start_s": 0, "end_s": Infinity}', 422, "end_s"),
    ("retake", '{"start_s": "0", "end_s": 1}', 422, "start_s"),
    ("retake", '{"start_s": false, "end_s": true}', 422, "start_s"),
    ("retake", '{"start_s": 0.5, "end_s": 0.5}', 400, "The region"),
    ("retake", '{"start_s": 1, "end_s": 0.2}', 400, "The region"),
    ("retake", '{"start_s": 0.5, "end_s": 0.6}', 400, "at least 0.25 s"),
    ("retake", '{"start_s": 1.5, "end_s": 9}', 400, "The region"),
    ("retake", '{"start_s": -9, "end_s": -1}', 400, "The region"),
    ("retake", '{"start_s": 1e308, "end_s": -1e308}', 400, "The region"),
    ("retake", '{"start_s": 0.2, "end_s": 1, "seed": -1}', 400, "seed -1"),
    ("retake", '{"start_s": 0.2, "end_s": 1, "seed": 1e30}', 422, "seed"),
    ("retake", '{"start_s": 0.2, "end_s": 1, "prompt": "[chorus] x; 1:30: drums"}', 400, "cue at 90 s"),
    ("retake", '{"start_s": 0.2, "end_s": 1, "takes": 2}', 422, "takes"),
]


@pytest.mark.parametrize(("door", "body", "status", "words"), HOSTILE, ids=[row[1][:40] for row in HOSTILE])
def test_hostile_values_get_a_sentence(client, doors, door, body, status, words):
    answer = post(client, doors[door], body.encode("latin-1"))
    said = answered(answer)
    assert answer.status_code == (status or answer.status_code) != 202
    assert words in said["error"]


@pytest.mark.parametrize(
    ("door", "body"),
    [
        ("takes", {}),
        ("takes", {"prompt": ""}),
        ("takes", {"prompt": "\x00\ud800 piano\r\n" + "é" * 9000}),
        ("takes", {"prompt": "1.49: drums; [no such] x"}),
        ("takes", {"seed": 2**63 - 1, "bpm": 120, "key": "C:maj", "chords": "C | % G"}),
        ("takes", {"seed": None, "bpm": None, "temperature": 0, "guidance": 20.0}),
        ("retake", {"start_s": -1, "end_s": 99}),
        ("retake", {**RETAKE, "prompt": None, "seed": 0}),
    ],
    ids=str,
)
def test_odd_values_that_are_right_pass(client, doors, door, body):
    assert post(client, doors[door], json.dumps(body)).status_code == 202


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40) | st.integers(-(10**40), 10**40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NEAR = {
    "array": st.lists(st.floats() | st.floats(0, 300), max_size=6),
    "string": st.text(max_size=300) | st.from_regex(r"\A\d{1,4}(:\d\d)?(\.\d+)?: [a-z ]+(; ?\[?\w+\]?:? \w+)*\Z"),
    "integer": st.integers(-3, 12) | st.integers(2**62, 2**64),
    "number": st.floats() | st.floats(-1, 301),
    "null": st.none(),
}


def bodies(schema: dict[str, Any], name: str) -> st.SearchStrategy[Any]:
    """Bodies near the OpenAPI schema of that name: fields right, wrong, left out and added."""
    fields = {}
    for field, entry in schema["components"]["schemas"][name]["properties"].items():
        kinds = [each.get("type") for each in entry.get("anyOf", [entry])]
        fields[field] = st.one_of(*(NEAR[kind] for kind in kinds), ANY)
    near = st.fixed_dictionaries({}, optional={**fields, "\ud800 unknown": ANY})
    return st.one_of(near, near, near, ANY)


def test_no_body_of_any_post_route_ends_in_a_fault(client, doors):
    schema = client.get("/api/openapi.json").json()
    routes = {
        path: entry["post"]["requestBody"]["content"].get("application/json")
        for path, entry in schema["paths"].items()
        if "post" in entry
    }
    bodied = {path: body["schema"]["$ref"].rsplit("/", 1)[-1] for path, body in routes.items() if body}
    assert len(bodied) == len(doors), "each route that takes JSON is tried"
    for path, name in bodied.items():
        door = doors[path.rsplit("/", 1)[-1]]
        _tried(partial(post, client, door), bodies(schema, name))


def _tried(ask: Callable[[str], Any], body: st.SearchStrategy[Any]) -> None:
    @settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(body)
    def holds(body: Any) -> None:
        answered(ask(json.dumps(body)))

    holds()


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    name=st.text(max_size=120) | st.sampled_from(['a"b\r\nX: y.wav', "..", "/", "\x00", "ナ.wav", "a;b\\c.wav", "%0d"]),
    band_db=st.floats() | st.text(max_size=8),
    accepted=st.text(max_size=12),
)
def test_no_query_ends_in_a_fault(client, doors, name, band_db, accepted):
    answer = client.post("/api/vocals", params={"name": name.encode("utf-8", "replace").decode()}, content=b"no sound")
    assert answer.status_code in (415, 422) and list(answer.json()) == ["error"]
    take = doors["retake"].rsplit("/", 1)[0]
    query = {"band_db": str(band_db).encode("utf-8", "replace"), "format": accepted.encode("utf-8", "replace")}
    answer = client.get(f"{take}/mix", params={key: value.decode() for key, value in query.items()})
    assert answer.status_code in (200, 400, 422), answer.text


@pytest.mark.parametrize(
    "name", ['a"b\r\nX-Evil: y.wav', "..", "/", "\x00", "ナ🎵.wav", "a;b\\c=d.wav", "x" * 300, "%0d%0a"]
)
def test_names_stay_inside_their_header(client, name):
    vocal = upload(client, name=name)
    answer = client.get(f"/api/vocals/{vocal['id']}/sound")
    said = answer.headers["content-disposition"]
    assert answer.status_code == 200 and "x-evil" not in answer.headers
    assert said.isascii() and said.startswith("attachment; filename") and not set("\r\n\\") & set(said)
    assert said.count('"') in (0, 2) and client.delete(f"/api/vocals/{vocal['id']}").status_code == 204
    refused(client.post("/api/vocals", params={"name": "x" * 301}, content=wav()), 422, "name")


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("bytes=0-99", 206),
        ("bytes=-100", 206),
        ("bytes=100-", 206),
        ("bytes=0-9,50-59", 206),
        ("bytes=0-99999999999999999999999", 206),
        ("bytes=99999999999999999999-", 416),
        ("bytes=9-3", 400),
        ("bytes=", 400),
        ("bytes=-0", 416),
        ("bytes=a-b", 400),
        ("chapters=1-2", 400),
        ("nonsense", 400),
        ("bytes=" + "9" * 5000 + "-", 400),
        ("bytes=" + ",".join(["0-1"] * 500), 200),
        ("bytes=--1", 416),
    ],
    ids=lambda value: str(value)[:30],
)
def test_ranges_are_served_or_refused_in_one_sentence(client, doors, asked, status):
    address = doors["takes"].replace("/takes", "/sound")
    whole = client.get(address).content
    answer = client.get(address, headers={"Range": asked})
    assert answer.status_code == status, answer.text[:200]
    if status >= 400:
        refused(answer, status, "as in bytes=0-1023")
        assert (status == 416) == (answer.headers.get("content-range") == f"bytes */{len(whole)}")
    elif asked == "bytes=100-":
        assert answer.content == whole[100:] and answer.headers["content-range"].startswith("bytes 100-")
    assert not list(client.app.state.server.store.root.rglob("out-*"))


@pytest.mark.parametrize("path", ["/", "/page.js", "/api/about", "/api/vocals", "/api/nothing", "sound"])
def test_head_is_get_without_a_body(client, doors, path):
    address = doors["takes"].replace("/takes", "/sound") if path == "sound" else path
    head, whole = client.head(address), client.get(address)
    assert head.status_code == whole.status_code and head.content == b""
    assert head.headers["content-length"] == str(len(whole.content))
    assert not list(client.app.state.server.store.root.rglob("out-*"))


@pytest.mark.parametrize("method", ["PUT", "PATCH", "TRACE", "OPTIONS", "PROPFIND", "X"])
def test_unknown_methods_are_refused(client, doors, method):
    for path in ("/", "/api/vocals", doors["takes"], "/api/about"):
        answer = client.request(method, path)
        refused(answer, 405, "Method Not Allowed")
        assert answer.headers["allow"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://localhost:8001"},
        {"Origin": "http://["},
        {"Origin": "http://localhost:8000@evil.example"},
        {"Origin": "localhost:8000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_pages_elsewhere_change_nothing(client, doors, headers):
    vocals = client.get("/api/vocals").text
    for method, path in (("POST", doors["takes"]), ("POST", doors["retake"]), ("DELETE", doors["takes"][:-6])):
        body = json.dumps(RETAKE) if "retake" in path else "{}"
        refused(client.request(method, path, content=body, headers={**JSON, **headers}), 403, "another site")
    assert client.get("/api/vocals").text == vocals
    own = {"Origin": "http://LOCALHOST:8000", "Sec-Fetch-Site": "same-origin"}
    assert client.post(doors["takes"], json={}, headers=own).status_code == 202


@pytest.mark.parametrize(
    "name", ["%00", "x" * 300, "%ff%fe", "..%2f..", "%0d%0aX:%20y", "%F0%9F%8E%B5", "%ED%A0%80", "-1"]
)
def test_ids_that_nobody_has(client, doors, name):
    for method, path in (
        ("GET", f"/api/vocals/{name}"),
        ("GET", f"/api/vocals/{name}/project"),
        ("GET", f"/api/takes/{name}/midi"),
        ("GET", f"/api/jobs/{name}"),
        ("DELETE", f"/api/jobs/{name}"),
        ("POST", f"/api/vocals/{name}/takes"),
        ("GET", f"/{name}"),
    ):
        answer = client.request(method, path, **({"json": {}} if method == "POST" else {}))
        assert answer.status_code in (404, 405) and list(answer.json()) == ["error"], (path, answer.text)


@pytest.mark.parametrize("cookie", ["\x01", '"', "a=b=c", "x" * 9000, "é", ";;;=", "../.."])
def test_cookies_that_nobody_has(client, doors, cookie):
    headers = {"Cookie": f"accompany_visitor_8000={cookie}".encode("latin-1")}
    answer = client_of(client.app).get("/api/vocals", headers=headers)
    assert answer.status_code == 200 and answer.json() == []


@pytest.mark.parametrize("length", ["9" * 5000, "-1", "1e3", "²", " ", "0x10"])
def test_lengths_that_are_no_numbers(client, doors, length):
    answer = client.post(doors["takes"], content=b"{}", headers={**JSON, "Content-Length": length.encode("latin-1")})
    refused(answer, 413, "at most 65536 bytes")


def float_wav(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.clip(samples, -3.4e38, 3.4e38).astype(np.float32), RATE, format="WAV", subtype="FLOAT")
    return file.getvalue()


@pytest.mark.parametrize("peak", [200.0, 32768.0, 1.2e6, 1e12, 3e38])
def test_levels_that_no_recording_has_are_refused(client, peak):
    for sung in (sing(1.0, RATE), np.stack([sing(1.0, RATE)] * 2, axis=1)):
        answer = client.post(
            "/api/vocals", params={"name": "loud.wav"}, content=float_wav(2 * peak * sung.astype(float))
        )
        refused(answer, 400, "loud.wav")
        assert "accompany-" not in answer.text


@pytest.mark.parametrize("format_", ["wav", "flac", "ogg", "mp3"])
def test_sound_above_full_scale_is_turned_down_in_every_format(client, format_):
    sung = 8 * sing(1.0, RATE)
    vocal = upload(client, float_wav(sung))
    answer = client.get(f"/api/vocals/{vocal['id']}/sound", params={"format": format_})
    played = soundfile.read(io.BytesIO(answer.content))[0][: len(sung)]
    assert answer.status_code == 200 and np.abs(played).max() < 1.1
    # Not clipped: what comes out is what went in, a quarter as loud.
    assert np.corrcoef(played, sung[: len(played)])[0, 1] > 0.98 or format_ == "mp3"


@pytest.mark.parametrize("format_", ["ogg", "mp3"])
def test_an_encoder_that_aborts_takes_no_server_along(client, monkeypatch, format_):
    vocal = upload(client)
    path = f"/api/vocals/{vocal['id']}/sound"
    root = client.app.state.server.store.root
    with monkeypatch.context() as broken:
        broken.setattr("accompany.serve.downloads._bounded", lambda samples: samples * np.float32(1e12))
        answer = client.get(path, params={"format": format_})
        if format_ == "mp3":
            refused(answer, 400, "cannot be encoded as mp3; ask for wav or flac")
    assert client.get(path, params={"format": format_}).status_code == 200
    with monkeypatch.context() as slow:
        slow.setattr("accompany.serve.encoding._ENCODE_S", 0.01)
        refused(client.get(path, params={"format": format_}), 400, "takes too long")
    assert not list(root.rglob("out-*"))


def test_answers_hold_no_nan(client, band, monkeypatch):
    vocal = upload(client)
    server = client.app.state.server
    (visitor,) = server.store._visitors.values()
    stored = visitor.vocals[vocal["id"]]
    until = time.monotonic() + 20
    while stored.analysis is None and time.monotonic() < until:
        time.sleep(0.01)
    stored.analysis["plan"] = {**stored.analysis["plan"], "tempo_bpm": math.nan, "beats_s": [math.inf]}
    answer = client.get(f"/api/vocals/{vocal['id']}")
    plan = json.loads(answer.text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))["plan"]
    assert answer.status_code == 200 and plan["tempo_bpm"] is None and plan["beats_s"] == [None]


CRASHES = {
    "a crash": ("os.kill(os.getpid(), signal.SIGSEGV)", "song.wav cannot be decoded here"),
    "an abort": ("os.abort()", "song.wav cannot be decoded here"),
    "all memory": ("bytearray(8 << 30)", "song.wav cannot be decoded here"),
    "no end": ("open(PIDS, 'w').write(str(subprocess.Popen(['sleep', '60']).pid)); time.sleep(60)", "takes too long"),
}


@pytest.mark.parametrize("case", CRASHES)
def test_a_decoder_that_fails_takes_no_server_along(client, monkeypatch, tmp_path, case):
    does, says = CRASHES[case]
    if case == "all memory" and sys.platform != "linux":
        pytest.skip("this system bounds no memory")
    does = does.replace("PIDS", repr(str(tmp_path / "pids")))
    (tmp_path / "soxr.py").write_text(f"import os, signal, subprocess, time\n{does}\n")  # in place of the package
    with monkeypatch.context() as broken:
        broken.setattr(sys, "path", [str(tmp_path), *sys.path])
        if case == "no end":
            broken.setattr("accompany.serve.decoding._DECODE_S", 5.0)
        answer = client.post("/api/vocals", params={"name": "song.wav"}, content=float_wav(sing(1.0, RATE)))
    refused(answer, 400, says)
    assert not list(client.app.state.server.store.root.rglob("upload"))
    if case == "no end":
        with pytest.raises(ProcessLookupError):
            for _ in range(50):  # until it has been waited for
                os.kill(int((tmp_path / "pids").read_text()), 0)
                time.sleep(0.1)
    upload(client)
