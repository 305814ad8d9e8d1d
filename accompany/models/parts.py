"""Parts of a model: names, places and loaders."""

from __future__ import annotations

import filecmp
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accompany.common.checks import did_you_mean
from accompany.common.config import CHECKPOINTS_DIR, CONFIG_NAME, read_mapping
from accompany.common.weights import PathLike, load_module, resolve_folder
from accompany.errors import InputError

if TYPE_CHECKING:
    from accompany.encoders.mert import Mert

FROZEN_PARTS = ("mert", "clap", "codec", "semantic_codes")
STAGE_PARTS = ("listener", "semantic", "acoustic")
PARTS = FROZEN_PARTS + STAGE_PARTS
OWN_KIND = "accompany"
"""The kind of model that this package trains; a bundle that says no kind is of it."""
KINDS = (OWN_KIND, "llambada")
"""Architectures by the name that `bundle.json` gives."""
TOKEN_PARTS = ("clap_codes", "token_semantic", "token_coarse")


@dataclass(frozen=True)
class PartInfo:
    """One part of a bundle: `source` is its folder or a hub id, `options` are arguments of its loader.

    `bytes` is its size on disk (0 for a hub id).
    """

    name: str
    source: Path | str
    license: str
    options: Mapping[str, Any] = field(default_factory=dict)
    bytes: int = 0


@dataclass(frozen=True)
class BundleInfo:
    """Content of `bundle.json` for a bundle in the folder `path`."""

    name: str
    path: Path
    license: str
    parts: tuple[PartInfo, ...]
    kind: str = OWN_KIND

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


def part_order(name: str) -> tuple[int, str]:
    """A key that sorts parts as they stand in a model, those unknown last."""
    known = PARTS + TOKEN_PARTS
    return (known.index(name) if name in known else len(known), name)


def load_part_of(part: PartInfo, device: str, *, to_play: bool = False) -> Any:
    """Build one part on the device (the codec on the CPU for "mps"); InputError when it is broken or unknown.

    What is only `to_play` may be a network of other names and the same results (`accompany.encoders.carried`).
    """
    loader, options = _loaders(to_play)[part.name], dict(part.options)
    known = inspect.signature(loader).parameters
    for option in options:
        if option not in known:
            raise InputError(f"The part '{part.name}' has no option '{option}'{did_you_mean(option, known) or '.'}")
    try:
        module = loader(part.source, license=part.license, **options)
    except (TypeError, ValueError, ArithmeticError) as error:  # sizes that are no sizes
        raise InputError(
            f"The part '{part.name}' in {part.source} cannot be built ({error}); check its config and its options."
        ) from error
    # EnCodec silently garbles its output on Apple's MPS, so it stays on the CPU there.
    return module.to("cpu" if part.name == "codec" and device == "mps" else device)


def _loaders(to_play: bool) -> dict[str, Callable[..., Any]]:
    """Loader of each part, with lazy imports, so that one part does not pull in the others."""

    def mert(source: PathLike, *, license: str, layer: int | None = None, frame_rate: float = 25.0) -> Any:
        if to_play and is_carried(source):
            from accompany.encoders.carried import carried_mert

            return carried_mert(source, layer=layer, frame_rate=frame_rate, license=license)
        from accompany.encoders.published import load_mert

        return load_mert(source, layer=layer, frame_rate=frame_rate, license=license)

    def clap(source: PathLike, *, license: str) -> Any:
        if to_play and is_carried(source):
            from accompany.encoders.carried import CarriedClap

            return CarriedClap(source, license)
        from accompany.encoders.published import load_clap

        return load_clap(source, license=license)

    def codec(source: PathLike, *, license: str, n_codebooks: int | None = None, decoder: str | None = None) -> Any:
        from accompany.encoders.codecs import load_codec

        return load_codec(source, n_codebooks=n_codebooks, license=license, decoder=decoder)

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

    def token_stage(source: PathLike, *, license: str) -> Any:
        from accompany.stages.llambada import TokenStage

        return load_module(TokenStage, resolve_folder(source), license=license)

    loaders = (mert, clap, codec, semantic_codes, listener, semantic, acoustic)
    tokens = {"clap_codes": semantic_codes, "token_semantic": token_stage, "token_coarse": token_stage}
    return {loader.__name__: loader for loader in loaders} | tokens


def is_carried(source: PathLike) -> bool:
    """Whether a folder is a part of a model that the package carries, or a copy of one."""
    for own in CHECKPOINTS_DIR.glob(f"*/{Path(source).name}"):
        names = [path.name for path in own.iterdir()]
        if filecmp.cmpfiles(source, own, names, shallow=False)[0] == names:
            return True
    return False


def check_states(info: BundleInfo, mert: Mert) -> None:
    """InputError unless the config of a model's semantic codes asks for states such as its MERT gives."""
    codes = read_mapping(resolve_folder(info.part("semantic_codes").source) / CONFIG_NAME)
    dim, frame_rate = codes.get("dim", mert.dim), codes.get("frame_rate", mert.frame_rate)
    if (mert.dim, mert.frame_rate) != (dim, frame_rate):
        raise InputError(
            f"In the model {info.name} MERT gives {mert.dim} values {mert.frame_rate} times a second, but the "
            f"semantic codes want {dim} values {frame_rate} times; use parts that were made together."
        )
