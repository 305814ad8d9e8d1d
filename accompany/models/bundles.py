"""Loaded models: one class for each architecture of a bundle; `KINDS` names them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from accompany.errors import InputError
from accompany.models.parts import FROZEN_PARTS, OWN_KIND, PARTS, TOKEN_PARTS, BundleInfo, load_part_of

if TYPE_CHECKING:
    from accompany.encoders.clap import Clap
    from accompany.encoders.codec import Codec
    from accompany.encoders.melody import Melody
    from accompany.encoders.mert import Mert
    from accompany.encoders.semantic_codes import SemanticCodes
    from accompany.stages.acoustic import AcousticStage
    from accompany.stages.listener import Listener
    from accompany.stages.llambada import TokenStage
    from accompany.stages.semantic import SemanticStage


@dataclass(frozen=True)
class Bundle:
    """A loaded model: every part built, in evaluation mode, on `device` (the codec on the CPU for "mps").

    `adapted` names the parts whose weights an adapter has changed since they were loaded.
    """

    PARTS: ClassVar[tuple[str, ...]] = PARTS
    plans: ClassVar[bool] = True

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
    adapted: set[str] = field(default_factory=set)

    @property
    def stages(self) -> tuple[SemanticStage, AcousticStage]:
        """The networks that write codes."""
        return self.semantic, self.acoustic

    @classmethod
    def load(cls, info: BundleInfo, device: str) -> Bundle:
        """Build every part; InputError when one is missing, broken, or does not fit the others."""
        from accompany.encoders.melody import Melody

        parts = {name: load_part_of(info.part(name), device) for name in cls.PARTS}
        _check_states(info, parts["mert"], parts["semantic_codes"])
        return cls(info.name, info.path, device, info, Melody().to(device), **parts)


@dataclass(frozen=True)
class LlambadaBundle:
    """A loaded LLambada (arXiv 2411.01661): every part built, in evaluation mode, on `device`.

    `clap_codes` are the codes of CLAP's embedding, `semantic_codes` those of MERT's states; `token_semantic` writes the
    band's semantic codes and `token_coarse` its codec tokens.
    """

    PARTS: ClassVar[tuple[str, ...]] = FROZEN_PARTS + TOKEN_PARTS
    plans: ClassVar[bool] = False

    name: str
    path: Path
    device: str
    info: BundleInfo
    mert: Mert
    clap: Clap
    codec: Codec
    semantic_codes: SemanticCodes
    clap_codes: SemanticCodes
    token_semantic: TokenStage
    token_coarse: TokenStage
    adapted: set[str] = field(default_factory=set)

    @property
    def stages(self) -> tuple[TokenStage, TokenStage]:
        """The networks that write codes."""
        return self.token_semantic, self.token_coarse

    @classmethod
    def load(cls, info: BundleInfo, device: str) -> LlambadaBundle:
        """Build every part; InputError when one is missing, broken, or does not fit the others."""
        parts = {name: load_part_of(info.part(name), device) for name in cls.PARTS}
        bundle = cls(info.name, info.path, device, info, **parts)
        _check_states(info, bundle.mert, bundle.semantic_codes)
        bundle._check_tokens()
        return bundle

    def _check_tokens(self) -> None:
        """Each stage reads and writes the codes that the encoders give."""
        semantic = (self.semantic_codes.sizes[0], len(self.semantic_codes.sizes))
        prompt = (self.clap_codes.sizes[0], len(self.clap_codes.sizes))
        sound = (self.codec.codebook_size, self.codec.n_codebooks)
        wanted = {"token_semantic": (semantic, prompt, semantic), "token_coarse": (semantic, sound, sound)}
        for name, sequences in wanted.items():
            config = getattr(self, name).config
            found = tuple(zip(config.codes, config.codebooks, strict=True))
            if found != sequences:
                raise InputError(
                    f"In the model {self.name} {name} is made for (codes, codebooks) {found}, but the encoders give "
                    f"{sequences}; use parts that were made together."
                )
        if self.clap.dim != self.clap_codes.dim:
            raise InputError(
                f"In the model {self.name} CLAP gives {self.clap.dim} values, but its codes want "
                f"{self.clap_codes.dim}; use parts that were made together."
            )


def _check_states(info: BundleInfo, mert: Mert, codes: SemanticCodes) -> None:
    if (mert.dim, mert.frame_rate) != (codes.dim, codes.frame_rate):
        raise InputError(
            f"In the model {info.name} MERT gives {mert.dim} values {mert.frame_rate:g} times a second, but the "
            f"semantic codes want {codes.dim} values {codes.frame_rate:g} times; use parts that were made together."
        )


KINDS: dict[str, type[Bundle] | type[LlambadaBundle]] = {OWN_KIND: Bundle, "llambada": LlambadaBundle}
"""Architectures by the name that `bundle.json` gives; one without a name is of `OWN_KIND`."""
