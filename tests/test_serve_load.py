"""Twenty visitors at once against a real server: none lost, none mixed up, memory bounded, nothing left."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx2")
from serve_load import running, visit_all


@pytest.mark.timeout(600)
def test_twenty_visitors_at_once(random_bundle_dir, tmp_path):
    with running(random_bundle_dir, "--max-queue", "6", folder=tmp_path) as server:
        before_mb = server.memory_mb()
        report = asyncio.run(visit_all(server.url, clients=20, seconds=0.6))
        grown_mb = server.memory_mb("VmHWM") - before_mb
        assert list(tmp_path.iterdir()), "the files are where the test looks for them"
        assert server.stop() == 130
    assert report.lost == [] and report.mixed_up == []
    assert report.told_busy > 0, "a queue of 6 must tell some of 20 that it is full"
    assert len(report.status_ms) >= 20, "each visitor asks at least once, however fast the takes are"
    assert grown_mb < 300, grown_mb
    assert not list(tmp_path.iterdir())
