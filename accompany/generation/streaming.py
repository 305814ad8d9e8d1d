"""Streaming generation: window by window through both stages and the codec.

Both stages write as in `Band.generate`, so the codes are the same; each window goes on to the acoustic stage and the
codec as soon as it is there. Only the level differs: it is set by the first sound, since the rest is not known yet.
Shape letters: F semantic frames, A codec frames, C channels, T samples.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from accompany.encoders.codec import Codec
from accompany.generation.gates import gated
from accompany.generation.pipeline import acoustic_sampling, analyze, build_conditions, sampling_for
from accompany.generation.settings import Settings
from accompany.generation.stems import add_up, find_tracks, seeds_of, tags_of
from accompany.models.pretrained import Bundle
from accompany.music.plan import Plan
from accompany.sound.level import PEAK, gain_for
from accompany.stages.conditions import Conditions
from accompany.stages.decoding import windows
from accompany.stages.sampling import seed_for

if TYPE_CHECKING:
    from accompany.encoders.codecs import AnyCodec

_LEAD_IN_S = 3.0
_HELD_BACK_S = 0.2
_RAMP_S = 0.05


@dataclass
class Stream:
    """Pieces of an accompaniment, float32 [C, t] each, as they are made; to be read once.

    Attributes:
        plan: what is played; there once the first piece is.
        first_sound_s: seconds from the first asking to the first piece.
    """

    bundle: Bundle
    voice: np.ndarray
    settings: Settings
    plan: Plan | None = field(default=None, init=False)
    first_sound_s: float | None = field(default=None, init=False)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the pieces; together they are as long as the voice."""
        started = time.perf_counter()
        level = _StreamLevel(self.bundle, self.voice, self.settings.level_db)
        for sound in self._sounds():
            made = level.set(sound)
            if self.first_sound_s is None:
                self.first_sound_s = time.perf_counter() - started
            yield made

    @torch.inference_mode()
    def _sounds(self) -> Iterator[np.ndarray]:
        analysis = analyze(self.bundle, self.voice, self.settings)
        self.plan = analysis.plan
        conditions = build_conditions(self.bundle, analysis, self.settings)
        tracks = find_tracks(self.bundle, conditions, self.settings)
        done, n_samples = 0, self.voice.shape[-1]
        for sounds in _decoded(self.bundle.codec, _played(self.bundle, conditions, self.settings, tracks), n_samples):
            start_s, pieces = done / self.bundle.codec.sample_rate, sounds.float().cpu().numpy()
            heard = zip(tracks.items(), pieces, strict=True)
            yield add_up({name: gated(sound, frames, self.bundle, start_s) for (name, frames), sound in heard})
            done += sounds.shape[-1]


def _decoded(codec: AnyCodec, played: Iterable[tuple[Tensor, int]], n_samples: int) -> Iterator[Tensor]:
    """Pieces of the sound [S, C, t], together of `n_samples`, of tokens as `_played` gives them."""
    if isinstance(codec, Codec):
        yield from _decoded_anew(codec, played, n_samples)
        return
    stream, n_fed, done = None, 0, 0
    for tokens, n_written in played:
        stream = stream or codec.stream(len(tokens))
        sound = stream.feed(tokens[..., n_fed:n_written])
        if n_written == tokens.shape[-1]:
            sound = torch.cat([sound, stream.finish()], dim=-1)[..., : n_samples - done]
        n_fed, done = n_written, done + sound.shape[-1]
        if sound.shape[-1]:
            yield sound


def _decoded_anew(codec: Codec, played: Iterable[tuple[Tensor, int]], n_samples: int) -> Iterator[Tensor]:
    """As `_decoded`, each piece with some of what is before it: this codec keeps nothing from piece to piece."""
    done, hop = 0, codec.sample_rate / codec.frame_rate
    lead, held = round(_LEAD_IN_S * codec.frame_rate), round(_HELD_BACK_S * codec.frame_rate)
    for tokens, n_written in played:
        is_last = n_written == tokens.shape[-1]
        ready = (n_written - held) // codec.chunk_codes * codec.chunk_codes
        last = n_samples if is_last else min(round(ready * hop), n_samples)
        if last <= done:
            continue
        begin = max(int(done / hop) - lead, 0) // codec.chunk_codes * codec.chunk_codes
        offset = round(begin * hop)
        part = tokens[..., begin:n_written]
        length = (n_samples if is_last else round(n_written * hop)) - offset
        yield codec.decode(part, length)[..., done - offset : last - offset]
        done = last


def _played(
    bundle: Bundle, conditions: Conditions, settings: Settings, tracks: Collection[str]
) -> Iterator[tuple[Tensor, int]]:
    """The codec tokens [S, K, A] and how many frames of them are written, as soon as their codes are there."""
    semantic, acoustic, config = bundle.semantic, bundle.acoustic, bundle.acoustic.config
    codes = torch.zeros_like(conditions.known)
    tokens = codes.new_full((len(tracks), config.codebooks, config.ratio * conditions.n_frames), -1)
    sampling = sampling_for(semantic.config.sampling, settings), acoustic_sampling(bundle, settings)
    composing = semantic.generate_into(codes, conditions, sampling[0], [seed_for(settings.seed, 0)])
    playing = acoustic.generate_into(
        tokens, conditions, codes, sampling[1], seeds_of(tracks, settings.seed), stems=tags_of(tracks)
    )
    waiting = windows(conditions.n_frames, config.window_frames, config.context_frames, config.lookahead_frames)
    for composed in composing:
        while waiting and waiting[0].stop <= composed.windows[0].keep_to:
            next(playing)
            yield tokens, config.ratio * waiting.pop(0).keep_to


class _StreamLevel:
    """Sets pieces to the level of the first one, and lower where their peaks want it, without a step."""

    def __init__(self, bundle: Bundle, voice: np.ndarray, level_db: float) -> None:
        self._voice, self._level_db, self._rate = voice, level_db, bundle.codec.sample_rate
        self._gain: float | None = None

    def set(self, sound: np.ndarray) -> np.ndarray:
        """The next piece `[..., T]`, at its level; the gain moves in a ramp at its start."""
        if self._gain is None:
            self._gain = gain_for(sound, self._voice, self._rate, self._level_db)
        peak = max(float(np.abs(sound).max(initial=0.0)), 1e-9)
        wanted = min(self._gain, PEAK / peak)
        ramp = np.full(sound.shape[-1], wanted, np.float32)
        n = min(round(_RAMP_S * self._rate), len(ramp))
        ramp[:n] = _ramp(self._gain, wanted, np.abs(sound[..., :n]).max(axis=0, initial=0.0))
        self._gain = wanted
        return np.clip(sound * ramp, -PEAK, PEAK)


def _ramp(old: float, wanted: float, peaks: np.ndarray) -> np.ndarray:
    """A straight line [n] to the gain that is wanted, from the old one or as near to it as no peak [n] has to be cut.

    `wanted` itself cuts none of them.
    """
    done = np.linspace(0, 1, len(peaks), endpoint=False)
    room = (PEAK / np.maximum(peaks, 1e-9) - wanted * done) / (1 - done)
    start = min(old, float(room.min(initial=old)))
    return np.asarray(start + (wanted - start) * done)
