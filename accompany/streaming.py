"""Playing while the song is still being made: window by window through both stages and the codec.

The same windows, seeds and noise as in `generate_long`, so the codes are those of `Band.generate`; each window goes on
to the acoustic stage and the codec as soon as it is there. Only the level differs: it is set by the first sound, since
the rest is not known yet. Shape letters: F semantic frames, A codec frames, C channels, T samples.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from accompany.bundles import Bundle
from accompany.generation import PEAK, acoustic_sampling, gain_for, hear, sampling_for, seed_for, tell
from accompany.settings import Settings
from accompany.stages.conditions import Conditions
from accompany.stages.decoding import windows
from accompany.stages.plan import Plan
from accompany.stages.sampling import uniform_noise

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
        level = _Level(self.bundle, self.voice, self.settings.level_db)
        for sound in self._sounds():
            made = level.set(sound)
            if self.first_sound_s is None:
                self.first_sound_s = time.perf_counter() - started
            yield made

    @torch.inference_mode()
    def _sounds(self) -> Iterator[np.ndarray]:
        heard = hear(self.bundle, self.voice, self.settings)
        self.plan = heard.plan
        told = tell(self.bundle, heard, self.settings)
        done, n_samples = 0, self.voice.shape[-1]
        codec = self.bundle.codec
        hop = codec.sample_rate / codec.frame_rate
        lead, held = round(_LEAD_IN_S * codec.frame_rate), round(_HELD_BACK_S * codec.frame_rate)
        for tokens, n_written in _played(self.bundle, told, self.settings):
            is_last = n_written == tokens.shape[-1]
            ready = (n_written - held) // codec.chunk_codes * codec.chunk_codes
            last = n_samples if is_last else min(round(ready * hop), n_samples)
            if last <= done:
                continue
            begin = max(int(done / hop) - lead, 0) // codec.chunk_codes * codec.chunk_codes
            offset = round(begin * hop)
            part = tokens[..., begin:n_written]
            length = (n_samples if is_last else round(n_written * hop)) - offset
            sound = codec.decode(part, length)[0].float().cpu().numpy()
            yield sound[:, done - offset : last - offset]
            done = last


def _composed(bundle: Bundle, told: Conditions, settings: Settings) -> Iterator[tuple[Tensor, int]]:
    """The semantic codes [1, K, F] and how many frames of them are written, window by window."""
    stage, seeds = bundle.semantic, [seed_for(settings.seed, 0)]
    config, sampling = stage.config, sampling_for(stage.config.sampling, settings)
    noise = uniform_noise(seeds, told.n_frames + config.window_frames, len(config.conditions.code_sizes))
    codes = torch.zeros_like(told.known)
    for part in windows(told.n_frames, config.window_frames, config.context_frames, config.lookahead_frames):
        made = stage.generate(
            told.window(part.start, part.stop),
            sampling,
            seeds,
            prefix=codes[..., part.start : part.keep_from],
            n_frames=part.keep_to - part.start,
            noise=noise[:, part.start : part.keep_to],
        )
        codes[..., part.keep_from : part.keep_to] = made[..., part.keep_from - part.start :]
        yield codes, part.keep_to


def _played(bundle: Bundle, told: Conditions, settings: Settings) -> Iterator[tuple[Tensor, int]]:
    """The codec tokens [1, K, A] and how many frames of them are written, as soon as their codes are there."""
    stage, seeds = bundle.acoustic, [seed_for(settings.seed, 1)]
    config, ratio, sampling = stage.config, stage.config.ratio, acoustic_sampling(bundle, settings)
    total = ratio * told.n_frames
    noise = uniform_noise(seeds, total + ratio * config.window_frames, stage.noise_per_frame(sampling))
    tokens = torch.full((1, config.codebooks, total), -1, device=told.known.device)
    waiting = windows(told.n_frames, config.window_frames, config.context_frames, config.lookahead_frames)
    for codes, n_composed in _composed(bundle, told, settings):
        while waiting and waiting[0].stop <= n_composed:
            part = waiting.pop(0)
            seen = slice(ratio * part.start, ratio * part.stop)
            n_frames = part.keep_to - part.start
            made = stage.generate(
                told.window(part.start, part.stop),
                codes[..., part.start : part.stop],
                sampling,
                seeds,
                known=tokens[..., seen],
                n_frames=n_frames,
                noise=noise[:, seen.start : seen.start + ratio * n_frames],
            )
            new = slice(ratio * part.keep_from, ratio * part.keep_to)
            tokens[..., new] = made[..., new.start - seen.start : new.stop - seen.start]
            yield tokens, new.stop


class _Level:
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
