"""Composition: the symbolic score of a whole song from a seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from accompany.data.songs.arrange import NOTHING_WRITTEN, Written, arrange
from accompany.data.songs.backing import write_backing
from accompany.data.songs.captions import absent_families, facts, write_captions
from accompany.data.songs.form import Form, plan_form
from accompany.data.songs.lyrics import LANGUAGES, sing_words
from accompany.data.songs.melody import Tune, write_tune
from accompany.data.songs.rng import Rng
from accompany.data.songs.score import Note, Score, VoiceSpec
from accompany.data.songs.styles import STYLES, Style, fitting_styles
from accompany.data.songs.theory import key_label

VOICES: dict[str, tuple[float, int, int]] = {  # weight, lowest and highest MIDI pitch
    "soprano": (1.5, 60, 81), "alto": (2.0, 54, 76), "tenor": (2.0, 48, 70), "baritone": (1.6, 44, 67),
    "bass": (0.6, 39, 62), "child": (0.5, 60, 79),
}  # fmt: skip


def compose(seed: int, *, seconds: float = 40.0, variant: int = 0) -> Score:
    """Compose a song: the same one for the same seed and length, on every platform.

    Args:
        seed: any non-negative integer.
        seconds: length in seconds, more than 0; the song is cut there, as a crop of a longer one would be.
        variant: 0, or the number of another arrangement: the same singing in another style.

    Raises:
        ValueError: a length that is not a positive finite number.
    """
    if not (seconds > 0 and math.isfinite(seconds)):
        raise ValueError(f"seconds must be a positive number, not {seconds}")
    rng = Rng(seed)
    style = rng.weighted(list(STYLES.values()), [style.weight for style in STYLES.values()])
    form = plan_form(style, rng, seconds)
    voice = draw_voice(rng)
    tune = write_tune(form, voice.range, rng)
    return perform(form, tune, voice, seed, rng, variant=variant)


def perform(
    form: Form,
    tune: Tune,
    voice: VoiceSpec,
    seed: int,
    rng: Rng,
    *,
    words: list[str | None] | None = None,
    written: Written = NOTHING_WRITTEN,
    variant: int = 0,
    origin: dict[str, object] | None = None,
) -> Score:
    """A whole song from its plan and its melody: the band is arranged, the words are sung.

    Args:
        form: the plan; in variants other than 0 its style is replaced by another one that suits tempo and metre.
        tune: the melody; voice: who sings it.
        seed: of the song.
        rng: for all that is random, but for the band and captions of variants other than 0.
        words: a syllable for each note of the tune, None on tied ones; drawn from the voice's language without.
        written: parts that the band plays as they are.
        variant: of all with the same other arguments, each has the same singing.
        origin: see `Score`.
    """
    band = arrange(form, tune, rng, written)
    known = facts(form, band, rng)
    absent = absent_families(band.parts, rng)
    melody, backing = _sing(form, tune, voice, rng, words)
    if variant:
        form = replace(form, style=another_style(form, seed, variant))
        rng = Rng([seed, variant])
        band = arrange(form, tune, rng, written)
        known = facts(form, band, rng)
        absent = absent_families(band.parts, rng)
    parts = band.parts
    return Score(
        seed=seed,
        style=form.style.name,
        key=key_label(form.sections[0].tonic, form.sections[0].mode),
        tempo_bpm=form.tempo_bpm,
        metre=form.metre.label,
        swing=form.time.swing,
        duration_s=form.duration_s,
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
        captions=write_captions(known, absent, rng),
        keys=_keys(form),
        attributes={**known, "manner": tune.singing, "absent": list(absent)},
        origin=origin or {},
    )


def draw_voice(rng: Rng) -> VoiceSpec:
    """A singer."""
    kind = rng.choose({name: weight for name, (weight, _, _) in VOICES.items()})
    _, low, high = VOICES[kind]
    vibrato = rng.between(0, 12) if rng.chance(0.4) else rng.between(12, 55)
    return VoiceSpec(
        kind=kind,
        range=(low, high),
        vibrato_rate_hz=rng.between(4.5, 6.8),
        vibrato_depth_cents=vibrato,
        breath=rng.unit() ** 2,
        detune_cents=rng.between(3, 28),
        pitch_offset_cents=rng.between(-1, 1) * rng.between(0, 35),
        timing_jitter_s=rng.between(0.004, 0.03),
        glide_s=rng.between(0.02, 0.12),
        brightness=rng.unit(),
        language=rng.choose(LANGUAGES),
        seed=rng.integer(0, 2**31 - 1),
    )


def another_style(form: Form, seed: int, variant: int) -> Style:
    """The style of a variant from 1 on: none twice, and first those that suit the song's tempo and metre."""
    others = [style for style in fitting_styles(form.tempo_bpm, form.metre, Rng([seed, 0])) if style != form.style]
    return others[(variant - 1) % len(others)]


def _sing(
    form: Form, tune: Tune, voice: VoiceSpec, rng: Rng, given: list[str | None] | None
) -> tuple[tuple[Note, ...], tuple[Note, ...]]:
    """The tune and its second voice in seconds, with syllables, behind or around the beat as this singer feels it."""
    if not tune.notes:
        return (), ()
    onset, release = _sung_times(form, tune, rng)
    words: Sequence[str | None] = given or sing_words(len(tune.notes), voice.language, rng, vocables=rng.chance(0.15))
    second = write_backing(form, tune, rng)
    melody: list[Note] = []
    backing: list[Note] = []
    for index, note in enumerate(tune.notes):
        start, end = max(float(onset[index]), 0.0), min(float(release[index]), form.duration_s)
        if note.start < 0 or end - start < 0.06:
            continue
        velocity = round(min(127, 70 + 35 * form.section_at(note.start).intensity + rng.between(-8, 8)))
        syllable = None if note.tied and melody else words[index]
        melody.append(Note(round(start, 5), round(end, 5), note.pitch, velocity, syllable))
        if index in second:
            backing.append(replace(melody[-1], pitch=second[index].pitch, velocity=round(0.8 * velocity)))
    return tuple(melody), tuple(backing)


def _sung_times(form: Form, tune: Tune, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends of the tune's notes in seconds, [n] each; no note overlaps the next."""
    starts = np.array([note.start for note in tune.notes])
    ends = starts + np.array([note.length for note in tune.notes])
    swing = 0.5 + (form.time.swing - 0.5) * rng.pick((1.0, 1.0, 0.8, 0.5))
    most_s = tune.most_lag * 60 / form.tempo_bpm
    feel = np.clip(_feel(starts, rng), -most_s, most_s)
    onset = form.time.seconds(np.maximum(starts, 0.0), swing=swing) + feel
    release = form.time.seconds(ends, swing=swing) + feel - rng.between(0.0, 0.05)
    release[:-1] = np.minimum(release[:-1], onset[1:])
    return onset, release


def _feel(starts: np.ndarray, rng: Rng) -> np.ndarray:
    """Seconds by which every note comes late: a constant lag and, for loose singers, slow wandering."""
    lag = rng.between(-0.01, 0.03)
    loose = rng.between(0.015, 0.05) if rng.chance(0.35) else 0.004
    waves = sum(np.sin(2 * np.pi * (starts / rng.between(3, 14) + rng.unit())) for _ in range(2))
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
    spans = [(span.start, span.end, "N" if span.silent else span.chord.label) for span in form.harmony.spans]
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
