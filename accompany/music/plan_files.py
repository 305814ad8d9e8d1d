"""Plans from outside: out of JSON, and checked, since what `Plan` allows may still take all memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from accompany.common.checks import check_number, check_text, check_whole
from accompany.errors import InputError
from accompany.music.harmony import chord_pitch_classes, key_index
from accompany.music.plan import Plan, Reading

LONGEST_S = 7 * 24 * 3600.0
"""No time of a song lies beyond."""
CONFIDENCES = ("tempo_confidence", "beat_confidence", "key_confidence", "chord_confidence")
_SHORTEST_BEAT_S = 0.05
_MOST_BEATS_PER_BAR = 64
_TEMPI_BPM = (10, 1000)


def plan_from_dict(values: Mapping[str, Any]) -> Plan:
    """A plan from `dataclasses.asdict` by way of JSON.

    Raises:
        InputError: a plan that no band can play (`check_plan`).
        TypeError, ValueError: what is no plan.
    """
    given = dict(values)
    for name in ("beats_s", "downbeats_s"):
        given[name] = tuple(map(float, given.get(name, ())))
    given["chords"] = tuple((float(start), float(end), str(label)) for start, end, label in given.get("chords", ()))
    given["readings"] = tuple(Reading(**each) for each in given.get("readings", ()))
    check_plan(plan := Plan(**given))
    return plan


def check_plan(plan: Plan) -> None:
    """InputError for a plan from elsewhere that no band can play: what `Plan` allows may still take all memory."""
    beats, downbeats = (np.asarray(times) for times in (plan.beats_s, plan.downbeats_s))
    for name, times in (("beats", beats), ("downbeats", downbeats)):
        if len(times) > 1 and np.diff(times).min() < _SHORTEST_BEAT_S:
            raise InputError(f"The {name} must be at least {_SHORTEST_BEAT_S:g} s apart.")
        if len(times) and not -LONGEST_S <= times[0] <= times[-1] <= LONGEST_S:
            raise InputError(f"The {name} must lie within {LONGEST_S:g} s.")
    if len(downbeats) and not len(beats):
        raise InputError("The downbeats need beats; give both, or neither.")
    for start, end, label in plan.chords:
        chord_pitch_classes(label)
        if not -LONGEST_S <= start < end <= LONGEST_S:
            raise InputError(f"The chord {label} at {start:g} s must end after it starts, within {LONGEST_S:g} s.")
    if plan.key is not None:
        check_text("key", plan.key)
        key_index(plan.key)
    check_whole("number of beats_per_bar", plan.beats_per_bar, 1, _MOST_BEATS_PER_BAR)
    if plan.tempo_bpm is not None:
        check_number("tempo_bpm", plan.tempo_bpm, *_TEMPI_BPM)
    for name in CONFIDENCES:
        if getattr(plan, name) is not None:
            check_number(name, getattr(plan, name), 0, 1)
    for each in plan.readings:
        check_text("name of a reading", each.name)
        check_text("key of a reading", each.key)
        key_index(each.key)
        check_number("tempo of a reading", each.tempo_bpm, *_TEMPI_BPM)
        check_number("probability of a reading", each.probability, 0, 1)
    check_whole("number of the reading", plan.reading, 1, max(len(plan.readings), 1))
