"""Chord and key metrics: estimates from a chroma, scored against the known chords and key.

The decoder knows no music beyond its templates, so its score on the truth stands beside every other.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from accompany.errors import InputError
from accompany.evaluation.metrics import CHROMA_HOP, CHROMA_RATE, Matrix
from accompany.music.harmony import N_CHORDS, NO_CHORD, key_index, key_label, label_of, majmin
from accompany.music.key_profiles import key_fits

Chords = tuple[tuple[float, float, str], ...]

_FRAME_S = CHROMA_HOP / CHROMA_RATE
_HOLD_FRAMES = 4
"""Chroma frames that become one frame of the decoder: about 93 ms."""

_SHARPNESS = 12.0
_CHANGE_COST = 10.0
"""Chosen on the truth of 198 synthetic clips: majmin 0.775, 0.789, 0.775, 0.762 at 4, 10, 20, 30."""

_MAJOR_PROFILE = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR_PROFILE = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)


def estimate_chords(chroma: Matrix) -> Chords:
    """Major and minor triads, or N in silence, estimated from a chroma `[12, frames]` at 43 frames a second.

    Binary triad templates (Fujishima, ICMC 1999), compared with the mean-removed chroma and smoothed by Viterbi with
    one cost in nats for every change of chord (as Sheh and Ellis, ISMIR 2003, smooth theirs).
    """
    import librosa
    from scipy.special import softmax

    n = chroma.shape[1] // _HOLD_FRAMES
    if n == 0:
        return ()
    held = chroma[:, : n * _HOLD_FRAMES].reshape(12, n, _HOLD_FRAMES).mean(2)
    energy = held.sum(0)
    silent = energy <= 0.02 * max(float(energy.max()), 1e-9)
    centred = held - held.mean(0)
    centred = centred / np.maximum(np.linalg.norm(centred, axis=0), 1e-9)
    scores = np.zeros((N_CHORDS, n))
    scores[:NO_CHORD] = _SHARPNESS * (_unit_rows(triad_templates()) @ centred)
    scores[:, silent] = 0.0
    scores[NO_CHORD, silent] = 2 * _SHARPNESS
    stay = 1.0 / (1.0 + (N_CHORDS - 1) * np.exp(-_CHANGE_COST))
    path = librosa.sequence.viterbi(softmax(scores, axis=0), librosa.sequence.transition_loop(N_CHORDS, stay))
    return _merged(path.tolist())


def chord_scores(chroma: Matrix, truth: Chords) -> dict[str, float]:
    """`chord_majmin` and `chord_root`: share of time in which the estimated chord is the true one, by mir_eval's rules.

    Chords that are neither major nor minor (sus4, dim) do not count in majmin. Empty where nothing can be compared.
    """
    return compare_chords(estimate_chords(chroma), truth)


def compare_chords(found: Chords, truth: Chords) -> dict[str, float]:
    """The scores of `chord_scores` for chords that were found in another way."""
    import mir_eval

    if not found or not truth:
        return {}
    true_spans, true_labels = _columns(truth)
    spans, labels = mir_eval.util.adjust_intervals(
        *_columns(found),
        t_min=float(true_spans.min()),
        t_max=float(true_spans.max()),
        start_label="N",
        end_label="N",
    )
    spans, true_labels, labels = mir_eval.util.merge_labeled_intervals(true_spans, true_labels, spans, labels)
    durations = mir_eval.util.intervals_to_durations(spans)
    scores = {}
    for name, compare in (("chord_majmin", mir_eval.chord.majmin), ("chord_root", mir_eval.chord.root)):
        same = compare(true_labels, labels)
        if (durations * (same >= 0)).sum() > 0:
            scores[name] = float(mir_eval.chord.weighted_accuracy(same, durations))
    return scores


def estimate_key(chroma: Matrix) -> str | None:
    """The key whose profile correlates best with the mean chroma (Krumhansl 1990); None of silence or a flat chroma."""
    fits = _key_fits(chroma)
    return None if fits is None else key_label(int(np.argmax(fits)))


def key_fit(chroma: Matrix, key: str) -> float:
    """Pearson's r of the mean chroma and the profile of a key, -1 to 1; 0 of silence or a flat chroma."""
    fits = _key_fits(chroma)
    return 0.0 if fits is None else float(fits[key_index(key)])


def _key_fits(chroma: Matrix) -> Matrix | None:
    """r of the mean chroma and the profiles of the 24 keys; None of silence or a flat chroma."""
    return key_fits(chroma.mean(1) if chroma.shape[1] else np.zeros(12), _MAJOR_PROFILE, _MINOR_PROFILE)


def key_score(chroma: Matrix, truth: str) -> float | None:
    """mir_eval's weighted score of the estimated key: 1, fifth 0.5, relative 0.3, parallel 0.2; None without truth."""
    return compare_keys(estimate_key(chroma), truth)


def compare_keys(found: str | None, truth: str) -> float | None:
    """The score of `key_score` for a key that was found in another way."""
    import mir_eval

    try:
        true = key_index(truth)
    except InputError:
        return None
    if found is None:
        return 0.0
    return float(mir_eval.key.weighted_score(_mir_eval_key(key_label(true)), _mir_eval_key(found)))


def triad_templates() -> Matrix:
    """Binary triads `[24, 12]` in the order of majmin chords, of mean 0."""
    triads = np.zeros((NO_CHORD, 12))
    for root in range(12):
        triads[root, [root, (root + 4) % 12, (root + 7) % 12]] = 1.0
        triads[root + 12, [root, (root + 3) % 12, (root + 7) % 12]] = 1.0
    return np.asarray(triads - triads.mean(1, keepdims=True))


def _unit_rows(matrix: Matrix) -> Matrix:
    return np.asarray(matrix / np.linalg.norm(matrix, axis=1, keepdims=True))


def _merged(path: list[int]) -> Chords:
    step = _HOLD_FRAMES * _FRAME_S
    borders = [0, *(i for i in range(1, len(path)) if path[i] != path[i - 1]), len(path)]
    return tuple((start * step, end * step, label_of(path[start])) for start, end in pairwise(borders))


def _columns(chords: Chords) -> tuple[Matrix, list[str]]:
    """Intervals `[N, 2]` and labels as mir_eval reads them: no overlap, gaps are N."""
    spans, labels, now = [], [], chords[0][0]
    for start, end, label in chords:
        start = max(start, now)
        if end - start <= 1e-6:
            continue
        if start - now > 1e-6:
            spans.append((now, start))
            labels.append("N")
        spans.append((start if labels else now, end))
        labels.append(_readable(label))
        now = end
    return np.array(spans, dtype=np.float64), labels


def _readable(label: str) -> str:
    """The label itself where mir_eval reads it, else the nearest triad."""
    import mir_eval

    try:
        mir_eval.chord.encode(label)
    except mir_eval.chord.InvalidChordException:
        return label_of(majmin(label))
    return label


def _mir_eval_key(key: str) -> str:
    tonic, _, mode = key.partition(":")
    return f"{tonic} {'minor' if mode == 'min' else 'major'}"
