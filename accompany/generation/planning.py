"""The plan of a song from predictions and given controls: tempo, tapped beats, key, chords, parts of another plan."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from accompany.generation.settings import Settings
from accompany.music.chord_decoding import Chord
from accompany.music.plan import BEATS_PER_BAR, Plan
from accompany.music.tracking import BeatTrack
from accompany.stages.listener import Listener


@dataclass(frozen=True)
class Known:
    """Parts of a plan that are kept; what is left open is predicted.

    Attributes:
        bpm: tempo.
        beats_s, downbeats_s: the whole grid, in place of the tempo.
        beats_per_bar: of that grid.
        metre: beats of a bar of a grid that is predicted.
        key: such as `A:min`.
        chords: stretches that are kept; between them chords are predicted.
    """

    bpm: float | None = None
    beats_s: tuple[float, ...] = ()
    downbeats_s: tuple[float, ...] = ()
    beats_per_bar: int = BEATS_PER_BAR
    metre: int | None = None
    key: str | None = None
    chords: tuple[Chord, ...] = ()


def make_plan(listener: Listener, features: Tensor, settings: Settings) -> Plan:
    """The plan that settings ask for, from the features [1, F, Dv] of a vocal; one that is given is taken as it is."""
    if settings.plan is not None:
        return settings.plan
    seconds = features.shape[1] / listener.config.frame_rate
    known = Known(settings.bpm, metre=settings.metre, key=settings.key)
    if settings.taps is not None:
        from accompany.generation.given import tapped_grid

        metre = settings.metre or BEATS_PER_BAR
        beats, downbeats = tapped_grid(settings.taps, seconds, metre)
        known = dataclasses.replace(known, bpm=None, beats_s=beats, downbeats_s=downbeats, beats_per_bar=metre)
    plan = predict_plan(listener, features, known, settings.reading or 1)
    if settings.chords is None:
        return plan
    from accompany.generation.given import key_of_bars, lay_chords

    chords = lay_chords(settings.chords, plan, seconds)
    return dataclasses.replace(
        plan, chords=chords, chord_confidence=None, key=settings.key or key_of_bars(settings.chords)
    )


def predict_plan(listener: Listener, features: Tensor, known: Known, reading: int = 1) -> Plan:
    """The plan predicted from features [1, F, Dv], around what is known; the likeliest reading, or another."""
    grid = None
    if known.beats_s:
        beats, downbeats = np.asarray(known.beats_s), np.asarray(known.downbeats_s)
        grid = BeatTrack(beats, downbeats, 60.0 / float(np.median(np.diff(beats))), known.beats_per_bar)
    chords = known.chords or None
    return listener.plan(
        listener.analyze(features),
        bpm=known.bpm,
        metre=known.metre,
        key=known.key,
        chords=chords,
        grid=grid,
        reading=reading,
    )
