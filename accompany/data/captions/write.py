"""The captions of one pair, the most trusted first, each with its source."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from accompany.common.config import CHECKPOINTS_DIR
from accompany.data.captions.pseudo import ClapTagger
from accompany.data.captions.tags import SongNotes
from accompany.data.captions.wording import Facts, word_captions
from accompany.data.prepare.measured import Measured
from accompany.data.tokens.encode import DEFAULT_CAPTION
from accompany.errors import InputError
from accompany.models.pretrained import list_bundles

Captioner = Callable[[np.ndarray, int, Mapping[str, Any]], Any]

NO_CLAP = "none"
_FROM_TAGS = 2


@dataclass(frozen=True)
class Captions:
    """Sentences and, for each, where it is from (`accompany.data.prepare.pairs.CAPTION_SOURCES`)."""

    texts: tuple[str, ...]
    sources: tuple[str, ...]


class CaptionWriter:
    """Writes captions: sidecar, tags, an own captioner, then the tags of CLAP, until there are enough.

    Args:
        count: captions wanted; a sidecar or a captioner may give more.
        tagger: finds facts in the sound; None leaves them out.
        captioner: a function (samples float32 [C, T], sample rate, known facts) -> sentence or list of sentences.
    """

    def __init__(self, count: int, tagger: ClapTagger | None, captioner: Captioner | None) -> None:
        self._count = count
        self.tagger = tagger
        self._captioner = captioner

    def write(
        self, notes: SongNotes, measured: Measured, band: np.ndarray, sample_rate: int, rng: np.random.Generator
    ) -> Captions:
        """The captions of a stretch whose accompaniment is `band` [C, T].

        Raises:
            InputError: the captioner failed, or gave no text.
        """
        found: dict[str, str] = dict.fromkeys(notes.captions, "sidecar")
        tempo_bpm, key = notes.facts.tempo_bpm or measured.tempo_bpm, notes.facts.key or measured.key
        if any((notes.facts.genre, notes.facts.mood, notes.facts.era)):
            facts = replace(notes.facts, tempo_bpm=tempo_bpm, key=key)
            self._add(found, "tags", word_captions(facts, min(_FROM_TAGS, self._missing(found)), rng))
        if self._captioner is not None:
            self._add(found, "captioner", self._own(self._captioner, band, sample_rate, notes.facts))
        if self.tagger is not None and self._missing(found):
            tags = self.tagger.tag(band, sample_rate)
            if not tags.empty:
                facts = replace(tags, tempo_bpm=tempo_bpm, key=key)
                self._add(found, "clap", word_captions(facts, self._missing(found), rng))
        if not found:
            self._add(found, "measured", word_captions(Facts(tempo_bpm=tempo_bpm, key=key), self._count, rng))
        if not found:
            found = {DEFAULT_CAPTION: "default"}
        return Captions(tuple(found), tuple(found.values()))

    def _missing(self, found: Mapping[str, str]) -> int:
        return max(self._count - len(found), 0)

    @staticmethod
    def _add(found: dict[str, str], source: str, texts: list[str]) -> None:
        for text in texts:
            found.setdefault(text, source)

    @staticmethod
    def _own(captioner: Captioner, band: np.ndarray, sample_rate: int, facts: Facts) -> list[str]:
        try:
            said = captioner(band, sample_rate, asdict(facts))
        except Exception as error:
            raise InputError(
                f"--captioner failed ({type(error).__name__}: {error}); correct it and run again."
            ) from error
        texts = [said] if isinstance(said, str) else list(said) if isinstance(said, list | tuple) else None
        if texts is None or not all(isinstance(text, str) for text in texts):
            raise InputError(
                f"--captioner returned {type(said).__name__}; it must return a sentence or a list of them."
            )
        return [" ".join(text.split()) for text in texts if text.strip()]


def load_tagger(name: str) -> ClapTagger | None:
    """The tagger on a CLAP: of a bundled model, a model's folder, a CLAP's own folder or hub id; "none" is None."""
    from accompany.encoders.published import load_clap

    if name == NO_CLAP:
        return None
    if name in list_bundles():
        return ClapTagger(load_clap(CHECKPOINTS_DIR / name / "clap", license="Apache-2.0"))
    inside = Path(name) / "clap"
    return ClapTagger(load_clap(inside if inside.is_dir() else name))


def load_captioner(name: str | None) -> Captioner | None:
    """The function `module:function`, looked for in the current folder too; None for no name.

    Raises:
        InputError: no such module or function.
    """
    if name is None:
        return None
    module_name, _, function = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        captioner = getattr(importlib.import_module(module_name), function)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise InputError(f"--captioner {name} is not there ({error}); name it module:function.") from error
    if not callable(captioner):
        raise InputError(f"--captioner {name} is no function; name it module:function.")
    return captioner  # type: ignore[no-any-return]
