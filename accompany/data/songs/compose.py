"""`compose`: a whole song on paper from a seed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from accompany.data.songs.arrange import arrange
from accompany.data.songs.backing import write_backing
from accompany.data.songs.captions import absent_families, facts, write_captions
from accompany.data.songs.dice import Dice
from accompany.data.songs.form import Form, plan_form
from accompany.data.songs.lyrics import LANGUAGES, sing_words
from accompany.data.songs.melody import Tune, write_tune
from accompany.data.songs.score import Note, Score, VoiceSpec
from accompany.data.songs.styles import STYLES
from accompany.data.songs.theory import key_label

VOICES: dict[str, tuple[float, int, int]] = {  # weight, lowest and highest MIDI pitch
    "soprano": (1.5, 60, 81), "alto": (2.0, 54, 76), "tenor": (2.0, 48, 70), "baritone": (1.6, 44, 67),
    "bass": (0.6, 39, 62), "child": (0.5, 60, 79),
}  # fmt: skip


def compose(seed: int, *, seconds: float = 40.0) -> Score:
    """Compose a song: the same one for the same seed and length, on every platform.

    Args:
        seed: any non-negative integer.
        seconds: length in seconds, more than 0; the song is cut there, as a crop of a longer one would be.

    Raises:
        ValueError: a length that is not a positive finite number.
    """
    if not (seconds > 0 and math.isfinite(seconds)):
        raise ValueError(f"seconds must be a positive number, not {seconds}")
    dice = Dice(seed)
    style = dice.weighted(list(STYLES.values()), [style.weight for style in STYLES.values()])
    form = plan_form(style, dice, seconds)
    voice = _draw_voice(dice)
    tune = write_tune(form, voice.range, dice)
    band = arrange(form, tune, dice)
    parts = band.parts
    known = facts(form, band, dice)
    absent = absent_families(parts, dice)
    melody, backing = _sing(form, tune, voice, dice)
    return Score(
        seed=seed,
        style=style.name,
        key=key_label(form.sections[0].tonic, form.sections[0].mode),
        tempo_bpm=form.tempo_bpm,
        metre=form.metre.label,
        swing=form.time.swing,
        duration_s=seconds,
        beats_s=_grid(form, 1),
        downbeats_s=_grid(form, form.metre.beats),
        chords=_chords(form),
        sections=_sections(form),
        melody=melody,
        backing=backing,
        voice=voice,
        parts=parts,
        instruments=tuple(part.name for part in parts),
        absent=absent,
        captions=write_captions(known, absent, dice),
        keys=_keys(form),
        attributes={**known, "manner": tune.manner, "absent": list(absent)},
    )


def _draw_voice(dice: Dice) -> VoiceSpec:
    kind = dice.choose({name: weight for name, (weight, _, _) in VOICES.items()})
    _, low, high = VOICES[kind]
    vibrato = dice.between(0, 12) if dice.chance(0.4) else dice.between(12, 55)
    return VoiceSpec(
        kind=kind,
        range=(low, high),
        vibrato_rate_hz=dice.between(4.5, 6.8),
        vibrato_depth_cents=vibrato,
        breath=dice.unit() ** 2,
        detune_cents=dice.between(3, 28),
        pitch_offset_cents=dice.between(-1, 1) * dice.between(0, 35),
        timing_jitter_s=dice.between(0.004, 0.03),
        glide_s=dice.between(0.02, 0.12),
        brightness=dice.unit(),
        language=dice.choose(LANGUAGES),
        seed=dice.integer(0, 2**31 - 1),
    )


def _sing(form: Form, tune: Tune, voice: VoiceSpec, dice: Dice) -> tuple[tuple[Note, ...], tuple[Note, ...]]:
    """The tune and its second voice in seconds, with syllables, behind or around the beat as this singer feels it."""
    if not tune.notes:
        return (), ()
    onset, release = _sung_times(form, tune, dice)
    words = sing_words(len(tune.notes), voice.language, dice, vocables=dice.chance(0.15))
    second = write_backing(form, tune, dice)
    melody: list[Note] = []
    backing: list[Note] = []
    for index, note in enumerate(tune.notes):
        start, end = max(float(onset[index]), 0.0), min(float(release[index]), form.duration_s)
        if note.start < 0 or end - start < 0.06:
            continue
        velocity = round(min(127, 70 + 35 * form.section_at(note.start).intensity + dice.between(-8, 8)))
        syllable = None if note.tied and melody else words[index]
        melody.append(Note(round(start, 5), round(end, 5), note.pitch, velocity, syllable))
        if index in second:
            backing.append(replace(melody[-1], pitch=second[index].pitch, velocity=round(0.8 * velocity)))
    return tuple(melody), tuple(backing)


def _sung_times(form: Form, tune: Tune, dice: Dice) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends of the tune's notes in seconds, [n] each; no note overlaps the next."""
    starts = np.array([note.start for note in tune.notes])
    ends = starts + np.array([note.length for note in tune.notes])
    swing = 0.5 + (form.time.swing - 0.5) * dice.pick((1.0, 1.0, 0.8, 0.5))
    feel = _feel(starts, dice)
    onset = form.time.seconds(np.maximum(starts, 0.0), swing=swing) + feel
    release = form.time.seconds(ends, swing=swing) + feel - dice.between(0.0, 0.05)
    release[:-1] = np.minimum(release[:-1], onset[1:])
    return onset, release


def _feel(starts: np.ndarray, dice: Dice) -> np.ndarray:
    """Seconds by which every note comes late: a constant lag and, for loose singers, slow wandering."""
    lag = dice.between(-0.01, 0.03)
    loose = dice.between(0.015, 0.05) if dice.chance(0.35) else 0.004
    waves = sum(np.sin(2 * np.pi * (starts / dice.between(3, 14) + dice.unit())) for _ in range(2))
    return np.asarray(lag + loose * waves / 1.4)


def _grid(form: Form, every: int) -> tuple[float, ...]:
    times = form.time.beat_times[::every]
    return tuple(round(float(t), 5) for t in times if -1e-9 <= t < form.duration_s)


def _spans_s(form: Form, spans: list[tuple[float, float, str]]) -> tuple[tuple[float, float, str], ...]:
    """(start, end, label) in seconds from 0 to the end of the song, without gaps."""
    starts = form.time.seconds(np.maximum(0.0, np.array([start for start, _, _ in spans])))
    ends = [*starts[1:].tolist(), 1e9]
    cut = []
    for start, end, (_, _, label) in zip(starts.tolist(), ends, spans, strict=True):
        start, end = max(0.0, start), min(end, form.duration_s)
        if end - start > 1e-3:
            cut.append((round(start, 5), round(end, 5), label))
    cut[0] = (0.0, *cut[0][1:])
    cut[-1] = (cut[-1][0], form.duration_s, cut[-1][2])
    return tuple(cut)


def _chords(form: Form) -> tuple[tuple[float, float, str], ...]:
    spans = [(span.start, span.end, span.chord.label) for span in form.harmony.spans]
    if form.end_beat is not None:
        spans.append((spans[-1][1], spans[-1][1] + 1.0, "N"))
    return _spans_s(form, spans)


def _sections(form: Form) -> tuple[tuple[float, float, str], ...]:
    beats = form.metre.beats
    return _spans_s(form, [(s.start_bar * beats, (s.start_bar + s.bars) * beats, s.name) for s in form.sections])


def _keys(form: Form) -> tuple[tuple[float, float, str], ...]:
    beats = form.metre.beats
    spans: list[tuple[float, float, str]] = []
    for s in form.sections:
        label = key_label(s.tonic, s.mode)
        if not spans or spans[-1][2] != label:
            spans.append((s.start_bar * beats, (s.start_bar + s.bars) * beats, label))
    return _spans_s(form, spans)
