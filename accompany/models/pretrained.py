"""Pretrained bundles: the parts of a model in one folder, named by `bundle.json`, with the licence of each.

    bundle.json   {"format": 1, "kind": "accompany", "name": "tiny", "license": "Apache-2.0",
                   "parts": {"codec": {"path": "codec", "license": "Apache-2.0", "options": {}}, ...}}
    codec/  mert/  clap/  semantic_codes/  listener/  semantic/  acoustic/

The path of a part is a folder inside the bundle, or a hub id. A bundle may lack parts: `load_bundle` needs all of them,
`accompany.models.single_parts` takes what is there. The kind says of which architecture the model is, and with it which
parts it has (`class_of`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any, ClassVar

from accompany.common.checks import did_you_mean
from accompany.common.config import CHECKPOINTS_DIR, read_json, refuse_unknown_fields
from accompany.common.weights import PathLike, resolve_folder
from accompany.errors import InputError
from accompany.models.parts import (
    KINDS,
    OWN_KIND,
    PARTS,
    BundleInfo,
    PartInfo,
    check_states,
    load_part_of,
    part_order,
)

if TYPE_CHECKING:
    from accompany.encoders.clap import Clap
    from accompany.encoders.codec import Codec
    from accompany.encoders.melody import Melody
    from accompany.encoders.mert import Mert
    from accompany.encoders.semantic_codes import SemanticCodes
    from accompany.models.llambada import LlambadaBundle
    from accompany.stages.acoustic import AcousticStage
    from accompany.stages.listener import Listener
    from accompany.stages.semantic import SemanticStage

BUNDLE_NAME = "bundle.json"
FORMAT = 1


@dataclass(frozen=True)
class Bundle:
    """A loaded model: parts built, in evaluation mode, on `device` (the codec on the CPU for "mps").

    `adapted` names the parts whose weights an adapter has changed since they were loaded.
    """

    PARTS: ClassVar[tuple[str, ...]] = PARTS
    BUILT: ClassVar[tuple[str, ...]] = tuple(name for name in PARTS if name != "semantic_codes")
    plans: ClassVar[bool] = True

    name: str
    path: Path
    device: str
    info: BundleInfo
    melody: Melody
    mert: Mert
    clap: Clap
    codec: Codec
    listener: Listener
    semantic: SemanticStage
    acoustic: AcousticStage
    adapted: set[str] = field(default_factory=set)

    @property
    def has_stems(self) -> bool:
        """Whether it plays drums, bass and other apart."""
        return self.acoustic.config.conditions.stems

    @property
    def stages(self) -> tuple[SemanticStage, AcousticStage]:
        """The networks that write codes."""
        return self.semantic, self.acoustic

    @cached_property
    def semantic_codes(self) -> SemanticCodes:
        """Codes of MERT's states, loaded when first asked for: a generation does without; errors as in `load`."""
        return load_part_of(self.info.part("semantic_codes"), self.device)

    @classmethod
    def load(cls, info: BundleInfo, device: str) -> Bundle:
        """Build what a generation needs; InputError when a part is missing, does not fit, or one of these is broken."""
        from accompany.encoders.melody import Melody

        there = {name: info.part(name) for name in cls.PARTS}
        parts = {name: load_part_of(there[name], device, to_play=True) for name in cls.BUILT}
        check_states(info, parts["mert"])
        return cls(info.name, info.path, device, info, Melody().to(device), **parts)


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
    from accompany.common.hub import is_hub_id

    path = Path(os.path.expanduser(model))
    if not str(model).strip() or (not path.is_dir() and not is_hub_id(str(model))):
        names = list_bundles()
        hint = did_you_mean(str(model), names) or f"; bundled models: {', '.join(names) or 'none'}."
        raise InputError(f"There is no model '{model}', as a bundled name, a folder or a hub id (owner/name){hint}")
    folder = resolve_folder(model)
    if not (folder / BUNDLE_NAME).is_file():
        raise InputError(f"{model} is no model of accompany (it has no {BUNDLE_NAME}); name the folder that holds one.")
    return folder


def lasting_name(model: PathLike) -> str:
    """A name for `find_bundle` that is valid from any folder: a folder's absolute path, else the name as given."""
    path = Path(os.path.expanduser(model))
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
    return class_of(info.kind).load(info, device)


def class_of(kind: str) -> type[Bundle] | type[LlambadaBundle]:
    """The class of a model of one of `accompany.models.parts.KINDS`."""
    if kind == OWN_KIND:
        return Bundle
    from accompany.models.llambada import LlambadaBundle

    return LlambadaBundle


def _read_part(bundle: Path, name: str, content: dict[str, Any]) -> PartInfo:
    refuse_unknown_fields(bundle / BUNDLE_NAME, content, ("path", "license", "options"))
    stated = str(content["path"])
    place = PureWindowsPath(stated)  # knows the separators and the drives of every system
    if not name.isidentifier() or place.anchor or ".." in place.parts:
        raise InputError(f"{bundle / BUNDLE_NAME} puts '{name}' at {stated}, outside the model; use another model.")
    folder, options = bundle / stated, dict(content.get("options") or {})
    if not folder.is_dir():
        return PartInfo(name, stated, str(content["license"]), options)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return PartInfo(name, folder, str(content["license"]), options, size)
