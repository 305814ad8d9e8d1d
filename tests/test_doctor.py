"""`accompany doctor`: every finding that is not ok says what to do, and none of it needs what it looks for."""

from __future__ import annotations

import shutil
from email.message import Message
from types import SimpleNamespace
from typing import Any

import pytest

from accompany.commands import doctor
from accompany.commands.doctor import Finding

huggingface_hub = pytest.importorskip("huggingface_hub")
pytest.importorskip("huggingface_hub.utils")


def hub(monkeypatch: pytest.MonkeyPatch, answer: Any, token: str | None = None, offline: bool = False) -> Finding:
    def head(address: str, timeout: float) -> None:
        assert address.startswith("http") and 0 < timeout < 10
        if isinstance(answer, Exception):
            raise answer

    monkeypatch.setattr(huggingface_hub.utils, "get_session", lambda: SimpleNamespace(head=head))
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: token)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    (finding,) = doctor._hub()
    return finding


def test_a_hub_that_is_out_of_reach_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = hub(monkeypatch, ConnectionError("no route"))
    assert lost.status == "note" and "ConnectionError" in lost.found and "HTTPS_PROXY" in lost.advice
    off = hub(monkeypatch, ConnectionError("never asked"), offline=True)
    assert off.status == "note" and "HF_HUB_OFFLINE" in off.found and off.advice


def test_a_token_is_seen_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    inside, outside = hub(monkeypatch, None, token="secret"), hub(monkeypatch, None)
    assert (inside.status, outside.status) == ("ok", "note")
    assert "secret" not in inside.found + inside.advice and "hf auth login" in outside.advice


def test_every_model_has_its_licence_and_what_it_means(monkeypatch: pytest.MonkeyPatch) -> None:
    from accompany.models import pretrained

    parts = (SimpleNamespace(license="CC-BY-NC-4.0"), SimpleNamespace(license="MIT"))
    monkeypatch.setattr(pretrained, "list_bundles", lambda: ["free", "bound"])
    monkeypatch.setattr(pretrained, "find_bundle", lambda name: name)
    made = {
        "free": SimpleNamespace(license="Apache-2.0", parts=()),
        "bound": SimpleNamespace(license="MIT", parts=parts),
    }
    monkeypatch.setattr(pretrained, "read_bundle", made.get)
    free, bound, published = doctor._licences()
    assert (free.status, free.found) == ("ok", "Apache-2.0")
    assert bound.status == "note" and "CC-BY-NC-4.0, MIT" in bound.found and "commercial" in bound.advice
    assert "MERT" in published.found and published.advice


def test_a_full_disk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for free, status in ((1e9, "note"), (5e10, "ok")):
        monkeypatch.setattr(shutil, "disk_usage", lambda folder, free=free: SimpleNamespace(free=free))
        assert [finding.status for finding in doctor._disk()] == [status] * 2


def test_every_extra_of_the_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = Message()
    for extra in ("sound", "later"):
        metadata["Provides-Extra"] = extra
    wanted = ['numpy>=1; extra == "sound"', 'no-such-package>=1; extra == "later"']
    monkeypatch.setattr("importlib.metadata.metadata", lambda name: metadata)
    monkeypatch.setattr("importlib.metadata.requires", lambda name: wanted)
    sound, later = doctor._extras()
    assert (sound.name, sound.status, sound.advice) == ("extra sound", "ok", "")
    assert (later.name, later.status, later.found) == ("extra later", "note", "missing no-such-package")
    assert later.advice == 'pip install "accompany[later]"'


def test_a_look_that_fails_hides_no_other() -> None:
    def _broken_part() -> list[Finding]:
        raise RuntimeError("boom")

    (finding,) = doctor._guarded(_broken_part)
    assert finding == Finding("broken part", "broken", "RuntimeError: boom", "Reinstall accompany.")
