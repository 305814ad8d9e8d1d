"""A next thing to try after a generation, in one line: what the take lacks most."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accompany.generation.take import Take

_UNSURE = 0.5
"""Below this confidence the tempo or the chords are worth giving."""


def next_step(args: argparse.Namespace, take: Take) -> str:
    """What to try next, of the options of `accompany generate` that were left out; empty where none is left.

    Args:
        args: of the command.
        take: that it made, the best of several.
    """
    vocal, plan = shlex.quote(str(args.vocals[0])), take.plan
    again = f"accompany generate {vocal}"
    unknown_beats = not (args.bpm or args.taps or args.chords or args.melody)
    steps = (
        (
            unknown_beats and plan.tempo_bpm and (plan.beat_confidence or 1.0) < _UNSURE,
            f"the tempo is a guess; if you know it, give it: {again} --bpm X",
        ),
        (
            not (args.chords or args.key) and plan.chords and (plan.chord_confidence or 1.0) < _UNSURE,
            f'the chords are a guess; if you know them, give them: {again} --chords "C G Am F"',
        ),
        (not (args.mix or args.project), f"voice and band together: {again} --mix"),
        (args.takes == 1, f"more takes, the best fit first: {again} --takes 4"),
        (not args.project, f"keep the takes and make single bars again: {again} --project song"),
    )
    return next((f"Next: {words}" for applies, words in steps if applies), "")


def next_edit(project: str, take: Take) -> str:
    """What to try next with a new project."""
    region = "--bars 1 4" if len(take.plan.downbeats_s) >= 4 else f"--from 0 --to {min(take.seconds, 8):g}"
    return f"Next: make a region again: accompany retake {shlex.quote(project)} {region} -p 'drums alone'"
