"""Safe loading of Demucs networks: files read as data, and nothing that they name is run.

Demucs itself unpickles `.th` files and imports whatever class a safetensors file names. Here a file may ask for the
networks of Demucs and for nothing else, its arguments are plain values within bounds, and its tensors must be those of
the network before that is built.
"""

from __future__ import annotations

import importlib
import inspect
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from accompany.common.folders import sha256
from accompany.common.pickles import read_checkpoint
from accompany.common.weights import refuse_non_finite
from accompany.errors import InputError

_CLASSES = ("demucs.demucs.Demucs", "demucs.hdemucs.HDemucs", "demucs.htdemucs.HTDemucs", "demucs.wdemucs.WDemucs")
_QUANTIZERS = ("diffq.diffq.DiffQuantizer", "diffq.uniform.UniformQuantizer")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][\w.-]{0,99}")
_STEM = re.compile(r"\w[\w -]{0,49}")
_MOST_BYTES = 1 << 16  # of a bag's YAML
_MOST_NETWORKS = 32


def read_networks(name: str) -> Any:
    """The `BagOfModels` of a folder in the layout of a Demucs repository, or of a published name, in evaluation mode.

    Args:
        name: a folder with NAME.yaml and SIGNATURE.safetensors, or SIGNATURE.th; `hf://[namespace/]name`; a Demucs
            name.

    Raises:
        InputError: a file is broken or asks for what is no network of Demucs.
        ValueError: the folder or the bag is not in that layout, or a network's arguments are none.
        OSError: the hub cannot be reached, or does not know the name.
    """
    if Path(name).is_dir():
        return _read_folder(Path(name))
    if name.startswith("hf://"):
        return _read_from_hub(name.removeprefix("hf://"))
    try:
        return _read_from_hub(name)
    except (OSError, ValueError):
        if (bag := _read_from_archive(name)) is None:
            raise
        return bag


def _read_folder(folder: Path) -> Any:
    bags, files = sorted(folder.glob("*.yaml")), sorted(folder.glob("*.safetensors"))
    if files:
        content = _read_bag(bags[0]) if bags else {"models": [path.stem for path in files]}
        return _bag(content, lambda signature: _read_safetensors(folder / f"{signature}.safetensors"))
    pickled = {path.stem.partition("-")[0]: path for path in sorted(folder.glob("*.th"))}
    if len(bags) != 1 and len(pickled) != 1:
        raise ValueError("the folder must hold one model or one bag of models")
    content = _read_bag(bags[0]) if len(bags) == 1 else {"models": [*pickled]}
    return _bag(content, lambda signature: _read_pickled(pickled.get(signature, folder / f"{signature}.th")))


def _read_from_hub(name: str) -> Any:
    from demucs.hf import DEFAULT_NAMESPACE, hf_repo_name
    from huggingface_hub import hf_hub_download

    namespace, _, name = name.rpartition("/")
    repo = f"{namespace or DEFAULT_NAMESPACE}/{hf_repo_name(name)}"
    content = _read_bag(Path(hf_hub_download(repo, f"{name}.yaml")))
    return _bag(content, lambda each: _read_safetensors(Path(hf_hub_download(repo, f"{each}.safetensors"))))


def _read_from_archive(name: str) -> Any:
    """A network from Demucs' archive of known names and checksums; None for another name."""
    import torch
    from demucs.pretrained import REMOTE_ROOT, _parse_remote_files

    addresses = _parse_remote_files(REMOTE_ROOT / "files.txt")
    bag = REMOTE_ROOT / f"{name}.yaml"
    if not _PLAIN_NAME.fullmatch(name) or (name not in addresses and not bag.is_file()):
        return None

    def fetch(signature: str) -> Any:
        address = addresses[signature]
        path = Path(torch.hub.get_dir()) / "checkpoints" / address.rpartition("/")[2]
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(address, str(path), path.stem.rpartition("-")[2], progress=False)
        return _read_pickled(path)

    return _bag({"models": [name]} if name in addresses else _read_bag(bag), fetch)


def _read_bag(path: Path) -> dict[str, Any]:
    """The content of NAME.yaml."""
    import yaml

    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path} is too long for a bag of models")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must name its models")
    return content


def _bag(content: Mapping[str, Any], read: Callable[[str], Any]) -> Any:
    """The networks that a bag names, with the weight of each for each source."""
    from demucs.apply import BagOfModels

    names, weights, segment = content.get("models"), content.get("weights"), content.get("segment")
    if not isinstance(names, list) or not 0 < len(names) <= _MOST_NETWORKS:
        raise ValueError(f"a bag must list 1 to {_MOST_NETWORKS} models")
    for name in names:
        if not isinstance(name, str) or not _PLAIN_NAME.fullmatch(name):
            raise ValueError(f"a bag must list its models as names of files beside it, not as {str(name)[:100]!r}")
    if segment is not None:
        _check_number("segment", segment, 0.25, 600)
    networks = [read(name) for name in names]
    first = networks[0]
    for other in networks[1:]:
        if any(getattr(other, of) != getattr(first, of) for of in ("sources", "samplerate", "audio_channels")):
            raise ValueError("the models of a bag must have the same sources, sample rate and channels")
    if weights is not None:
        _check_weights(weights, len(networks), len(first.sources))
    return BagOfModels(networks, weights, segment).eval()


def _check_weights(weights: Any, n_networks: int, n_sources: int) -> None:
    rows = weights if isinstance(weights, list) else []
    if len(rows) != n_networks or any(not isinstance(row, list) or len(row) != n_sources for row in rows):
        raise ValueError("the weights of a bag must be a row for each model with a number for each source")
    for value in (value for row in rows for value in row):
        _check_number("a weight of the bag", value, -100, 100)
    if any(sum(column) == 0 for column in zip(*rows, strict=True)):
        raise ValueError("the weights of a source must not sum to 0")


def _read_safetensors(path: Path) -> Any:
    """A network whose class and arguments stand in the metadata of its file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            metadata, tensors = file.metadata() or {}, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path.name} is no file of safetensors: {error}") from error
    lacking = [key for key in ("klass", "args", "kwargs") if key not in metadata]
    if lacking:
        raise ValueError(f"{path.name} does not say its {', '.join(lacking)}")
    try:
        args, kwargs, structure = (
            json.loads(metadata.get(key, "null"), object_hook=_fraction_of) for key in ("args", "kwargs", "structure")
        )
        state = tensors if structure is None else _unflatten(path, structure, tensors)
    except (json.JSONDecodeError, RecursionError, KeyError, TypeError) as error:
        raise ValueError(f"{path.name} garbles its metadata ({error})") from error
    return _build(path, metadata["klass"], args, kwargs, state)


def _fraction_of(value: dict[str, Any]) -> Any:
    if value.get("_type") != "fraction":
        return value
    return _fraction(value.get("numerator"), value.get("denominator"))


def _fraction(numerator: Any, denominator: Any = 1) -> Fraction:
    """A fraction of whole numbers, which stand in pickles as text up to Python 3.11."""
    if isinstance(numerator, str):
        numerator, _, below = numerator.partition("/")
        numerator, denominator = int(numerator[:20]), int(below[:20] or 1)
    if not isinstance(numerator, int) or not isinstance(denominator, int) or denominator == 0:
        raise ValueError("a fraction in its arguments is none")
    return Fraction(numerator, denominator)


def _unflatten(path: Path, node: Any, tensors: Mapping[str, Any]) -> Any:
    """A nested state, as Demucs flattens the packed weights of its quantised networks."""
    if not isinstance(node, dict):
        return node
    if "_tensor" in node:
        return tensors[node["_tensor"]]
    if "_dict" in node:
        return {key: _unflatten(path, item, tensors) for key, item in node["_dict"]}
    if "_list" in node:
        return [_unflatten(path, item, tensors) for item in node["_list"]]
    if "_tuple" in node:
        return tuple(_unflatten(path, item, tensors) for item in node["_tuple"])
    return _named(path, node.get("_class"), _QUANTIZERS)


def _read_pickled(path: Path) -> Any:
    """A network as `demucs --repo` keeps it: SIGNATURE-SUM.th or SIGNATURE.th."""
    summed = path.stem.partition("-")[2]
    if summed and not sha256(path).startswith(summed):
        raise ValueError(f"{path.name} has another sum than its name says; it may be cut short")
    names: dict[str, Any] = {name: name for name in (*_CLASSES, *_QUANTIZERS)}
    package = read_checkpoint(path, {**names, "fractions.Fraction": _fraction})
    if not isinstance(package, Mapping) or not {"klass", "args", "kwargs", "state"} <= package.keys():
        raise ValueError(f"{path.name} holds no network of Demucs")
    state = package["state"]
    if isinstance(state, Mapping) and isinstance(state.get("meta"), Mapping):
        state = {**state, "meta": {**state["meta"], "klass": _named(path, state["meta"].get("klass"), _QUANTIZERS)}}
    return _build(path, package["klass"], package["args"], package["kwargs"], state)


def _build(path: Path, class_name: Any, args: Any, kwargs: Any, state: Any) -> Any:
    """The network of a class, its arguments and its state, in memory that the file itself justifies."""
    import torch
    from demucs.states import set_state

    cls = _named(path, class_name, _CLASSES)
    arguments = _arguments(cls, args, kwargs)
    if not isinstance(state, Mapping):
        raise ValueError(f"{path.name} holds no weights")
    try:
        with torch.device("meta"):  # sizes without memory
            shapes = {name: tensor.shape for name, tensor in cls(**arguments).state_dict().items()}
    except Exception as error:  # sizes that fit nothing raise whatever the layers do
        raise ValueError(f"{path.name} has arguments that make no network: {error}") from error
    if not state.get("__quantized"):
        _check_tensors(path, state, shapes)
    elif sum(map(math.prod, shapes.values())) > 64 * path.stat().st_size:
        raise ValueError(f"{path.name} is too small for the network that it asks for")
    network = cls(**arguments)
    set_state(network, state)
    _check_sound(path, network)
    refuse_non_finite(network.state_dict(), path)
    return network


def _check_tensors(path: Path, state: Mapping[str, Any], shapes: Mapping[str, Any]) -> None:
    wrong = sorted(map(str, state.keys() ^ shapes.keys())) or sorted(
        name for name, shape in shapes.items() if getattr(state[name], "shape", None) != shape
    )
    if wrong:
        rest = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise ValueError(f"{path.name} has other weights than its network: {wrong[0]}{rest}")


def _named(path: Path, name: Any, allowed: Sequence[str]) -> Any:
    """A class by its whole name, one of those that are allowed."""
    if name not in allowed:
        raise InputError(
            f"{path}, a file of the separator, asks for {str(name)[:100]}, which is refused: only networks of Demucs "
            "are loaded; use a file that Demucs or accompany wrote."
        )
    module, _, name = str(name).rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise ValueError(f"its weights are quantised, which needs the package {error.name}") from error


def _arguments(cls: type, args: Any, kwargs: Any) -> dict[str, Any]:
    """Arguments by name, plain values within bounds; those that this release of Demucs does not know are dropped."""
    if not isinstance(args, (list, tuple)) or not isinstance(kwargs, Mapping):
        raise ValueError("its arguments are no list and no mapping")
    known = list(inspect.signature(cls).parameters)
    if len(args) > len(known):
        raise ValueError("it gives more arguments than its network takes")
    given = {**dict(zip(known, args, strict=False)), **{str(name): value for name, value in kwargs.items()}}
    given = {name: value for name, value in given.items() if name in known}
    for name, value in given.items():
        for each in value if isinstance(value, (list, tuple)) else [value]:
            _check_value(name, each)
    return given


def _check_value(name: str, value: Any) -> None:
    if value is None or isinstance(value, (str, bool)):
        return
    counts_layers = "depth" in name or "layers" in name
    _check_number(name, value, -1_000_000, 64 if counts_layers else 1_000_000)


def _check_number(name: str, value: Any, low: float, high: float) -> None:
    is_number = isinstance(value, (int, float, Fraction)) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        raise ValueError(f"{name} is {str(value)[:100]}, no number from {low:g} to {high:g}")


def _check_sound(path: Path, network: Any) -> None:
    """Check names of stems, channels, rate and length, on which the package relies."""
    sources = network.sources
    if (
        not isinstance(sources, list)
        or not 0 < len(sources) <= _MOST_NETWORKS
        or len({*map(str, sources)}) < len(sources)
        or not all(isinstance(name, str) and _STEM.fullmatch(name) for name in sources)
    ):
        raise ValueError(f"the sources of {path.name} are no list of different names")
    _check_number("audio_channels", network.audio_channels, 1, 8)
    _check_number("samplerate", network.samplerate, 8_000, 192_000)
    _check_number("segment", network.segment, 0.25, 600)
