"""The start: the garbage collector rests while the command loads a model, and no longer; a program's is left alone."""

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import soundfile

import accompany
from accompany import cli
from accompany.cli import collection_rests


def test_collection_rests_and_goes_on_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), collection_rests():
        assert not gc.isenabled()
        1 / 0  # noqa: B018
    assert gc.isenabled()
    gc.unfreeze()


@pytest.mark.parametrize(("given", "used"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_wait_without_spinning_unless_the_user_wants_it(given: str | None, used: str) -> None:
    """As a command finds it, before it imports torch."""
    code = (
        "import os, sys, accompany.cli as cli\n"
        "cli.main = lambda **_: print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)\n"
        "cli.run()"
    )
    others = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment = {**others, **({"OMP_WAIT_POLICY": given} if given else {})}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [used, "False"]


def test_a_library_leaves_the_collector_alone(random_bundle_dir: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    touched: list[str] = []
    for name in ("disable", "enable", "freeze", "set_threshold"):
        monkeypatch.setattr(gc, name, lambda *_, name=name: touched.append(name))
    accompany.load(random_bundle_dir, device="cpu")
    assert cli.main(["generate", "missing.wav", "--model", str(random_bundle_dir)]) == 2
    assert touched == []


def test_the_command_loads_models_while_collection_rests(
    random_bundle_dir: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rested: list[bool] = []

    @contextmanager
    def watched() -> Iterator[None]:
        with collection_rests():
            yield
            rested.append(not gc.isenabled() and "accompany.models.pretrained" in sys.modules)

    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    vocal = tmp_path / "voice.wav"
    command = ["generate", str(vocal), "--model", str(random_bundle_dir), "--device", "cpu"]
    soundfile.write(vocal, np.random.default_rng(0).normal(0, 0.1, 24000), 24000)
    monkeypatch.setattr(accompany.Band, "perform", stopped)
    assert cli.main(command, loading=watched) == 130
    assert rested == [True] and gc.isenabled()
    gc.unfreeze()


def test_who_has_switched_it_off_finds_it_off() -> None:
    gc.disable()
    try:
        with collection_rests():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
