"""Files of separators that people send each other: what they ask for is refused, what is broken is named."""

from __future__ import annotations

import json
import os
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_separator import SOURCES, small_htdemucs, write_separator

from accompany.cli import main
from accompany.errors import InputError

pytest.importorskip("demucs")

HTDEMUCS = "demucs.htdemucs.HTDemucs"


class Touch:
    """A pickle that makes a file when it is loaded without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@pytest.fixture(scope="module")
def model() -> Any:
    return small_htdemucs()


def load(folder: Path | str) -> Any:
    from accompany.sound.separation import SongSeparator

    return SongSeparator(str(folder))


def change(folder: Path, **changes: Any) -> Path:
    """Other metadata, or with `state` other tensors, in the file of a folder."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    path = folder / "abc.safetensors"
    with safe_open(str(path), "pt") as file:
        metadata = file.metadata()
    state = {**load_file(path), **changes.pop("state", {})}
    for key, value in changes.items():
        if value is None:
            metadata.pop(key)
        else:
            metadata[key] = value if isinstance(value, str) else json.dumps(value)
    save_file(state, path, metadata)
    return folder


@pytest.mark.parametrize("door", ["--separator", "--stems", "prepare", "yaml"])
def test_a_file_that_names_a_function_runs_nothing(
    door: str,
    model: Any,
    random_bundle_dir: Path,
    vocal_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "d").mkdir()
    touched = tmp_path / "touched"
    folder = change(write_separator(model, tmp_path / "d"), klass="os.system", args=[f"touch {touched}"], kwargs="{}")
    if door != "yaml":
        (folder / "small.yaml").unlink()
    (tmp_path / "songs").mkdir()
    shutil.copy(vocal_path, tmp_path / "songs" / "a.wav")
    voice, out = str(vocal_path), ["-o", str(tmp_path / "out.wav")]
    commands = {
        "--stems": [
            *("generate", voice, *out, "--stems", "--separator", str(folder)),
            *("--model", str(random_bundle_dir)),  # a model that plays no stems of its own
        ],
        "prepare": ["prepare", str(tmp_path / "songs"), str(tmp_path / "pairs"), "--separator", str(folder)],
    }
    assert main(commands.get(door, ["generate", voice, *out, "--separate", "--separator", str(folder)])) == 2
    error = capsys.readouterr().err
    assert "asks for os.system, which is refused" in error and "abc.safetensors" in error
    assert not touched.exists() and not (tmp_path / "out.wav").exists()


@pytest.mark.parametrize(
    "name", ["os.system", "demucs.htdemucs.main", "torch.nn.Linear", "htdemucs", "demucs.apply.BagOfModels", 7]
)
def test_only_networks_of_demucs_are_built(name: Any, model: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="which is refused"):
        load(change(write_separator(model, tmp_path), klass=name))


def test_a_packed_state_names_no_class_of_its_own(model: Any, tmp_path: Path) -> None:
    structure = {"_dict": [["__quantized", True], ["meta", {"_class": "os.system"}]]}
    with pytest.raises(InputError, match=r"asks for os\.system, which is refused"):
        load(change(write_separator(model, tmp_path), structure=structure))


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("where", ["whole", "klass", "kwargs", "state"])
def test_a_pickled_file_runs_nothing(where: str, protocol: int, model: Any, tmp_path: Path) -> None:
    touch = Touch(tmp_path / "touched")
    package = {"klass": type(model), "args": [], "kwargs": model._init_args_kwargs[1], "state": model.state_dict()}
    nested = {"klass": touch, "kwargs": {"depth": touch}, "state": {"x": touch}}
    content: Any = touch if where == "whole" else {**package, where: nested[where]}
    (tmp_path / "d").mkdir()
    torch.save(content, tmp_path / "d" / "abc.th", pickle_protocol=protocol)
    with pytest.raises(InputError, match=r"asks for \w+\.system, which is refused"):
        load(tmp_path / "d")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickled_network_is_what_it_was(protocol: int, model: Any, tmp_path: Path) -> None:
    args, kwargs = model._init_args_kwargs
    package = {"klass": type(model), "args": args, "kwargs": {**kwargs, "segment": Fraction(39, 5), "gone": 3}}
    torch.save({**package, "state": model.state_dict(), "training_args": {"lr": 1.0}}, tmp_path / "abc.th",
               pickle_protocol=protocol)  # fmt: skip
    (network,) = load(tmp_path)._separator.model.models
    assert network.segment == Fraction(39, 5) and network.sources == list(SOURCES)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"depth": 1_000_000}, "depth is 1000000, no number from"),
        ({"t_layers": 1e9}, "t_layers is"),
        ({"channels": 512}, "has other weights than its network"),
        ({"channels": "many"}, "make no network"),
        ({"sources": ["../vocals", "b", "c", "d"]}, "the sources of abc.safetensors"),
        ({"sources": ["vocals"] * 4}, "the sources of abc.safetensors"),
        ({"samplerate": 1}, "samplerate is 1,"),
        ({"samplerate": 1e308}, "samplerate is"),
        ({"segment": 0}, "segment is 0"),
        ({"segment": {"_type": "fraction", "numerator": 1, "denominator": 0}}, "a fraction in its arguments"),
        ({"audio_channels": {"a": 1}}, "audio_channels is"),
        ({"rescale": float("nan")}, "rescale is nan"),
    ],
)  # fmt: skip
def test_arguments_stay_within_bounds(kwargs: dict[str, Any], words: str, model: Any, tmp_path: Path) -> None:
    folder = write_separator(model, tmp_path)
    own = model._init_args_kwargs[1]
    with pytest.raises(InputError, match=f"Cannot load the separator .*{words}"):
        load(change(folder, kwargs={**own, **kwargs}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"klass": None}, "does not say its klass"),
        ({"kwargs": "{"}, "garbles its metadata"),
        ({"kwargs": "[" * 100_000}, "garbles its metadata"),
        ({"args": "5"}, "no list"),
        ({"args": json.dumps([1] * 200)}, "more arguments"),
        ({"structure": '{"_tensor": "nothing"}'}, "garbles its metadata"),
        ({"state": {"more": torch.zeros(1)}}, "other weights than its network: more"),
        ({"state": {"encoder.0.conv.bias": torch.zeros(3)}}, "other weights than its network: encoder"),
        ({"state": {"encoder.0.conv.bias": torch.full((8,), torch.inf)}}, "abc.*'encoder.0.conv.bias' has values"),
        ({"state": {"encoder.0.conv.bias": torch.full((8,), torch.nan)}}, "abc.*'encoder.0.conv.bias' has values"),
    ],
)  # fmt: skip
def test_broken_files_are_named(changes: dict[str, Any], words: str, model: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        load(change(write_separator(model, tmp_path), **changes))


@pytest.mark.parametrize(
    ("bag", "words"),
    [
        ("models: [../other/abc]", "names of files beside it"),
        ("models: [/etc/passwd]", "names of files beside it"),
        ("models: ['..\\\\abc']", "names of files beside it"),
        ("models: abc", "must list"),
        ("models: []", "must list"),
        ("models: [gone]", "gone.safetensors"),
        ("abc", "must name its models"),
        ("models: [abc", "is no YAML"),
        ("[" * 5000, "is no YAML"),
        ("models: [abc]\nx: '" + "x" * 70_000 + "'", "too long"),
        ("!!python/object/apply:os.system [false]", "is no YAML"),
        ("models: [abc]\nweights: [[1, 1]]", "a row for each model"),
        ("models: [abc]\nweights: [[1, 1, 1, .nan]]", "a weight of the bag"),
        ("models: [abc]\nweights: [[1, 1, 1, 0]]", "must not sum to 0"),
        ("models: [abc]\nsegment: -1", "segment is -1"),
    ],
)
def test_a_bag_names_files_beside_it(bag: str, words: str, model: Any, tmp_path: Path) -> None:
    (write_separator(model, tmp_path) / "small.yaml").write_text(bag)
    with pytest.raises(InputError, match=words):
        load(tmp_path)


@pytest.mark.parametrize("name", ["hf://someone/evil", "someone/evil", "evil"])
def test_a_name_of_the_hub_runs_nothing(name: str, model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    folder = change(write_separator(model, tmp_path), klass="os.system", args=[f"touch {tmp_path / 'touched'}"])
    files = {".yaml": folder / "small.yaml", ".safetensors": folder / "abc.safetensors"}
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda _, file: str(files[Path(file).suffix]))
    with pytest.raises(InputError, match="which is refused"):
        load(name)
    assert not (tmp_path / "touched").exists()


def test_a_name_of_the_archive_runs_nothing(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def offline(*_: object) -> str:
        raise OSError("offline")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(
        torch.hub,
        "download_url_to_file",
        lambda _, path, *__, **___: torch.save({"klass": Touch(tmp_path / "touched")}, path),
    )
    with pytest.raises(InputError, match="another sum"):
        load("mdx")
    monkeypatch.setattr("accompany.sound.separator_files.sha256", lambda path: path.stem.partition("-")[2])
    with pytest.raises(InputError, match="which is refused"):
        load("mdx")
    with pytest.raises(InputError, match="offline"):
        load("nosuch")
    assert not (tmp_path / "touched").exists()


def test_a_network_that_cannot_run_is_a_sentence(model: Any, tmp_path: Path) -> None:
    folder = change(write_separator(model, tmp_path), kwargs={**model._init_args_kwargs[1], "t_heads": 3})
    with pytest.raises(InputError, match=r"[Cc]annot (run|load)"):
        load(folder).stems(np.zeros((2, 16000), np.float32), 16000)
