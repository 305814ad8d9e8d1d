"""Writing of bundles: assembled from parts, and saved."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accompany.common.config import write_json
from accompany.common.files import part_beside, remove_part, require_writable
from accompany.common.folders import writing_into
from accompany.common.saving import make_folder, save_module
from accompany.common.weights import PathLike
from accompany.errors import InputError
from accompany.models.parts import OWN_KIND, PartInfo, part_order
from accompany.models.pretrained import BUNDLE_NAME, FORMAT, Bundle

if TYPE_CHECKING:
    from accompany.models.llambada import LlambadaBundle


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
        kind: its architecture, of `accompany.models.parts.KINDS`.

    Raises:
        InputError: the folder holds something else, or cannot be written.
    """
    folder = Path(folder)
    check_place(folder)
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


def check_place(folder: Path) -> None:
    """InputError for a folder that no bundle can be written to: it holds something else, or cannot be written."""
    if folder.exists() and not (folder / BUNDLE_NAME).is_file() and (folder.is_file() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is no model of accompany; name a new or empty folder.")
    for each in (folder, folder.parent):
        require_writable(each)


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
