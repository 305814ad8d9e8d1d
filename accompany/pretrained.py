"""Bundles: the parts of a model in one folder, named by `bundle.json`, with the licence of each.

    bundle.json   {"format": 1, "name": "tiny", "license": "Apache-2.0",
                   "parts": {"codec": {"path": "codec", "license": "Apache-2.0", "options": {}}, ...}}
    codec/  mert/  clap/  semantic_codes/  listener/  semantic/  acoustic/

The path of a part is a folder inside the bundle, or a hub id. A bundle may lack parts: `load_part` and
`load_frozen_parts` take what is there, `load_bundle` needs all of them.
"""

from __future__ import annotations

import inspect
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accompany.config import did_you_mean, read_json, write_json
from accompany.errors import InputError
from accompany.hub import is_hub_id, push
from accompany.weights import (
    PathLike,
    load_module,
    make_folder,
    resolve_folder,
    save_half,
    save_module,
)

if TYPE_CHECKING:
    from accompany.encoders.clap import Clap
    from accompany.encoders.codec import Codec
    from accompany.encoders.melody import Melody
    from accompany.encoders.mert import Mert
    from accompany.encoders.semantic_codes import SemanticCodes
    from accompany.stages.acoustic import AcousticStage
    from accompany.stages.listener import Listener
    from accompany.stages.semantic import SemanticStage

__all__ = [
    "CHECKPOINTS_DIR",
    "PARTS",
    "Bundle",
    "BundleInfo",
    "PartInfo",
    "find_bundle",
    "list_bundles",
    "load_bundle",
    "load_frozen_parts",
    "load_module",
    "load_part",
    "push_to_hub",
    "read_bundle",
    "save_bundle",
    "save_half",
    "save_module",
    "write_bundle",
]

logger = logging.getLogger(__name__)

CHECKPOINTS_DIR = Path(__file__).parent / "checkpoints"
BUNDLE_NAME = "bundle.json"
FORMAT = 1
FROZEN_PARTS = ("mert", "clap", "codec", "semantic_codes")
STAGE_PARTS = ("listener", "semantic", "acoustic")
PARTS = FROZEN_PARTS + STAGE_PARTS


@dataclass(frozen=True)
class PartInfo:
    """One part of a bundle: `source` is its folder or a hub id, `options` are arguments of its loader.

    `bytes` is its size on disk (0 for a hub id), `rates` say what it works at ("24 kHz", "50 frames/s").
    """

    name: str
    source: Path | str
    license: str
    options: Mapping[str, Any] = field(default_factory=dict)
    bytes: int = 0
    rates: tuple[str, ...] = ()


@dataclass(frozen=True)
class BundleInfo:
    """What `bundle.json` says of a bundle in the folder `path`."""

    name: str
    path: Path
    license: str
    parts: tuple[PartInfo, ...]

    @property
    def bytes(self) -> int:
        """Size of all parts on disk."""
        return sum(part.bytes for part in self.parts)

    def part(self, name: str) -> PartInfo:
        """The part of this name; InputError when the bundle lacks it."""
        found = next((part for part in self.parts if part.name == name), None)
        if found is None:
            there = ", ".join(part.name for part in self.parts) or "none"
            raise InputError(f"The model {self.path} has no part '{name}' (it has: {there}); use a complete model.")
        return found


@dataclass(frozen=True)
class Bundle:
    """A loaded model: every part built, in evaluation mode, on `device` (the codec on the CPU for "mps")."""

    name: str
    path: Path
    device: str
    info: BundleInfo
    melody: Melody
    mert: Mert
    clap: Clap
    codec: Codec
    semantic_codes: SemanticCodes
    listener: Listener
    semantic: SemanticStage
    acoustic: AcousticStage


def list_bundles() -> list[str]:
    """Names of the models that the package carries."""
    return sorted(path.parent.name for path in CHECKPOINTS_DIR.glob(f"*/{BUNDLE_NAME}"))


def find_bundle(model: PathLike) -> Path:
    """The folder of a model: a name that the package carries, a folder, or a hub id (which may use the network).

    Raises:
        InputError: none of these, or a folder that is no bundle.
    """
    if str(model) in list_bundles():
        return CHECKPOINTS_DIR / str(model)
    path = Path(model).expanduser()
    if not path.is_dir() and not is_hub_id(str(model)):
        names = list_bundles()
        hint = did_you_mean(str(model), names) or f"; bundled models: {', '.join(names) or 'none'}."
        raise InputError(f"There is no model '{model}', as a bundled name, a folder or a hub id (owner/name){hint}")
    folder = resolve_folder(model)
    if not (folder / BUNDLE_NAME).is_file():
        raise InputError(f"{model} is no model of accompany (it has no {BUNDLE_NAME}); name the folder that holds one.")
    return folder


def read_bundle(path: PathLike) -> BundleInfo:
    """Name, licence and parts of the bundle in a folder, checked, without loading any weights.

    Raises:
        InputError: the folder or its `bundle.json` is missing, broken, of another format, or leaves the folder.
    """
    path = Path(path)
    content = read_json(path / BUNDLE_NAME)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path / BUNDLE_NAME} is not of format {FORMAT}; update accompany, or use another model.")
    try:
        parts = {name: dict(part) for name, part in content["parts"].items()}
        infos = tuple(_read_part(path, name, parts[name]) for name in sorted(parts, key=_order))
        return BundleInfo(str(content["name"]), path, str(content["license"]), infos)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path / BUNDLE_NAME} lacks or garbles {error}; use a complete model.") from error


def load_bundle(path: PathLike, device: str = "cpu") -> Bundle:
    """Load every part of the bundle in a folder; the licence of each is logged.

    Raises:
        InputError: a part is missing, broken, or does not fit the others.
    """
    from accompany.encoders.melody import Melody

    info = read_bundle(path)
    parts = {name: _load_part(info.part(name), device) for name in PARTS}
    _check_fit(info, parts["mert"], parts["semantic_codes"])
    return Bundle(info.name, info.path, device, info, Melody().to(device), **parts)


def load_part(path: PathLike, name: str, device: str = "cpu") -> Any:
    """Load one part (`PARTS`) of a bundle that may lack the others."""
    if name not in PARTS:
        raise InputError(f"There is no part '{name}'{did_you_mean(name, PARTS)} (parts: {', '.join(PARTS)}).")
    return _load_part(read_bundle(path).part(name), device)


def load_frozen_parts(model: PathLike, device: str = "cpu") -> dict[str, Any]:
    """The encoders of a bundle by name, with `melody`; those that it lacks are left out."""
    from accompany.encoders.melody import Melody

    info = read_bundle(find_bundle(model))
    there = [part for part in info.parts if part.name in FROZEN_PARTS]
    return {"melody": Melody().to(device), **{part.name: _load_part(part, device) for part in there}}


def write_bundle(
    folder: PathLike, *, name: str, license: str, parts: Mapping[str, PartInfo], card: PathLike | None = None
) -> Path:
    """Make a bundle from part folders (copied) and hub ids (kept as references), all of it or nothing.

    Args:
        folder: where; a bundle that is there is replaced, any other content is left alone.
        parts: by name; `source`, `license` and `options` of each are used.
        card: a README.md to go with it.

    Raises:
        InputError: the folder holds something else, or cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and not (folder / BUNDLE_NAME).is_file() and (folder.is_file() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is no model of accompany; name a new or empty folder.")
    make_folder(folder.parent)
    try:
        partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".part"))
    except OSError as error:
        raise InputError(f"Cannot write in {folder.parent} ({error.strerror}); choose another place.") from error
    try:
        _fill(partial, name, license, parts, card)
        os.chmod(partial, 0o755)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def save_bundle(bundle: Bundle, folder: PathLike) -> Path:
    """Write a loaded bundle as a folder of its own; what was loaded from a folder is copied as it is there."""
    info = bundle.info
    card = info.path / "README.md"
    return write_bundle(
        folder,
        name=info.name,
        license=info.license,
        parts={part.name: part for part in info.parts},
        card=card if card.is_file() else None,
    )


def push_to_hub(folder: PathLike, repo_id: str, *, private: bool = False) -> str:
    """Upload a bundle to the hub as `owner/name`; returns its address. Needs a login (`hf auth login`).

    Raises:
        InputError: no bundle there, no such name, not logged in, or no network.
    """
    read_bundle(folder)
    return push(Path(folder), repo_id, private=private)


def _order(name: str) -> tuple[int, str]:
    return (PARTS.index(name) if name in PARTS else len(PARTS), name)


def _read_part(bundle: Path, name: str, content: dict[str, Any]) -> PartInfo:
    stated = str(content["path"])
    if Path(stated).is_absolute() or ".." in Path(stated).parts:
        raise InputError(f"{bundle / BUNDLE_NAME} puts '{name}' at {stated}, outside the model; use another model.")
    folder, options = bundle / stated, dict(content.get("options") or {})
    if not folder.is_dir():
        return PartInfo(name, stated, str(content["license"]), options)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return PartInfo(name, folder, str(content["license"]), options, size, _rates(name, folder, options))


def _rates(name: str, folder: Path, options: Mapping[str, Any]) -> tuple[str, ...]:
    """The rates of an encoder, from its config files."""

    def value(key: str, default: Any = None, file: str = "config.json") -> Any:
        return read_json(folder / file).get(key, default) if (folder / file).is_file() else default

    if name in ("mert", "clap"):
        heard = (f"{value('sampling_rate', 0, 'preprocessor_config.json') / 1000:g} kHz",)
        return heard if name == "clap" else (*heard, f"{options.get('frame_rate', 25):g} frames/s")
    if name == "codec":
        hop = math.prod(value("upsampling_ratios", ()))
        rate = value("sampling_rate", 0)
        channels = "stereo" if value("audio_channels", 1) == 2 else "mono"
        return f"{rate / 1000:g} kHz", channels, f"{rate / hop:g} frames/s"
    if name == "semantic_codes":
        return f"{value('frame_rate', 0):g} frames/s", " + ".join(map(str, value("sizes", ()))) + " codes"
    return ()


def _load_part(part: PartInfo, device: str) -> Any:
    loader = _loaders()[part.name]
    options = dict(part.options)
    known = inspect.signature(loader).parameters
    for option in options:
        if option not in known:
            raise InputError(f"The part '{part.name}' has no option '{option}'{did_you_mean(option, known) or '.'}")
    module = loader(part.source, license=part.license, **options)
    # EnCodec garbles its output on Apple's MPS without a word, so it stays on the CPU there.
    return module.to("cpu" if part.name == "codec" and device == "mps" else device)


def _loaders() -> dict[str, Callable[..., Any]]:
    """How each part loads; imports are inside, so that one part does not pull in the others."""

    def mert(source: PathLike, *, license: str, layer: int | None = None, frame_rate: float = 25.0) -> Any:
        from accompany.encoders.mert import Mert

        return Mert.from_pretrained(source, layer=layer, frame_rate=frame_rate, license=license)

    def clap(source: PathLike, *, license: str) -> Any:
        from accompany.encoders.clap import Clap

        return Clap.from_pretrained(source, license=license)

    def codec(source: PathLike, *, license: str, n_codebooks: int | None = None) -> Any:
        from accompany.encoders.codec import Codec

        return Codec.from_pretrained(source, n_codebooks=n_codebooks, license=license)

    def semantic_codes(source: PathLike, *, license: str) -> Any:
        from accompany.encoders.semantic_codes import SemanticCodes

        return SemanticCodes.from_pretrained(resolve_folder(source), license=license)

    def listener(source: PathLike, *, license: str) -> Any:
        from accompany.stages.listener import Listener

        return load_module(Listener, resolve_folder(source), license=license)

    def semantic(source: PathLike, *, license: str) -> Any:
        from accompany.stages.semantic import SemanticStage

        return load_module(SemanticStage, resolve_folder(source), license=license)

    def acoustic(source: PathLike, *, license: str) -> Any:
        from accompany.stages.acoustic import AcousticStage

        return load_module(AcousticStage, resolve_folder(source), license=license)

    loaders = (mert, clap, codec, semantic_codes, listener, semantic, acoustic)
    return {loader.__name__: loader for loader in loaders}


def _check_fit(info: BundleInfo, mert: Mert, codes: SemanticCodes) -> None:
    if (mert.dim, mert.frame_rate) != (codes.dim, codes.frame_rate):
        raise InputError(
            f"In {info.path} MERT gives {mert.dim} values {mert.frame_rate:g} times a second, but the semantic codes "
            f"want {codes.dim} values {codes.frame_rate:g} times; use parts that were made together."
        )


def _fill(folder: Path, name: str, license: str, parts: Mapping[str, PartInfo], card: PathLike | None) -> None:
    content: dict[str, Any] = {"format": FORMAT, "name": name, "license": license, "parts": {}}
    for part in sorted(parts, key=_order):
        source = parts[part].source
        local = Path(source).is_dir()
        if local:
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("*.part", ".*"))
        content["parts"][part] = {
            "path": part if local else str(source),
            "license": parts[part].license,
            "options": dict(parts[part].options),
        }
    if card is not None:
        shutil.copyfile(card, folder / "README.md")
    write_json(folder / BUNDLE_NAME, content)
