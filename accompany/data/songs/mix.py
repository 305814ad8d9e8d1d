"""Mixing: levels, panning, reverberation, and the balance of voice and band."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft

from accompany.data.songs.score import Part

_LOUD_SHARE_DB = 30.0
_REFERENCE_DB = -24.0
_PEAK = 0.95


@dataclass(frozen=True)
class MixSettings:
    """Mixing parameters of one song.

    voice_over_band_db: loudness of the voice relative to the band; loudness_db: of the mix, as far as its peaks
    allow; evenness: 0 keeps the soundfont's own levels, 1 makes all instruments equally loud before `gain_db`;
    room_s: reverberation time; room_db: level of the room; room_seed: its random reflections.
    """

    voice_over_band_db: float
    loudness_db: float
    evenness: float
    room_s: float
    room_db: float
    room_seed: int


def draw_mix_settings(rng: np.random.Generator) -> MixSettings:
    """A plausible mix: the voice between 3 dB under and 6 dB over the band."""
    return MixSettings(
        voice_over_band_db=rng.uniform(-3.0, 6.0),
        loudness_db=rng.uniform(-22.0, -16.0),
        evenness=rng.uniform(0.6, 0.9),
        room_s=rng.uniform(0.5, 2.2),
        room_db=rng.uniform(-14.0, -5.0),
        room_seed=int(rng.integers(2**31)),
    )


def loudness_db(audio: np.ndarray, sample_rate: int) -> float:
    """Mean power in dB of the 50 ms pieces within 30 dB of the loudest; -120 for silence. audio: [..., T]."""
    channels = np.atleast_2d(audio)
    size = min(round(0.05 * sample_rate), channels.shape[1])
    n_pieces = channels.shape[1] // size
    blocks = channels[:, : n_pieces * size].reshape(len(channels), n_pieces, size)
    pieces = np.einsum("cij,cij->i", blocks, blocks) / (size * len(channels))
    loud = pieces[pieces >= pieces.max() * 10 ** (-_LOUD_SHARE_DB / 10)]
    return float(10 * np.log10(max(float(loud.mean()), 1e-12)))


def placed(part: Part, audio: np.ndarray, sample_rate: int, settings: MixSettings) -> np.ndarray:
    """A dry stem [2, T] at its level and pan position, [2, T] float32."""
    level = settings.evenness * (_REFERENCE_DB - loudness_db(audio, sample_rate))
    gain = 10 ** ((min(level, 40.0) + part.gain_db) / 20)
    return audio * (gain * pan_gains(part.pan)).astype(np.float32)


def pan_gains(pan: float) -> np.ndarray:
    """Gains [2, 1] float32 of left and right for a pan of -1 to 1, of equal power everywhere and 1 in the middle."""
    angle = (pan + 1) * np.pi / 4
    return np.array([[np.sqrt(2) * np.cos(angle)], [np.sqrt(2) * np.sin(angle)]], np.float32)


class Room:
    """A reverberant room: a recorded response [2, R], or a stereo tail of decaying noise that darkens as it dies."""

    def __init__(
        self, settings: MixSettings, n_samples: int, sample_rate: int, response: np.ndarray | None = None
    ) -> None:
        self._n_samples = n_samples
        tail = _tail(settings, sample_rate) if response is None else _at_level(response, settings)
        self._size = scipy.fft.next_fast_len(n_samples + tail.shape[1], real=True)
        self._response = scipy.fft.rfft(tail, self._size, axis=1)

    def reverberate(self, sends: np.ndarray) -> np.ndarray:
        """The reverberation of a mono send [T]: [2, T] float32."""
        spectrum = scipy.fft.rfft(sends, self._size)
        wet: np.ndarray = scipy.fft.irfft(spectrum * self._response, self._size, axis=1)[:, : self._n_samples]
        return wet


def _tail(settings: MixSettings, sample_rate: int) -> np.ndarray:
    rng = np.random.default_rng(settings.room_seed)
    n_tail, delay = round(settings.room_s * sample_rate), round(0.012 * sample_rate)
    noise = rng.standard_normal((2, n_tail), dtype=np.float32)
    # Each later third of the tail is duller, as air and walls absorb the treble first.
    dull = np.stack([noise, _mean_of(noise, 2), _mean_of(noise, 4)])
    place = np.arange(n_tail) / n_tail
    shares = np.clip(1 - np.abs(3 * place[None] - np.array([[0.3], [1.2], [2.2]])), 0, 1) + 1e-3
    body = (dull * shares[:, None]).sum(axis=0) * np.exp(-6.9 * place)
    tail: np.ndarray = np.pad(_at_level(body, settings), ((0, 0), (delay, 0))).astype(np.float32)
    return tail


def _at_level(response: np.ndarray, settings: MixSettings) -> np.ndarray:
    energy = np.maximum(np.sqrt(np.square(response).sum(axis=1, keepdims=True)), 1e-9)
    return np.asarray(response * (10 ** (settings.room_db / 20) / energy))


def _mean_of(noise: np.ndarray, width: int) -> np.ndarray:
    """Moving average over `width` samples, of unit variance again."""
    total = noise.copy()
    for shift in range(1, width):
        total[:, shift:] += noise[:, :-shift]
    return total / np.float32(np.sqrt(width))


def mix_band(
    parts: Sequence[Part],
    dry: Iterable[np.ndarray],
    n_samples: int,
    sample_rate: int,
    settings: MixSettings,
    *,
    stems: bool,
    room_response: np.ndarray | None = None,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Mix the dry parts.

    Args:
        parts: name, pan, gain and room send of each; dry: [2, n_samples] each.
        sample_rate: in Hz; settings: of the mix; stems: whether to return the instruments one by one too.
        room_response: of a recorded room [2, R], in place of a synthetic one.

    Returns:
        The accompaniment [2, T] float32, and, if asked for, what each instrument adds to it, room included.
    """
    room = Room(settings, n_samples, sample_rate, room_response)
    band, send = np.zeros((2, n_samples), np.float32), np.zeros(n_samples, np.float32)
    each: dict[str, np.ndarray] = {}
    for part, audio in zip(parts, dry, strict=True):
        direct = placed(part, audio, sample_rate, settings)
        to_room = (direct[0] + direct[1]) * np.float32(0.5 * part.reverb)
        band += direct
        send += to_room
        if stems:
            each[part.name] = each.get(part.name, 0) + direct + room.reverberate(to_room)
    return band + room.reverberate(send), each


def balance(vocals: np.ndarray, band: np.ndarray, sample_rate: int, settings: MixSettings) -> tuple[float, float]:
    """Gains for the voice [C, T] and the band [2, T] that give the wanted balance and loudness without clipping."""
    voice_db, band_db = loudness_db(vocals, sample_rate), loudness_db(band, sample_rate)
    voice_gain = 10 ** ((band_db + settings.voice_over_band_db - voice_db) / 20) if voice_db > -100 else 1.0
    mix = vocals * np.float32(voice_gain) + band
    peak = max(float(np.abs(signal).max()) for signal in (mix, vocals * np.float32(voice_gain), band))
    wanted = 10 ** ((settings.loudness_db - loudness_db(mix, sample_rate)) / 20)
    master = min(wanted, _PEAK / max(peak, 1e-9))
    return float(voice_gain * master), float(master)
