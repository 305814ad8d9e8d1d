"""Tracks of a band: its stems, made as one batch from one set of semantic codes, or the mix of a model without stems.

Shape letters: S tracks that play, R tracks that the model has, F semantic frames, Kc codebooks, A codec frames,
C channels, T samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from torch import Tensor

from accompany.common.progress import Steps, one_of, unseen
from accompany.errors import InputError
from accompany.generation.settings import Settings
from accompany.models.pretrained import Bundle
from accompany.music.instrumentation import STEMS, rests
from accompany.sound.level import gain_for
from accompany.stages.conditions import STEM_TAGS, Conditions
from accompany.stages.sampling import seed_for

Sounds = dict[str, np.ndarray]
"""Tracks by the names of `STEM_TAGS`, in their order: [C, T] each."""
Tracks = Mapping[str, np.ndarray]  # [F] bool: the frames where each plays

MIX = STEM_TAGS[0]
_DECODED_S = 5.0


def find_tracks(bundle: Bundle, conditions: Conditions, settings: Settings) -> dict[str, np.ndarray]:
    """The tracks of a song, and where each is heard, [F] bool: those that neither mute nor the prompt leaves out.

    InputError when nothing is left to play.
    """
    if not bundle.has_stems:
        return {MIX: np.ones(conditions.n_frames, bool)}
    stated = (conditions.instruments * conditions.instruments_mask[..., None])[0].float().cpu().numpy()
    silent = {stem: rests(stated, stem) & (settings.mute != ()) for stem in STEMS if stem not in (settings.mute or ())}
    heard = {stem: ~rest for stem, rest in silent.items() if not rest.all()}
    if not heard:
        raise InputError("The prompt and mute together leave nothing to play; let drums, bass or other play.")
    return heard


def tags_of(tracks: Iterable[str]) -> tuple[int, ...]:
    """Tracks as the acoustic stage takes them, which takes none for a mix."""
    return tuple(STEM_TAGS.index(name) for name in tracks if name != MIX)


def seeds_of(tracks: Iterable[str], seed: int) -> list[int]:
    """A seed for each track, which does not depend on the others."""
    return [seed_for(seed, 1 + STEM_TAGS.index(name)) for name in tracks]


def rows_of(tracks: Iterable[str]) -> list[int]:
    """Where tracks stand in `all_tokens`."""
    return [max(STEM_TAGS.index(name) - 1, 0) for name in tracks]


def n_tracks(bundle: Bundle) -> int:
    """R."""
    return len(STEMS) if bundle.has_stems else 1


def all_tokens(bundle: Bundle, tracks: Iterable[str], tokens: Tensor) -> Tensor:
    """The tokens of a draft, [R, Kc, A], from those of the tracks that play, [S, Kc, A]; -1 for the others."""
    made = tokens.new_full((n_tracks(bundle), *tokens.shape[1:]), -1)
    made[rows_of(tracks)] = tokens
    return made


def decode_tracks(
    bundle: Bundle, tokens: Tensor, tracks: Tracks, n_samples: int, start_s: float = 0.0, report: Steps = unseen
) -> Sounds:
    """The sound of each track, from tokens [S, Kc, A] that begin at `start_s`; silence where it is not heard."""
    made: Sounds = {}
    for row, (name, heard) in enumerate(tracks.items()):
        own, done = tokens[row : row + 1].clamp_min(0), one_of(report, row, len(tracks))
        made[name] = bundle.codec.decode(own, n_samples, chunk_s=_DECODED_S, progress=done)[0].float().cpu().numpy()
        if not heard.all():
            from accompany.generation.gates import gated  # of prompts that change

            made[name] = gated(made[name], heard, bundle, start_s)
    return made


def add_up(sounds: Sounds) -> np.ndarray:
    """The band [C, T]."""
    first, *others = sounds.values()
    if not others:
        return first
    total = first + others[0]
    for each in others[1:]:
        total += each
    return total


def set_levels(sounds: Sounds, voice: np.ndarray, sample_rate: int, level_db: float) -> tuple[np.ndarray, float]:
    """Bring the band to `level_db` against a voice [1, T], all tracks by one gain, in place; the band and the gain."""
    gain = gain_for(add_up(sounds), voice, sample_rate, level_db)
    for sound in sounds.values():
        sound *= np.float32(gain)
    return add_up(sounds), gain


def stems_of(sounds: Sounds) -> Sounds | None:
    """The tracks as `Take.stems` has them: with silence for those that do not play, and None for a mix."""
    if MIX in sounds:
        return None
    silence = np.zeros_like(next(iter(sounds.values())))
    return {name: sounds.get(name, silence) for name in STEMS}
