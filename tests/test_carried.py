"""The networks that read the bundled encoders, against the library that reads all others."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
import torch

from accompany.common.config import CHECKPOINTS_DIR
from accompany.data.tokens.tokenize import load_parts
from accompany.encoders.carried import CarriedClap, carried_mert
from accompany.encoders.clap import Clap
from accompany.encoders.published import load_clap, load_mert
from accompany.errors import InputError
from accompany.models.parts import is_carried

TINY = CHECKPOINTS_DIR / "tiny"
PROMPTS = ["warm acoustic guitar, no drums", "", "SOLO Piano!", "잔잔한 피아노", "bass " * 300]


@pytest.fixture(scope="module")
def clap() -> CarriedClap:
    return CarriedClap(TINY / "clap", "Apache-2.0")


@pytest.fixture(scope="module")
def library_clap() -> Clap:
    return load_clap(TINY / "clap", license="Apache-2.0")


@pytest.mark.parametrize("layer", [None, 0, 3])
def test_mert_has_the_states_that_the_library_has(layer: int | None) -> None:
    sound = torch.randn(2, 24_000 * 2 + 77, generator=torch.Generator().manual_seed(1)) * 0.1
    options = {"layer": layer, "frame_rate": 25.0, "license": "Apache-2.0"}
    found = carried_mert(TINY / "mert", **options).encode(sound)
    wanted = load_mert(TINY / "mert", **options).encode(sound)
    assert found.shape == wanted.shape == (2, 51, 256)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


def test_clap_has_the_vectors_that_the_library_has(clap: CarriedClap, library_clap: Clap) -> None:
    for texts in (PROMPTS, *([each] for each in PROMPTS)):  # together, and alone without padding
        torch.testing.assert_close(clap.embed_text(texts), library_clap.embed_text(texts), rtol=1e-3, atol=1e-5)
    assert clap.embed_text([]).shape == (0, clap.dim)
    assert (clap.dim, clap.sample_rate, clap.window_s) == (
        library_clap.dim,
        library_clap.sample_rate,
        library_clap.window_s,
    )
    sound = torch.randn(1, clap.sample_rate * 3, generator=torch.Generator().manual_seed(2)) * 0.1
    torch.testing.assert_close(clap.embed_audio(sound), library_clap.embed_audio(sound), rtol=1e-3, atol=1e-5)


def test_only_the_parts_of_the_package_and_their_copies_are_carried(tmp_path) -> None:
    assert is_carried(TINY / "mert") and is_carried(str(TINY / "clap"))
    assert not is_carried(tmp_path) and not is_carried("m-a-p/MERT-v1-95M")
    copy = shutil.copytree(TINY / "mert", tmp_path / "mine" / "mert")
    assert is_carried(copy)
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert not is_carried(copy)
    (copy / "model.safetensors").unlink()
    assert not is_carried(copy)


def test_what_tokens_are_made_with_has_the_names_of_the_library() -> None:
    parts = load_parts("tiny")
    assert type(parts.clap) is Clap and "HubertModel" in type(parts.mert.model).__name__
    assert load_parts(TINY).fingerprints() == parts.fingerprints()


def test_broken_weights_are_named(tmp_path) -> None:
    shutil.copytree(TINY / "clap", tmp_path / "clap")
    weights = tmp_path / "clap" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(InputError, match="check that the download is complete"):
        CarriedClap(tmp_path / "clap", "Apache-2.0")


def test_a_bundled_model_loads_and_reads_a_prompt_without_transformers() -> None:
    code = (
        "import sys; from accompany import load; band = load('tiny'); band.bundle.clap.embed_text(['rock'])\n"
        "sys.exit('transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
