"""The loaded LLambada model."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from accompany.errors import InputError
from accompany.models.parts import FROZEN_PARTS, TOKEN_PARTS, BundleInfo, check_states, load_part_of

if TYPE_CHECKING:
    from accompany.encoders.clap import Clap
    from accompany.encoders.codec import Codec
    from accompany.encoders.mert import Mert
    from accompany.encoders.semantic_codes import SemanticCodes
    from accompany.stages.llambada import TokenStage


@dataclass(frozen=True)
class LlambadaBundle:
    """A loaded LLambada (arXiv 2411.01661): every part built, in evaluation mode, on `device`.

    `clap_codes` are the codes of CLAP's embedding, `semantic_codes` those of MERT's states; `token_semantic` writes the
    band's semantic codes and `token_coarse` its codec tokens.
    """

    PARTS: ClassVar[tuple[str, ...]] = FROZEN_PARTS + TOKEN_PARTS
    plans: ClassVar[bool] = False
    has_stems: ClassVar[bool] = False

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
        check_states(info, bundle.mert)
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
