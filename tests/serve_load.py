"""Many visitors at once against a real `accompany serve`: is anything lost, mixed up, slow or large?

As a script: python tests/serve_load.py --model tiny --clients 4 --seconds 10
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path

import httpx2
import numpy as np
import soundfile
from conftest import sing

RATE = 24000
_PAUSE_S = 0.35  # as the page does


@dataclass
class Server:
    """A running `accompany serve`."""

    url: str
    process: subprocess.Popen[str]

    def memory_mb(self, field_: str = "VmRSS") -> float:
        """Memory of the process now, or at its peak (`VmHWM`); 0 where the system does not tell."""
        status = Path(f"/proc/{self.process.pid}/status")
        found = re.search(rf"{field_}:\s+(\d+) kB", status.read_text()) if status.exists() else None
        return int(found[1]) / 1024 if found else 0.0

    def stop(self) -> int:
        """Ctrl-C; returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(120)


@contextmanager
def running(model: str | Path, *options: str, folder: Path | None = None) -> Iterator[Server]:
    """A server of its own process on a free port; its files go under `folder`."""
    command = [sys.executable, "-m", "accompany", "serve", "--port", "0", "--device", "cpu", "--model", str(model)]
    more = {"TMPDIR": str(folder)} if folder else {}
    # A shell starts what runs behind it with Ctrl-C ignored; here it must be heard.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    environment = {**os.environ, **more}
    process = subprocess.Popen(
        [*command, *options], stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=heard
    )
    lines = []
    for line in process.stderr or ():
        lines.append(line)
        if found := re.search(r"The page: (http://\S+?)/?$", line.strip()):
            break
    else:
        raise RuntimeError("".join(lines))
    try:
        yield Server(found[1], process)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(30)
        if process.stderr:
            process.stderr.close()


@dataclass
class Report:
    """What `visit_all` saw. Times in seconds."""

    clients: int
    lost: list[str] = field(default_factory=list)
    mixed_up: list[str] = field(default_factory=list)
    told_busy: int = 0
    wall_s: float = 0.0
    slowest_s: float = 0.0
    status_ms: list[float] = field(default_factory=list)
    page_ms: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float | int]:
        """The figures in short."""
        told = {key: value for key, value in asdict(self).items() if not isinstance(value, list)}
        for name in ("status_ms", "page_ms"):
            values = np.asarray(getattr(self, name) or [0.0])
            told |= {f"{name}_{share}": round(float(np.percentile(values, share)), 1) for share in (50, 95, 100)}
        return {**told, "lost": len(self.lost), "mixed_up": len(self.mixed_up)}


async def visit_all(url: str, clients: int, seconds: float) -> Report:
    """Let all visitors come at once, each with a vocal, a prompt and a seed that no other has."""
    report = Report(clients)
    started = time.perf_counter()
    over = asyncio.Event()
    looking = asyncio.create_task(_look_at_page(url, report, over))
    await asyncio.gather(*(_visit(url, index, seconds, report) for index in range(clients)))
    over.set()
    await looking
    report.wall_s = round(time.perf_counter() - started, 1)
    return report


async def _look_at_page(url: str, report: Report, over: asyncio.Event) -> None:
    async with httpx2.AsyncClient(base_url=url, timeout=120, verify=False) as http:
        while not over.is_set():
            started = time.perf_counter()
            (await http.get("/")).raise_for_status()
            report.page_ms.append(1e3 * (time.perf_counter() - started))
            await asyncio.sleep(_PAUSE_S)


async def _visit(url: str, index: int, seconds: float, report: Report) -> None:
    started = time.perf_counter()
    try:
        async with httpx2.AsyncClient(base_url=url, timeout=300, verify=False) as http:
            wrong = await _use(http, index, seconds, report)
    except Exception as error:
        report.lost.append(f"visitor {index}: {type(error).__name__} {error}")
        return
    report.slowest_s = round(max(report.slowest_s, time.perf_counter() - started), 1)
    if wrong:
        report.mixed_up.append(f"visitor {index}: {wrong}")


async def _use(http: httpx2.AsyncClient, index: int, seconds: float, report: Report) -> str:
    """One visitor from upload to download; returns what was not his, if anything was."""
    sung = sing(seconds, RATE, seed=index)[: round(seconds * RATE) - 7 * index]  # each of a length of its own
    file = BytesIO()
    soundfile.write(file, sung, RATE, format="WAV", subtype="FLOAT")
    vocal = await _post(http, "/api/vocals", report, params={"name": f"{index}.wav"}, content=file.getvalue())
    wish = {"prompt": f"warm piano {index}", "seed": 1000 + index}
    job = await _post(http, f"/api/vocals/{vocal['id']}/takes", report, json=wish)
    while job["state"] in ("queued", "running"):
        await asyncio.sleep(_PAUSE_S)
        started = time.perf_counter()
        job = (await http.get(f"/api/jobs/{job['id']}")).raise_for_status().json()
        report.status_ms.append(1e3 * (time.perf_counter() - started))
    if job["state"] != "done":
        raise RuntimeError(job["error"])
    take = (await http.get(f"/api/takes/{job['takes'][0]}")).raise_for_status().json()
    voice = await _sound(http, f"/api/vocals/{vocal['id']}/sound")
    band = await _sound(http, f"/api/takes/{take['id']}/accompaniment")
    mine = (await http.get("/api/vocals")).raise_for_status().json()
    return ", ".join(
        what
        for what, right in (
            ("vocal", voice.shape == sung.shape and np.abs(voice - sung).max() < 1e-4),
            ("take", band.shape == sung.shape and (take["prompt"], take["seed"]) == tuple(wish.values())),
            ("list", [each["id"] for each in mine] == [vocal["id"]] and mine[0]["name"] == f"{index}.wav"),
        )
        if not right
    )


async def _post(http: httpx2.AsyncClient, path: str, report: Report, **body: object) -> dict:
    """Ask again for as long as the server says busy, when it says."""
    while (answer := await http.post(path, **body)).status_code == 503:
        report.told_busy += 1
        await asyncio.sleep(min(float(answer.headers["retry-after"]), 5.0))
    return answer.raise_for_status().json()


async def _sound(http: httpx2.AsyncClient, path: str) -> np.ndarray:
    answer = (await http.get(path)).raise_for_status()
    return soundfile.read(BytesIO(answer.content), dtype="float32")[0]


def main() -> None:
    """Run it and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=2.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running(args.model, folder=Path(folder)) as server:
        before_mb = server.memory_mb()
        report = asyncio.run(visit_all(server.url, args.clients, args.seconds))
        figures = {**report.summary(), "before_mb": round(before_mb), "peak_mb": round(server.memory_mb("VmHWM"))}
        figures |= {"after_mb": round(server.memory_mb()), "exit_code": server.stop(), "left": os.listdir(folder)}
    print(json.dumps(figures), *report.lost, *report.mixed_up, sep="\n")  # noqa: T201


if __name__ == "__main__":
    main()
