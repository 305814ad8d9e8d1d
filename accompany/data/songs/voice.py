"""Singing synthesis: espeak-ng syllables stretched onto a melody.

Consonants keep their length, vowels are held; pitch, loudness and timing come from `contours.py`. A vocal tract model
warps the spoken envelopes, so that a few spoken voices become many singers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from accompany.data.songs.contours import (
    CONTROL_HZ,
    Habits,
    draw_habits,
    livelier,
    loudness_contour,
    performed,
    phrase_starts,
    pitch_contour,
)
from accompany.data.songs.score import Note, VoiceSpec
from accompany.data.songs.syllables import FRAME_S, SungSyllable, Syllable, syllable
from accompany.data.songs.vocal_tract import (
    VOICING_BIN,
    VocalTract,
    breath_frames,
    draw_natural_tract,
    draw_vocal_tract,
    octaves_above,
    shaped,
)
from accompany.data.songs.vocoder import HOP_S, Excitation, FilterBank, FramePath, minimum_phase, vocode

_SILENT_DB = -120.0
_PEAK = 0.7
_STREAM, _LIVELY = 0x51C6, 0x11FE
_LATEST_S = 0.05
"""A note must begin this long before the end."""


class Words(Protocol):
    """A recorded voice that gives the syllables to sing; `grown`: formants of the singer over the recording's."""

    @property
    def grown(self) -> float:
        """About 0.8 to 1.3."""

    def words(self, phrases: Sequence[Sequence[tuple[Note, ...]]], seed: int) -> list[SungSyllable]:
        """A syllable for every group of tied notes, phrase by phrase."""


@dataclass(frozen=True)
class _Track:
    """Breakpoints of the voice: at `time_s` it stands at `frame` of the bank; [points] each."""

    time_s: np.ndarray
    frame: np.ndarray


def sing(
    melody: tuple[Note, ...], spec: VoiceSpec, duration_s: float, sample_rate: int, recorded: Words | None = None
) -> np.ndarray:
    """Sing a melody, dry.

    Args:
        melody: sung notes, one at a time, sorted; a note without syllable goes on with the vowel before it.
        spec: the singer.
        duration_s: length of the result.
        sample_rate: in Hz, 8,000 to 96,000.
        recorded: sings with the words and the sound of this voice instead of espeak-ng's.

    Returns:
        [round(duration_s * sample_rate)] float32, peak 0.7 (silent without notes). The same arguments give the
        same samples.

    Raises:
        InputError: espeak-ng is missing, or it has no voice `spec.language`.
    """
    n_samples = round(duration_s * sample_rate)
    melody = tuple(note for note in melody if note.start_s < duration_s - _LATEST_S)
    if not melody:
        return np.zeros(n_samples, np.float32)
    rng = np.random.default_rng([spec.seed, _STREAM])
    habits = draw_habits(rng)
    notes = performed(melody, spec, habits, rng)
    if recorded is not None:
        habits = livelier(habits, np.random.default_rng([spec.seed, _LIVELY]))
    n_control = int(duration_s * CONTROL_HZ) + CONTROL_HZ
    pitch, vibrato = pitch_contour(notes, spec, habits, n_control, rng)
    loudness = loudness_contour(notes, habits, n_control, rng) + habits.tremolo_db * vibrato
    lines = _sung_syllables(notes, spec, recorded)
    frames = _Frames(lines)
    track, level_db = _articulate(lines, frames, loudness, habits, spec, n_control, rng)
    excitation = _excitation(pitch, level_db, habits, n_samples, sample_rate)
    tract = draw_vocal_tract(spec, rng) if recorded is None else draw_natural_tract(spec, recorded.grown, rng)
    bank = _bank(frames, tract, habits, sample_rate)
    hops = np.arange(n_samples // round(sample_rate * HOP_S) + 3) * HOP_S
    path = FramePath(
        np.interp(hops, track.time_s, track.frame), np.interp(hops, np.arange(n_control) / CONTROL_HZ, loudness)
    )
    voice = vocode(bank, path, excitation, sample_rate, rng)
    return voice * np.float32(_PEAK / max(float(np.abs(voice).max()), 1e-6))


def sung_notes(melody: tuple[Note, ...], spec: VoiceSpec, duration_s: float) -> list[tuple[float, float, float]]:
    """When and how high `sing` sings each note: (start_s, end_s, MIDI pitch), with the singer's timing and tuning."""
    melody = tuple(note for note in melody if note.start_s < duration_s - _LATEST_S)
    if not melody:
        return []
    rng = np.random.default_rng([spec.seed, _STREAM])
    notes = performed(melody, spec, draw_habits(rng), rng)
    offset = spec.pitch_offset_cents / 100
    return [(round(note.start_s, 5), round(note.end_s, 5), round(note.pitch + offset, 3)) for note in notes]


def _bank(frames: _Frames, tract: VocalTract, habits: Habits, sample_rate: int) -> FilterBank:
    envelope, noisiness = shaped(frames.log_envelope, frames.noisiness, tract, sample_rate)
    octaves = octaves_above(np.linspace(0.0, sample_rate / 2, envelope.shape[1]))
    tilt = (habits.effort * np.log(10.0) / 20.0 * octaves).astype(np.float32)
    return FilterBank(minimum_phase(envelope), noisiness, tilt)


@dataclass(frozen=True)
class _Line:
    """A syllable and the notes it is sung on; joined: the sound goes on from the line before, and into the next."""

    sound: Syllable
    notes: tuple[Note, ...]
    opens_phrase: bool
    key: str
    joined: tuple[bool, bool] = (False, False)


def _sung_syllables(notes: tuple[Note, ...], spec: VoiceSpec, recorded: Words | None) -> tuple[_Line, ...]:
    """Gather each syllable's notes, its own and the tied ones after it, and give it its sound."""
    opens = phrase_starts(notes)
    groups: list[list[int]] = []
    for index, note in enumerate(notes):
        if groups and note.syllable is None and not opens[index]:
            groups[-1].append(index)
        else:
            groups.append([index])
    members = [tuple(notes[index] for index in group) for group in groups]
    begins = [bool(opens[group[0]]) for group in groups]
    if recorded is None:
        texts = [group[0].syllable or "ah" for group in members]
        sung = [SungSyllable(text, syllable(text, spec.language)) for text in texts]
    else:
        sung = recorded.words(_phrases(members, begins), spec.seed)
    lines, before = [], False
    for each, group, begin in zip(sung, members, begins, strict=True):
        lines.append(_Line(each.sound, group, begin, each.key, (before and not begin, each.joined)))
        before = each.joined
    return tuple(lines)


def _phrases(groups: list[tuple[Note, ...]], begins: list[bool]) -> list[list[tuple[Note, ...]]]:
    phrases: list[list[tuple[Note, ...]]] = []
    for group, begin in zip(groups, begins, strict=True):
        if begin or not phrases:
            phrases.append([])
        phrases[-1].append(group)
    return phrases


class _Frames:
    """The frames of all syllables of a song in one table; the first is the breath."""

    def __init__(self, lines: tuple[_Line, ...]) -> None:
        sounds = {line.key: line.sound for line in lines}
        breath = breath_frames()
        self.first: dict[str, int] = {}
        position = breath.n_frames
        for key, sound in sounds.items():
            self.first[key] = position
            position += sound.n_frames
        parts = [breath, *sounds.values()]
        self.log_envelope = np.concatenate([part.log_envelope for part in parts])
        self.noisiness = np.concatenate([part.noisiness for part in parts])
        self.breath_end = breath.n_frames - 1


def _articulate(
    lines: tuple[_Line, ...], frames: _Frames, loudness: np.ndarray, habits: Habits, spec: VoiceSpec,
    n_control: int, rng: np.random.Generator,
) -> tuple[_Track, np.ndarray]:  # fmt: skip
    """Position in the filter bank over time, and level in dB on the control grid."""
    times: list[float] = []
    places: list[float] = []
    level = np.full(n_control, _SILENT_DB)
    grid = np.arange(n_control) / CONTROL_HZ
    free_s = 0.0
    for index, line in enumerate(lines):
        next_start = lines[index + 1].notes[0].start_s if index + 1 < len(lines) else np.inf
        following = lines[index + 1].sound if index + 1 < len(lines) else None
        at, frame = _line_points(line, next_start, following, free_s, habits)
        if line.opens_phrase:
            _breathe(level, grid, times, places, free_s, at[0], frames, habits, spec, rng)
        first, last = np.searchsorted(grid, [at[0], at[-1]])
        stand = np.interp(grid[first:last], at, frame)
        quiet = line.sound.level_db + habits.consonant_db * line.sound.noisiness[:, VOICING_BIN]
        own = np.interp(stand, np.arange(line.sound.n_frames), quiet)
        level[first:last] = _shape_level(own, stand, line, grid[first:last], at, habits) + loudness[first:last]
        times.extend(at)
        places.extend(frame + frames.first[line.key])
        free_s = float(at[-1])
    return _Track(np.array(times), np.array(places)), level


def _line_points(
    line: _Line, next_start: float, following: Syllable | None, free_s: float, habits: Habits
) -> tuple[np.ndarray, np.ndarray]:
    """Breakpoints (seconds, frame of the syllable): the vowel starts on the note, consonants stand around it."""
    sound, start, end = line.sound, line.notes[0].start_s, line.notes[-1].end_s
    vowel_first, vowel_last = sound.vowel
    stretch = FRAME_S * habits.consonant_stretch
    lead = min(vowel_first * stretch, max(start - free_s, 0.01))
    coda = (sound.n_frames - 1 - vowel_last) * stretch
    if following is not None:
        end = min(end, next_start - min(following.vowel[0] * stretch, 0.5 * (next_start - start)))
    coda = min(coda, 0.45 * (end - start))
    vowel_end = end - coda
    # The vowel's edges keep their speed, its middle is held.
    room, n_vowel = vowel_end - start, vowel_last - vowel_first
    held_from, held_to = sound.held
    share = max(1.0 - held_to, 0.3)
    edge_in = min(held_from * n_vowel * FRAME_S, held_from * room)
    edge_out = min(share * n_vowel * FRAME_S, share * room)
    times = [start - lead, start, start + edge_in, vowel_end - edge_out, vowel_end, end + 1e-3]
    places = [
        0, vowel_first, vowel_first + held_from * n_vowel, vowel_first + held_to * n_vowel, vowel_last,
        sound.n_frames - 1,
    ]  # fmt: skip
    return np.maximum.accumulate(np.array(times) + 1e-5 * np.arange(6)), np.array(places, float)


def _shape_level(
    own_db: np.ndarray, stand: np.ndarray, line: _Line, grid: np.ndarray, at: np.ndarray, habits: Habits
) -> np.ndarray:
    """Level of a line: the syllable's own (flattened in the held vowel), its attack and its release."""
    first, last = line.sound.vowel
    in_vowel = (stand >= first) & (stand <= last)
    own = np.where(in_vowel, 0.4 * np.maximum(own_db, -15), np.minimum(own_db, 3.0))
    since, left = grid - at[0], at[-1] - grid
    if not line.joined[0]:
        own += 20 * np.log10(np.clip(since / habits.attack_s, 0.01, 1.0))
    if not line.joined[1]:
        own += 20 * np.log10(np.clip(left / min(habits.release_s, 0.4 * (at[-1] - at[0])), 0.01, 1.0))
    return own


def _breathe(
    level: np.ndarray, grid: np.ndarray, times: list[float], places: list[float], free_s: float, start_s: float,
    frames: _Frames, habits: Habits, spec: VoiceSpec, rng: np.random.Generator,
) -> None:  # fmt: skip
    """A breath before a phrase, where there is room for one."""
    length, gap, audible = rng.uniform(0.12, 0.4), rng.uniform(0.02, 0.12), rng.random()
    end = start_s - gap
    if end - length < free_s + 0.05 or audible > 0.35 + spec.breath:
        return
    inside = (grid >= end - length) & (grid < end)
    place = (grid[inside] - end + length) / length
    level[inside] = habits.breath_db + 20 * np.log10(np.sin(np.pi * place**0.7) + 0.01)
    times.extend([end - length, end])
    places.extend([0.0, float(frames.breath_end)])


def _excitation(
    pitch: np.ndarray, level_db: np.ndarray, habits: Habits, n_samples: int, sample_rate: int
) -> Excitation:
    """Control tracks at sample rate."""
    f0 = 440.0 * 2.0 ** ((pitch - 69.0) / 12.0)
    gain = np.where(level_db > -80.0, 10.0 ** (level_db / 20.0), 0.0)
    at = np.arange(n_samples) * (CONTROL_HZ / sample_rate)
    control = np.arange(len(f0))
    return Excitation(
        np.interp(at, control, f0), np.interp(at, control, gain).astype(np.float32), habits.shimmer, habits.growl
    )
