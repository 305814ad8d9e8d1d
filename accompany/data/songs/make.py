"""Synthesis of one song from its score: sung, rendered and mixed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from accompany.data.songs.instruments import INSTRUMENTS
from accompany.data.songs.mix import balance, draw_mix_settings, mix_band
from accompany.data.songs.render import render_part
from accompany.data.songs.score import Part, Score
from accompany.data.songs.second import Cast, cast, sing_all
from accompany.data.songs.soundfont import find_soundfont
from accompany.data.songs.sounds import Rig, Sounds, amplify, read_response
from accompany.sound.effects import compress, equalise

if TYPE_CHECKING:
    from accompany.data.speech.bank import Bank


@dataclass(frozen=True)
class Song:
    """A finished song.

    Attributes:
        score: everything known about it.
        sample_rate: in Hz.
        vocals: float32, dry: [1, T], or [2, T] in a song with a second voice.
        accompaniment: [2, T] float32, None for a voice alone.
        stems: [2, T] float32 by instrument, their sum the accompaniment; empty unless asked for.
        soundfont: file name of the soundfont it was rendered with, None for a voice alone or drawn sounds.
        sounds: what was drawn for it: "room", and by instrument soundfont, amplifier and effects; or nothing.
        cast: its recorded voices, None for those of espeak-ng.
    """

    score: Score
    sample_rate: int
    vocals: np.ndarray
    accompaniment: np.ndarray | None
    stems: dict[str, np.ndarray]
    soundfont: str | None
    sounds: Mapping[str, Any] = field(default_factory=dict)
    cast: Cast | None = None

    @property
    def mix(self) -> np.ndarray:
        """Vocals and accompaniment, [2, T]."""
        if self.accompaniment is None:
            return np.broadcast_to(self.vocals, (2, self.vocals.shape[1]))
        return self.vocals + self.accompaniment


def render_song(
    score: Score,
    *,
    sample_rate: int = 44_100,
    stems: bool = True,
    voice_only: bool = False,
    sounds: Sounds | None = None,
    bank: Bank | None = None,
) -> Song:
    """Sing, render and mix a song; the same arguments give the same samples.

    Args:
        score: of the song.
        sample_rate: in Hz, 8,000 to 96,000.
        stems: keep the instruments one by one too.
        voice_only: skip the band; needs no FluidSynth.
        sounds: draw each part's sound from these; None takes the soundfont of this machine for all.
        bank: of recorded voices that sing; None for those of espeak-ng.

    Raises:
        InputError: espeak-ng, FluidSynth or a soundfont is missing.
    """
    chosen = None if bank is None else cast(score, bank)
    vocals = sing_all(score, sample_rate, chosen)
    if voice_only:
        return Song(score, sample_rate, vocals, None, {}, None, cast=chosen)
    return replace(_with_band(score, vocals, sample_rate, stems, sounds), cast=chosen)


def _with_band(score: Score, vocals: np.ndarray, sample_rate: int, stems: bool, sounds: Sounds | None) -> Song:
    settings = draw_mix_settings(np.random.default_rng([score.seed, 0x3A7D]))
    n_samples = vocals.shape[1]
    if sounds is None:
        soundfont: str | None = find_soundfont().name
        drawn: dict[str, Any] = {}
        font = find_soundfont()
        dry = (render_part(part, score.duration_s, sample_rate, font) for part in score.parts)
        band, each = mix_band(score.parts, dry, n_samples, sample_rate, settings, stems=stems)
    else:
        soundfont = None
        rng = np.random.default_rng([score.seed, 0x50FD])
        room = sounds.draw_room(rng)
        response = None if room is None else read_response(room, sample_rate)
        rigs = [sounds.draw_rig(part, INSTRUMENTS[part.name].family, rng) for part in score.parts]
        played = _played(score.parts, rigs, score.duration_s, sample_rate)
        band, each = mix_band(
            score.parts, played, n_samples, sample_rate, settings, stems=stems, room_response=response
        )
        parts = {part.name: rig.describe() for part, rig in zip(score.parts, rigs, strict=True)}
        drawn = {"room": None if room is None else room.name, "parts": parts}
    voice_gain, band_gain = balance(vocals, band, sample_rate, settings)
    vocals *= np.float32(voice_gain)
    for audio in (band, *each.values()):
        audio *= np.float32(band_gain)
    return Song(score, sample_rate, vocals, band, each, soundfont, drawn)


def _played(parts: tuple[Part, ...], rigs: list[Rig], duration_s: float, sample_rate: int) -> Iterator[np.ndarray]:
    """Each part through its rig, dry: [2, T]."""
    for part, rig in zip(parts, rigs, strict=True):
        audio = render_part(part, duration_s, sample_rate, rig.soundfont, is_kit=rig.is_kit)
        if rig.amplifier is not None:
            audio = amplify(audio, read_response(rig.amplifier, sample_rate), rig.drive_db)
        yield compress(equalise(audio, sample_rate, rig.eq), sample_rate, rig.compression)
