"""Syllables in speech: from the durations of its symbols, refined by its loudness and voicing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

VOWELS = frozenset("AIOQWYaeiouæɑɐɒɔəɚɛɜɪʊʌᵻᵊ")
_GLIDING = frozenset("AIOQWY")
_PAIRS = frozenset({"aɪ", "eɪ", "oʊ", "əʊ", "aʊ", "ɔɪ"})
_UNVOICED = frozenset("ptkfsʃʧθhx")
_ONSETS = frozenset(
    "pɹ bɹ tɹ dɹ kɹ ɡɹ fɹ θɹ ʃɹ pl bl kl ɡl fl sl sp st sk sm sn sw tw kw dw hj mj fj bj kj spɹ stɹ skɹ spl skw".split()
)
_STRESS, _LONG, _PAUSES = frozenset("ˈˌ"), "ː", frozenset(";:,.!?\u2014…")
_BEFORE_S, _AFTER_S = 0.06, 0.045
_SLOPE_S, _FLOOR_DB = 0.015, -50.0
_SHORTEST_S = 0.03


@dataclass(frozen=True)
class SpokenSyllable:
    """A syllable in a spoken line: times in seconds of its first sound, its vowel and its end.

    joined: the next syllable follows without a pause; gliding: its vowel is a diphthong;
    stress: its vowel carries a mark of stress; hard: what precedes the vowel is unvoiced.
    """

    start_s: float
    vowel_s: float
    vowel_end_s: float
    end_s: float
    joined: bool
    gliding: bool
    stress: bool
    hard: bool


@dataclass(frozen=True)
class _Phone:
    """A vowel or consonant of a line; `opens`: a word; `after_pause`: nothing sounds before it."""

    symbol: str
    start_s: float
    end_s: float
    stress: bool
    opens: bool
    after_pause: bool


def spoken_syllables(symbols: Sequence[str], starts_s: np.ndarray) -> list[SpokenSyllable]:
    """The syllables of a line by the durations of its symbols.

    Consonants between two vowels of a word go to the second as far as English allows such a cluster.

    Args:
        symbols: phonemes, marks of stress and length, spaces, punctuation, "" for padding.
        starts_s: [symbols + 1] where each begins, and the end of the last.
    """
    sounds = _sounds(symbols, starts_s)
    nuclei = [index for index, sound in enumerate(sounds) if sound.symbol[0] in VOWELS]
    bounds = [0, *(_boundary(sounds, a, b) for a, b in pairwise(nuclei)), len(sounds)]
    found = []
    for nucleus, (first, last) in zip(nuclei, pairwise(bounds), strict=False):
        vowel, before = sounds[nucleus], sounds[nucleus - 1] if nucleus > first else None
        joined = last < len(sounds) and not sounds[last].after_pause
        found.append(
            SpokenSyllable(
                sounds[first].start_s, vowel.start_s, vowel.end_s, sounds[last - 1].end_s, joined,
                vowel.symbol in _PAIRS or vowel.symbol in _GLIDING, vowel.stress,
                before is not None and before.symbol[0] in _UNVOICED,
            )
        )  # fmt: skip
    return found


def _sounds(symbols: Sequence[str], starts_s: np.ndarray) -> list[_Phone]:
    """The sounds of a line; time of stress marks goes to what follows, of other marks to what precedes."""
    sounds: list[_Phone] = []
    stress, opens, pause, since = False, True, True, None
    times = zip(symbols, starts_s[:-1].tolist(), starts_s[1:].tolist(), strict=True)
    for index, (symbol, start, end) in enumerate(times):
        if symbol in _PAUSES or (symbol == "" and (not sounds or index == len(symbols) - 1)):
            opens = pause = True
        elif symbol in _STRESS and symbol:
            stress, since = True, start
        elif symbol in ("", " ", _LONG):
            opens |= symbol == " "
            if sounds and not pause:
                sounds[-1] = replace(sounds[-1], end_s=end)
        elif not opens and sounds and sounds[-1].symbol + symbol in _PAIRS:
            sounds[-1] = replace(sounds[-1], symbol=sounds[-1].symbol + symbol, end_s=end)
        else:
            sounds.append(_Phone(symbol, start if since is None else since, end, stress, opens, pause))
            stress, opens, pause, since = False, False, False, None
    return sounds


def _boundary(sounds: list[_Phone], nucleus: int, following: int) -> int:
    """Which sound after a vowel is the first of the next syllable."""
    for index in range(nucleus + 1, following + 1):
        if sounds[index].opens:
            return index
    first = following
    while first > nucleus + 1:
        cluster = "".join(sound.symbol for sound in sounds[first - 1 : following])
        if len(cluster) > 1 and cluster not in _ONSETS:
            break
        first -= 1
    return first


def refined(
    syllables: Sequence[SpokenSyllable], level_db: np.ndarray, voiced: np.ndarray, frame_s: float
) -> list[SpokenSyllable]:
    """Move the edges of vowels to where the sound says they are, a few hundredths of a second.

    After an unvoiced consonant a vowel begins with the voice, else at the steepest rise of loudness nearby.

    Args:
        level_db, voiced: [frames] loudness, and whether there is a voice.
    """
    slope = _slope(np.maximum(level_db, _FLOOR_DB), max(1, round(_SLOPE_S / frame_s)))
    moved: list[SpokenSyllable] = []
    for syllable in syllables:
        vowel = _vowel_start(syllable, slope, voiced, frame_s)
        fall = _window(syllable.vowel_end_s, frame_s, len(slope), vowel + _SHORTEST_S)
        drop = -slope[fall] - 0.3 * _distance(fall, syllable.vowel_end_s, frame_s)
        end = (fall.start + int(np.argmax(drop))) * frame_s if syllable.end_s > syllable.vowel_end_s else None
        end = syllable.vowel_end_s if end is None or drop.max() < 2.0 else end
        end = max(min(end, syllable.end_s), vowel + _SHORTEST_S)
        moved.append(replace(syllable, vowel_s=max(vowel, syllable.start_s), vowel_end_s=end))
    return _in_order(moved)


def _slope(level_db: np.ndarray, reach: int) -> np.ndarray:
    """How much louder the next `reach` frames are than those before, [frames] dB; 0 near the ends."""
    total = np.concatenate([[0.0], np.cumsum(level_db)])
    slope = np.zeros(len(level_db))
    middle = np.arange(reach, len(level_db) - reach)
    slope[middle] = (total[middle + reach] - 2 * total[middle] + total[middle - reach]) / reach
    return slope


def _vowel_start(syllable: SpokenSyllable, slope: np.ndarray, voiced: np.ndarray, frame_s: float) -> float:
    if syllable.start_s >= syllable.vowel_s:
        return syllable.vowel_s
    earliest = 0.5 * (syllable.start_s + syllable.vowel_s)
    window = _window(syllable.vowel_s, frame_s, len(slope), earliest)
    begins = np.flatnonzero(voiced[window] & ~voiced[window.start - 1 : window.stop - 1])
    if syllable.hard and len(begins):
        return float((window.start + begins[0]) * frame_s)
    rise = slope[window] - 0.3 * _distance(window, syllable.vowel_s, frame_s)
    return float((window.start + int(np.argmax(rise))) * frame_s) if rise.max() > 2.0 else syllable.vowel_s


def _window(time_s: float, frame_s: float, n_frames: int, earliest_s: float) -> slice:
    """Frames near a time, none before `earliest_s`; at least one."""
    first = int(np.clip(max(time_s - _BEFORE_S, earliest_s) / frame_s, 1, n_frames - 2))
    return slice(first, int(np.clip((time_s + _AFTER_S) / frame_s, first + 1, n_frames)))


def _distance(window: slice, time_s: float, frame_s: float) -> np.ndarray:
    """Hundredths of a second from `time_s` to each frame."""
    return 100 * np.abs(np.arange(window.start, window.stop) * frame_s - time_s)


def _in_order(syllables: list[SpokenSyllable]) -> list[SpokenSyllable]:
    """The syllables, none of which begins before the vowel of the one before it is over."""
    ordered: list[SpokenSyllable] = []
    for syllable in syllables:
        start = syllable.start_s
        if ordered:
            before = ordered[-1]
            start = max(start, before.vowel_s + _SHORTEST_S)
            ends = min(before.vowel_end_s, start)
            ordered[-1] = replace(before, vowel_end_s=ends, end_s=start if before.joined else max(before.end_s, ends))
        vowel = max(syllable.vowel_s, start)
        vowel_end = max(syllable.vowel_end_s, vowel + _SHORTEST_S)
        ordered.append(
            replace(syllable, start_s=start, vowel_s=vowel, vowel_end_s=vowel_end, end_s=max(syllable.end_s, vowel_end))
        )
    return ordered
