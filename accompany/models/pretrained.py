"""Pretrained bundles: the parts of a model in one folder, named by `bundle.json`, with the licence of each.

    bundle.json   {"format": 1, "kind": "accompany", "name": "tiny", "license": "Apache-2.0",
                   "parts": {"codec": {"path": "codec", "license": "Apache-2.0", "options": {}}, ...}}
    codec/  mert/  clap/  semantic_codes/  listener/  semantic/  acoustic/

The path of a part is a folder inside the bundle, or a hub id. A bundle may lack parts: `load_part` and
`load_frozen_parts` take what is there, `load_bundle` needs all of them. The kind says of which architecture the model
is, and with it which parts it has (`accompany.models.bundles`).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from accompany.common.config import CHECKPOINTS_DIR, did_you_mean, read_json, write_json
from accompany.common.fields import refuse_unknown_fields
from accompany.common.files import part_beside, remove_part, require_writable, writing_into
from accompany.common.weights import (
    PathLike,
    load_module,
    make_folder,
    resolve_folder,
    save_half,
    save_module,
)
from accompany.errors import InputError
from accompany.models.bundles import KINDS, Bundle, LlambadaBundle
from accompany.models.parts import (
    FROZEN_PARTS,
    OWN_KIND,
    PARTS,
    TOKEN_PARTS,
    BundleInfo,
    PartInfo,
    load_part_of,
    part_order,
    rates,
)

__all__ = [
    "CHECKPOINTS_DIR",
    "PARTS",
    "Bundle",
    "BundleInfo",
    "PartInfo",
    "describe_models",
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

BUNDLE_NAME = "bundle.json"
FORMAT = 1


def list_bundles() -> list[str]:
    """Names of the models that the package carries."""
    return sorted(path.parent.name for path in CHECKPOINTS_DIR.glob(f"*/{BUNDLE_NAME}"))


def describe_models() -> list[dict[str, Any]]:
    """Bundled models: name, licence, bytes, and for each part its licence, bytes and rates."""
    return [*(_describe(read_bundle(find_bundle(name))) for name in list_bundles()), *_describe_separator()]


def find_bundle(model: PathLike) -> Path:
    """The folder of a model: a name that the package carries, a folder, or a hub id (which may use the network).

    Raises:
        InputError: none of these, or a folder that is no bundle.
    """
    if str(model) in list_bundles():
        return CHECKPOINTS_DIR / str(model)
    from accompany.common.hub import is_hub_id

    path = Path(model).expanduser()
    if not path.is_dir() and not is_hub_id(str(model)):
        names = list_bundles()
        hint = did_you_mean(str(model), names) or f"; bundled models: {', '.join(names) or 'none'}."
        raise InputError(f"There is no model '{model}', as a bundled name, a folder or a hub id (owner/name){hint}")
    folder = resolve_folder(model)
    if not (folder / BUNDLE_NAME).is_file():
        raise InputError(f"{model} is no model of accompany (it has no {BUNDLE_NAME}); name the folder that holds one.")
    return folder


def lasting_name(model: PathLike) -> str:
    """A name for `find_bundle` that is valid from any folder: a folder's absolute path, else the name as given."""
    path = Path(model).expanduser()
    return str(path.resolve()) if str(model) not in list_bundles() and path.is_dir() else str(model)


def read_bundle(path: PathLike) -> BundleInfo:
    """Name, licence and parts of the bundle in a folder, checked, without loading any weights.

    Raises:
        InputError: the folder or its `bundle.json` is missing, broken, of another format, or leaves the folder.
    """
    path = Path(path)
    content = read_json(path / BUNDLE_NAME)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path / BUNDLE_NAME} is not of format {FORMAT}; update accompany, or use another model.")
    refuse_unknown_fields(path / BUNDLE_NAME, content, ("format", "kind", "name", "license", "parts"))
    try:
        parts = {name: dict(part) for name, part in content["parts"].items()}
        infos = tuple(_read_part(path, name, parts[name]) for name in sorted(parts, key=part_order))
        info = BundleInfo(
            str(content["name"]), path, str(content["license"]), infos, str(content.get("kind", OWN_KIND))
        )
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise InputError(f"{path / BUNDLE_NAME} lacks or garbles {error}; use a complete model.") from error
    if info.kind not in KINDS:
        raise InputError(f"{path} is a model of kind '{info.kind}', which is unknown here; update accompany.")
    return info


def load_bundle(path: PathLike, device: str = "cpu") -> Bundle | LlambadaBundle:
    """Load every part of the bundle in a folder; the licence of each is logged.

    Raises:
        InputError: a part is missing, broken, or does not fit the others.
    """
    info = read_bundle(path)
    return KINDS[info.kind].load(info, device)


def load_part(path: PathLike, name: str, device: str = "cpu") -> Any:
    """Load one part of a bundle that may lack the others."""
    known = PARTS + TOKEN_PARTS
    if name not in known:
        raise InputError(f"There is no part '{name}'{did_you_mean(name, known)} (parts: {', '.join(known)}).")
    return load_part_of(read_bundle(path).part(name), device)


def load_frozen_parts(model: PathLike, device: str = "cpu") -> dict[str, Any]:
    """The encoders of a bundle by name, with `melody`; those that it lacks are left out.

    Raises:
        InputError: a model of another architecture, whose codes our stages do not train on.
    """
    from accompany.encoders.melody import Melody

    info = read_bundle(find_bundle(model))
    if info.kind != OWN_KIND:
        raise InputError(f"{model} is a model of kind '{info.kind}', which runs but is not trained here; use another.")
    there = [part for part in info.parts if part.name in FROZEN_PARTS]
    return {"melody": Melody().to(device), **{part.name: load_part_of(part, device) for part in there}}


def write_bundle(
    folder: PathLike,
    *,
    name: str,
    license: str,
    parts: Mapping[str, PartInfo],
    card: PathLike | None = None,
    kind: str = OWN_KIND,
) -> Path:
    """Make a bundle from part folders (copied) and hub ids (kept as references), all of it or nothing.

    Args:
        folder: where; a bundle that is there is replaced, any other content is left alone.
        parts: by name; `source`, `license` and `options` of each are used.
        card: a README.md to go with it.
        kind: its architecture, of `accompany.models.bundles.KINDS`.

    Raises:
        InputError: the folder holds something else, or cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and not (folder / BUNDLE_NAME).is_file() and (folder.is_file() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is no model of accompany; name a new or empty folder.")
    for each in (folder, folder.parent):
        require_writable(each)
    make_folder(folder.parent)
    partial, before = part_beside(folder), part_beside(folder)
    try:
        with writing_into(folder):
            partial.mkdir()
            _fill(partial, {"format": FORMAT, "kind": kind, "name": name, "license": license, "parts": {}}, parts, card)
        if folder.exists():
            folder.replace(before)
        partial.replace(folder)
    finally:
        remove_part(partial)
        remove_part(before)
    return folder


def save_bundle(bundle: Bundle | LlambadaBundle, folder: PathLike) -> Path:
    """Write a loaded bundle as a folder of its own; what was loaded from a folder is copied, unless it was adapted."""
    info = bundle.info
    card = info.path / "README.md"
    with tempfile.TemporaryDirectory() as scratch:
        parts = {part.name: part for part in info.parts}
        for name in bundle.adapted:
            stage = getattr(bundle, name)
            save_module(stage, stage.config, Path(scratch) / name)
            parts[name] = replace(parts[name], source=Path(scratch) / name)
        return write_bundle(
            folder,
            name=info.name,
            license=info.license,
            parts=parts,
            card=card if card.is_file() else None,
            kind=info.kind,
        )


def push_to_hub(folder: PathLike, repo_id: str, *, private: bool = False) -> str:
    """Upload a bundle to the hub as `owner/name`; returns its address. Needs a login (`hf auth login`).

    Raises:
        InputError: no bundle there, no such name, not logged in, or no network.
    """
    from accompany.common.hub import push

    read_bundle(folder)
    return push(Path(folder), repo_id, private=private)


def _read_part(bundle: Path, name: str, content: dict[str, Any]) -> PartInfo:
    refuse_unknown_fields(bundle / BUNDLE_NAME, content, ("path", "license", "options"))
    stated = str(content["path"])
    if Path(stated).is_absolute() or ".." in Path(stated).parts:
        raise InputError(f"{bundle / BUNDLE_NAME} puts '{name}' at {stated}, outside the model; use another model.")
    folder, options = bundle / stated, dict(content.get("options") or {})
    if not folder.is_dir():
        return PartInfo(name, stated, str(content["license"]), options)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return PartInfo(name, folder, str(content["license"]), options, size, rates(name, folder, options))


def _fill(folder: Path, content: dict[str, Any], parts: Mapping[str, PartInfo], card: PathLike | None) -> None:
    for part in sorted(parts, key=part_order):
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


def _describe_separator() -> list[dict[str, Any]]:
    """The separator of `accompany prepare`, where it is there: no model that plays, so no bundle of its own."""
    files = sorted((CHECKPOINTS_DIR / "separator").glob("*.safetensors"))
    size = sum(file.stat().st_size for file in files)
    part = {"name": "htdemucs", "license": "Apache-2.0", "bytes": size, "rates": ("24000 Hz",)}
    name = "separator (accompany prepare --separator tiny)"
    return [{"name": name, "license": "Apache-2.0", "bytes": size, "parts": [part]}] if files else []


def _describe(info: BundleInfo) -> dict[str, Any]:
    names = ("name", "license", "bytes", "rates")
    parts = [{name: getattr(part, name) for name in names} for part in info.parts]
    return {"name": info.name, "license": info.license, "bytes": info.bytes, "parts": parts}
