"""Expressive singing: timing, pitch and loudness contours around the written notes.

Everything is on one control grid of `CONTROL_HZ`. The pitch model follows what Saitou, Unoki and Akagi, 2005,
found that makes singing sound sung: overshoot, preparation, vibrato and fine fluctuation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from accompany.data.songs.score import Note, VoiceSpec

CONTROL_HZ = 200
_PHRASE_GAP_S = 0.3


@dataclass(frozen=True)
class Habits:
    """Expressive habits of a singer, drawn once per song from the voice's seed.

    scoop_rate, overshoot_rate, fall_rate: chances a note; scoop_cents, overshoot_cents: their usual size;
    dip_cents: usual drop at a consonant; drift_cents, flutter_cents: slow and fast wandering;
    vibrato_onset_s: straight tone before vibrato; vibrato_rate_spread: relative change of its rate;
    tremolo_db: loudness swing of vibrato; lag_s: behind the beat; attack_s, release_s: of a note's loudness;
    dynamics_db: between the softest and the loudest note; phrase_arc_db: swell of a phrase;
    consonant_stretch: length of consonants; consonant_db: level of unvoiced ones;
    staccato: share of a note left silent; breath_db: level of breaths;
    effort: how much brighter louder is, dB an octave for each dB; growl, shimmer: roughness (`vocoder.Excitation`);
    unsteady_db: wandering of loudness; approach_cents: usual distance from which a note finds its pitch.
    """

    scoop_rate: float
    scoop_cents: float
    overshoot_rate: float
    overshoot_cents: float
    dip_cents: float
    fall_rate: float
    drift_cents: float
    flutter_cents: float
    vibrato_onset_s: float
    vibrato_rate_spread: float
    tremolo_db: float
    lag_s: float
    attack_s: float
    release_s: float
    dynamics_db: float
    phrase_arc_db: float
    consonant_stretch: float
    staccato: float
    consonant_db: float
    breath_db: float
    effort: float
    growl: float
    shimmer: float
    unsteady_db: float = 0.6
    approach_cents: float = 0.0


def draw_habits(rng: np.random.Generator) -> Habits:
    """A singer's habits; wide enough that few real singers fall outside."""
    return Habits(
        scoop_rate=rng.uniform(0.05, 0.6),
        scoop_cents=rng.uniform(60, 260),
        overshoot_rate=rng.uniform(0.2, 0.8),
        overshoot_cents=rng.uniform(10, 60),
        dip_cents=rng.uniform(0, 90),
        fall_rate=rng.uniform(0.0, 0.4),
        drift_cents=rng.uniform(3, 18),
        flutter_cents=rng.uniform(2, 9),
        vibrato_onset_s=rng.uniform(0.1, 0.5),
        vibrato_rate_spread=rng.uniform(0.02, 0.1),
        tremolo_db=rng.uniform(0.0, 2.5),
        lag_s=rng.normal(0.008, 0.02),
        attack_s=rng.uniform(0.01, 0.07),
        release_s=rng.uniform(0.03, 0.15),
        dynamics_db=rng.uniform(4, 16),
        phrase_arc_db=rng.uniform(0, 5),
        consonant_stretch=rng.uniform(0.45, 0.95),
        staccato=max(0.0, rng.normal(0.0, 0.12)),
        consonant_db=rng.uniform(-14, -2),
        breath_db=rng.uniform(-38, -18),
        effort=rng.uniform(0.0, 0.5),
        growl=max(0.0, rng.normal(-0.1, 0.1)),
        shimmer=rng.uniform(0.01, 0.08),
    )


def livelier(habits: Habits, rng: np.random.Generator) -> Habits:
    """Habits with as much movement of pitch and loudness as recorded singers have, and softer consonants."""
    return replace(
        habits,
        scoop_rate=rng.uniform(0.2, 0.9),
        scoop_cents=rng.uniform(80, 320),
        overshoot_rate=rng.uniform(0.4, 1.0),
        overshoot_cents=rng.uniform(20, 90),
        dip_cents=rng.uniform(20, 180),
        fall_rate=rng.uniform(0.0, 0.6),
        drift_cents=rng.uniform(6, 22),
        flutter_cents=rng.uniform(6, 20),
        approach_cents=rng.uniform(20, 130),
        consonant_stretch=rng.uniform(0.6, 1.1),
        consonant_db=habits.consonant_db - 8.0,
        breath_db=habits.breath_db - 8.0,
        unsteady_db=rng.uniform(0.8, 2.4),
    )


def phrase_starts(melody: tuple[Note, ...]) -> np.ndarray:
    """Whether each note opens a phrase (a rest of at least 0.3 s before it), [notes] bool."""
    starts = np.array([note.start_s for note in melody])
    ends = np.array([note.end_s for note in melody])
    return np.concatenate([[True], starts[1:] - ends[:-1] > _PHRASE_GAP_S])


def performed(melody: tuple[Note, ...], spec: VoiceSpec, habits: Habits, rng: np.random.Generator) -> tuple[Note, ...]:
    """The melody with human timing: a lag for each song and phrase, and an error for each note."""
    opens = phrase_starts(melody)
    phrase = np.cumsum(opens) - 1
    shift = habits.lag_s + 0.5 * spec.timing_jitter_s * rng.standard_normal(phrase[-1] + 1)[phrase]
    shift += spec.timing_jitter_s * rng.standard_normal(len(melody)).clip(-2.5, 2.5)
    starts = np.maximum(np.array([note.start_s for note in melody]) + shift, 0.0)
    starts = np.maximum.accumulate(starts + 0.03 * np.arange(len(starts))) - 0.03 * np.arange(len(starts))
    starts = np.maximum(starts, 0.03 * np.arange(len(starts)))
    notes = []
    for index, note in enumerate(melody):
        end = note.end_s + shift[index]
        tied = index + 1 < len(melody) and not opens[index + 1] and melody[index + 1].syllable is None
        end -= 0.0 if tied else habits.staccato * (note.end_s - note.start_s)
        if index + 1 < len(melody):
            end = starts[index + 1] if tied else min(end, starts[index + 1])
        notes.append(replace(note, start_s=float(starts[index]), end_s=float(max(end, starts[index] + 0.03))))
    return tuple(notes)


def rubato(melody: tuple[Note, ...], rng: np.random.Generator) -> tuple[Note, ...]:
    """The melody with free timing: phrases that begin late or early, catch up or fall back, and lean on long notes.

    Three singers of four are late, by up to a sixth of a second in a slow song; onsets keep their order.
    """
    if not melody:
        return melody
    opens = phrase_starts(melody)
    phrase = np.cumsum(opens) - 1
    starts, ends = np.array([note.start_s for note in melody]), np.array([note.end_s for note in melody])
    usual = abs(rng.normal(0.0, 0.045)) * (1.0 if rng.random() < 0.75 else -0.5)
    spread, looseness = rng.uniform(0.2, 1.0), abs(rng.normal(0.0, 0.02))
    delay = np.zeros(len(melody))
    for index in range(phrase[-1] + 1):
        members = phrase == index
        length = max(ends[members][-1] - starts[members][0], 0.1)
        place = (starts[members] - starts[members][0]) / length
        begin, finish = usual * (1 + spread * rng.standard_normal(2))
        delay[members] = begin + (finish - begin) * place + looseness * rng.normal(0.0, 1.0, int(members.sum()))
    # Few people are further off than a quarter of a beat: a third of the way to the next note at most.
    room = np.diff(starts, append=starts[-1] + 0.6)
    delay = np.clip(delay, -0.3 * np.concatenate([[0.3], room[:-1]]), 0.3 * room)
    moved = np.maximum.accumulate(np.maximum(starts + delay, 0.0))
    return tuple(
        replace(note, start_s=float(start), end_s=float(max(note.end_s + late, start + 0.05)))
        for note, start, late in zip(melody, moved, delay, strict=True)
    )


def pitch_contour(
    notes: tuple[Note, ...], spec: VoiceSpec, habits: Habits, n_control: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Sung pitch in MIDI numbers on the control grid, and its vibrato in semitones, [n_control] each.

    The pitch goes on through rests.
    """
    opens = phrase_starts(notes)
    target = np.array([note.pitch for note in notes]) + spec.detune_cents / 100 * rng.standard_normal(len(notes))
    pitch, vibrato = np.full(n_control, target[0]), np.zeros(n_control)
    for index, note in enumerate(notes):
        _glide_in(pitch, target, index, note, bool(opens[index]), spec, habits, rng)
    for index, note in enumerate(notes):
        _ornament(pitch, index, notes, opens, habits, rng)
        _add_vibrato(vibrato, note, spec, habits, rng)
        if habits.approach_cents:
            _approach(pitch, note, habits.approach_cents / 100 * rng.normal(-0.4, 0.8))
    wander = habits.drift_cents * _slow_noise(n_control, 0.8, rng)
    wander += habits.flutter_cents * _slow_noise(n_control, 12.0, rng)
    return pitch + vibrato + (wander + spec.pitch_offset_cents) / 100, vibrato


def _span(start_s: float, end_s: float, n_control: int) -> tuple[int, int]:
    first = int(np.clip(round(start_s * CONTROL_HZ), 0, n_control))
    return first, int(np.clip(round(end_s * CONTROL_HZ), first, n_control))


def _glide_in(
    pitch: np.ndarray, target: np.ndarray, index: int, note: Note, opens: bool, spec: VoiceSpec, habits: Habits,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Glide from the previous note to this one, mostly before its start; a phrase may begin with a scoop."""
    before = target[index - 1] if index else target[index]
    length = spec.glide_s * rng.uniform(0.5, 1.5)
    start = note.start_s - 0.65 * length
    if opens:
        scoop = habits.scoop_cents / 100 * rng.uniform(0.4, 1.6) if rng.random() < habits.scoop_rate else 0.0
        before, length, start = target[index] - scoop, 1.4 * length, note.start_s
    first, last = _span(start, start + length, len(pitch))
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(last - first) + 0.5) / max(last - first, 1))
    pitch[first:last] = before + (target[index] - before) * ramp
    pitch[last:] = target[index]
    if opens:
        lead, _ = _span(note.start_s - 0.25, 0, len(pitch))
        pitch[lead:first] = before


def _ornament(
    pitch: np.ndarray, index: int, notes: tuple[Note, ...], opens: np.ndarray, habits: Habits,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Overshoot after a leap, a dip where a consonant stops the voice, and a fall at a phrase's end."""
    note = notes[index]
    leap = note.pitch - notes[index - 1].pitch if index and not opens[index] else 0.0
    chance, size, fall = rng.random(), rng.uniform(0.5, 1.5), rng.uniform(0.3, 2.0)
    first, last = _span(note.start_s, note.end_s, len(pitch))
    elapsed = np.arange(last - first) / CONTROL_HZ
    if leap and chance < habits.overshoot_rate:
        swing = np.sin(2 * np.pi * 4.5 * elapsed) * np.exp(-elapsed / 0.08)
        pitch[first:last] += np.sign(leap) * size * habits.overshoot_cents / 100 * swing
    if note.syllable is not None and not opens[index]:
        depth = habits.dip_cents / 100 * abs(rng.standard_normal())
        around, until = _span(note.start_s - 0.07, note.start_s + 0.05, len(pitch))
        pitch[around:until] -= depth * np.hanning(until - around)
    closing = index + 1 == len(notes) or opens[index + 1]
    if closing and chance > 1 - habits.fall_rate:
        remaining = elapsed[::-1]
        pitch[first:last] -= fall * np.clip(1 - remaining / 0.12, 0, 1) ** 2


def _approach(pitch: np.ndarray, note: Note, semitones: float) -> None:
    """Begin a note off its pitch and find it within a tenth of a second or two."""
    first, last = _span(note.start_s, note.end_s, len(pitch))
    lead, _ = _span(note.start_s - 0.05, 0, len(pitch))
    semitones *= min(1.0, (note.end_s - note.start_s) / 0.3)
    pitch[first:last] += semitones * np.exp(-np.arange(last - first) / CONTROL_HZ / 0.05)
    pitch[lead:first] += semitones * np.linspace(0, 1, first - lead, endpoint=False)


def _add_vibrato(vibrato: np.ndarray, note: Note, spec: VoiceSpec, habits: Habits, rng: np.random.Generator) -> None:
    onset, depth = habits.vibrato_onset_s * rng.uniform(0.6, 1.4), rng.uniform(0.5, 1.3)
    rate = spec.vibrato_rate_hz * (1 + habits.vibrato_rate_spread * rng.standard_normal())
    start_phase, speed_up = rng.uniform(0, 2 * np.pi), rng.normal(0.0, 0.15)
    if note.end_s - note.start_s < onset + 0.15:
        return
    first, last = _span(note.start_s + onset, note.end_s, len(vibrato))
    elapsed = np.arange(last - first) / CONTROL_HZ
    swing = np.sin(start_phase + 2 * np.pi * rate * (elapsed + 0.5 * speed_up * elapsed**2))
    vibrato[first:last] += depth * spec.vibrato_depth_cents / 100 * np.clip(elapsed / 0.35, 0, 1) * swing


def _slow_noise(n_control: int, cutoff_hz: float, rng: np.random.Generator) -> np.ndarray:
    """Unit-variance noise that changes about `cutoff_hz` times a second, [n_control]."""
    spacing = CONTROL_HZ / (2 * cutoff_hz)
    knots = rng.standard_normal(int(n_control / spacing) + 3)
    position = np.arange(n_control) / spacing
    low = position.astype(int)
    ease = 0.5 - 0.5 * np.cos(np.pi * (position - low))
    return 1.2 * (knots[low] * (1 - ease) + knots[low + 1] * ease)


def loudness_contour(notes: tuple[Note, ...], habits: Habits, n_control: int, rng: np.random.Generator) -> np.ndarray:
    """Loudness of the voice in dB on the control grid, [n_control]; only meaningful inside notes."""
    phrase = np.cumsum(phrase_starts(notes)) - 1
    starts, ends = np.array([n.start_s for n in notes]), np.array([n.end_s for n in notes])
    velocity = np.array([n.velocity for n in notes])
    level = habits.dynamics_db * (velocity - 80) / 80 + rng.normal(0, 1.0, len(notes))
    for index in range(phrase[-1] + 1):
        members = phrase == index
        begin, finish = starts[members][0], ends[members][-1]
        place = (0.5 * (starts[members] + ends[members]) - begin) / (finish - begin)
        level[members] += habits.phrase_arc_db * (np.sin(np.pi * place) - 0.6) + rng.normal(0, 1.0)
    knots = np.stack([starts + 0.02, ends - 0.02], axis=1).ravel()
    knots = np.maximum.accumulate(knots + 1e-4 * np.arange(len(knots)))
    grid = np.arange(n_control) / CONTROL_HZ
    slope = rng.normal(-0.8, 1.2, len(notes))
    contour = np.interp(grid, knots, np.stack([level - slope / 2, level + slope / 2], axis=1).ravel())
    return contour + habits.unsteady_db * _slow_noise(n_control, 3.0, rng)
