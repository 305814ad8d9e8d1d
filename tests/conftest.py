"""Fixtures that all tests share: a sung-like vocal, and a whole model with random weights."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# Small models and several workers: more threads than one each would only wait for each other, and a forked copy of a
# process that had more would wait for theirs for ever. (No torch so far.)
for _library in ("OMP", "MKL"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"

# numba's cache takes harm from two processes that compile the same functions at once (librosa crashes ever after), so
# each worker has its own, a copy of what `make test` compiles before. Workers inherit the environment of the process
# that starts them, hence no setdefault.
COMPILED = Path(__file__).parents[1] / ".pytest_cache" / "numba" / "compiled"
_CACHE = COMPILED.with_name(os.environ.get("PYTEST_XDIST_WORKER", "alone"))
if COMPILED.is_dir() and not _CACHE.is_dir():
    shutil.copytree(COMPILED, _CACHE)
os.environ["NUMBA_CACHE_DIR"] = str(_CACHE)

VOCAL_RATE = 44100

LONGEST = """test_serve_page test_training_devices test_tokenize test_training_stops test_recipe test_adapting
test_studies test_serve test_training test_prepare""".split()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first, or one worker would end with them while the others have nothing to do."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


def sing(seconds: float, sample_rate: int = VOCAL_RATE, seed: int = 0) -> np.ndarray:
    """A voice-like sound [T]: notes of a scale with vibrato, harmonics, breath and rests; peak 0.5."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * sample_rate)) / sample_rate
    note = (time_s / 0.5).astype(int)
    degrees = rng.choice([0, 2, 4, 5, 7, 9, 12], size=note.max(initial=0) + 1)
    pitch_hz = 220 * 2 ** ((degrees[note] + 0.3 * np.sin(2 * np.pi * 5.5 * time_s)) / 12)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / sample_rate
    voice = sum(np.sin(k * phase) / k**1.5 for k in range(1, 9))
    envelope = np.minimum(1, 8 * (time_s % 0.5)) * (note % 8 != 7)
    sound = envelope * (voice + 0.02 * rng.standard_normal(len(time_s)))
    return (0.5 * sound / max(np.abs(sound).max(initial=0), 1e-9)).astype(np.float32)


@pytest.fixture(scope="session")
def vocal_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of mono singing at 44.1 kHz. Read only."""
    from accompany import audio

    path = tmp_path_factory.mktemp("vocal") / "vocal.wav"
    audio.write(path, sing(3.0), VOCAL_RATE)
    return path


@pytest.fixture(scope="session")
def random_bundle_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole model with random weights, in the format of the published ones. Read only."""
    pytest.importorskip("sklearn")
    from small_bundle import write_random_bundle

    root = tmp_path_factory.mktemp("model")
    return write_random_bundle(root / "random", root)


@pytest.fixture(scope="session")
def stem_bundle_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `random_bundle_dir`, of a band with stems. Read only."""
    pytest.importorskip("sklearn")
    from small_bundle import write_random_bundle

    root = tmp_path_factory.mktemp("stems")
    return write_random_bundle(root / "stems", root, stems=True)


@pytest.fixture(scope="session")
def band(random_bundle_dir: Path) -> Any:
    """That model, loaded."""
    import accompany

    return accompany.load(random_bundle_dir, device="cpu")


@pytest.fixture
def loaded_once(band: Any, random_bundle_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`accompany.load` hands out that model, which is loaded already; other weights and precisions are loaded."""
    import accompany

    real = accompany.load

    def load(model: Any = "tiny", *, device: str = "auto", **options: Any) -> Any:
        is_plain = device in ("auto", "cpu") and not options.get("lora") and options.get("precision", "auto") == "auto"
        if is_plain and Path(model) == random_bundle_dir:
            return accompany.Band(band.bundle, source=str(model))
        return real(model, device=device, **options)

    monkeypatch.setattr(accompany, "load", load, raising=False)
