"""Plans of vocals, without a note played: the likeliest reading, the best of several, and the worth of confidence."""

from __future__ import annotations

from accompany.errors import InputError
from accompany.evaluation.plan_metrics import (
    SCORES,
    analysed,
    calibration_error,
    plan_scores,
    readings_of,
    told_and_right,
)
from accompany.evaluation.rows import other_clip
from accompany.evaluation.studies.setup import StudySetup
from accompany.evaluation.studies.table import Study
from accompany.music.plan import Plan

PARTS = ("tempo", "phase", "key", "chords")

DEFINITIONS = {
    "reading 1": "the plan that is played unless another is asked for",
    "best of two, best of all readings": "of the first two, or of up to four, the one with the best beat_f",
    "another song": "the plan of another clip: what no listening at all would reach",
    "told, right": "mean confidence of reading 1, and how often it is right (of chords: how much of the time)",
    "calibration error": "mean distance of the two in up to ten bins of equally many clips, a dozen at least",
    "beat_f, downbeat_f": "F-measure of beats and downbeats, 70 ms",
    "amlt": "share of beats in continuous agreement, half, double and off-beat tempo allowed (mir_eval)",
    "phase": "beat_f with the true grid less beat_f with the grid half a beat off, -1 to 1",
    "chord_majmin, key": "mir_eval's scores of the plan's chords and key",
    "p_tempo, p_phase": "tempo within 4%; where it is, nearer to the true beats than to those half a beat off",
    "p_key, p_chords": "the very key; chord_majmin",
}


def plans(setup: StudySetup) -> Study:
    """Plans of all clips against what is known of them."""
    clips = setup.clips
    if len(clips) < 2:
        raise InputError("A study of plans needs two songs: the plan of another song is its floor.")
    found = [readings_of(setup.bundle, analysed(setup.bundle, clip)) for clip in clips]
    others = [found[other_clip(index, len(clips))][0] for index in range(len(clips))]
    chosen: dict[str, list[list[Plan]]] = {
        "reading 1": [each[:1] for each in found],
        "best of two": [each[:2] for each in found],
        "best of all readings": found,
        "another song": [[each] for each in others],
    }
    rows: dict[str, dict[str, list[float | None]]] = {}
    for name, of_clips in chosen.items():
        scores = [
            max((plan_scores(plan, clip) for plan in some), key=lambda each: each["beat_f"] or 0.0)
            for some, clip in zip(of_clips, clips, strict=True)
        ]
        rows[name] = {column: [each[column] for each in scores] for column in SCORES}
    pairs = [told_and_right(each[0], clip) for each, clip in zip(found, clips, strict=True)]
    for place, name in enumerate(("told", "right")):
        rows[name] = {f"p_{part}": [pair[part][place] if part in pair else None for pair in pairs] for part in PARTS}
    known = {part: [pair[part] for pair in pairs if part in pair] for part in PARTS}
    rows["calibration error"] = {
        f"p_{part}": [calibration_error(*zip(*each, strict=True))] for part, each in known.items() if each
    }
    return Study(f"Plans of {len(clips)} clips of {clips[0].seconds:g} s", rows, DEFINITIONS)
