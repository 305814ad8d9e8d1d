"""One synthetic song, from its seed to sound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accompany.data.songs.mix import balance, draw_desk, mix_band
from accompany.data.songs.render import render_part
from accompany.data.songs.score import Score
from accompany.data.songs.second import sing_all
from accompany.data.songs.soundfont import find_soundfont


@dataclass(frozen=True)
class Song:
    """A finished song.

    Attributes:
        score: everything known about it.
        sample_rate: in Hz.
        vocals: float32, dry: [1, T], or [2, T] in a song with a second voice.
        accompaniment: [2, T] float32, None for a voice alone.
        stems: [2, T] float32 by instrument, their sum the accompaniment; empty unless asked for.
        soundfont: file name of the soundfont it was rendered with, None for a voice alone.
    """

    score: Score
    sample_rate: int
    vocals: np.ndarray
    accompaniment: np.ndarray | None
    stems: dict[str, np.ndarray]
    soundfont: str | None

    @property
    def mix(self) -> np.ndarray:
        """Vocals and accompaniment, [2, T]."""
        if self.accompaniment is None:
            return np.broadcast_to(self.vocals, (2, self.vocals.shape[1]))
        return self.vocals + self.accompaniment


def make_song(
    seed: int, *, seconds: float = 40.0, sample_rate: int = 44_100, stems: bool = True, voice_only: bool = False
) -> Song:
    """Compose, sing, render and mix the song of a seed; the same arguments give the same samples.

    Args:
        seed: non-negative.
        seconds: length; T is round(seconds * sample_rate).
        sample_rate: in Hz, 8,000 to 96,000.
        stems: keep the instruments one by one too.
        voice_only: skip the band; needs no FluidSynth.

    Raises:
        InputError: espeak-ng, FluidSynth or a soundfont is missing.
    """
    from accompany.data.songs.compose import compose

    score = compose(seed, seconds=seconds)
    return render_song(score, sample_rate=sample_rate, stems=stems, voice_only=voice_only)


def render_song(score: Score, *, sample_rate: int = 44_100, stems: bool = True, voice_only: bool = False) -> Song:
    """Sing, render and mix a song; the arguments and errors are those of `make_song`."""
    vocals = sing_all(score, sample_rate)
    if voice_only:
        return Song(score, sample_rate, vocals, None, {}, None)
    return _with_band(score, vocals, sample_rate, stems)


def _with_band(score: Score, vocals: np.ndarray, sample_rate: int, stems: bool) -> Song:
    soundfont = find_soundfont()
    desk = draw_desk(np.random.default_rng([score.seed, 0x3A7D]))
    dry = (render_part(part, score.duration_s, sample_rate, soundfont) for part in score.parts)
    band, each = mix_band(score.parts, dry, vocals.shape[1], sample_rate, desk, stems=stems)
    voice_gain, band_gain = balance(vocals, band, sample_rate, desk)
    vocals *= np.float32(voice_gain)
    for audio in (band, *each.values()):
        audio *= np.float32(band_gain)
    return Song(score, sample_rate, vocals, band, each, soundfont.name)
