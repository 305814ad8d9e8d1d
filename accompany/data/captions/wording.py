"""Caption sentences from facts about a stretch of music: templates whose parts have several wordings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_TEMPI = (
    (72, ("very slow", "slow")), (92, ("slow", "relaxed", "laid-back")),
    (112, ("mid-tempo", "moderate", "walking-pace")),
    (132, ("upbeat", "lively", "medium-fast")), (999, ("fast", "brisk", "driving")),
)  # fmt: skip
_THINGS = ("backing", "backing track", "accompaniment", "instrumental", "arrangement", "band")


@dataclass(frozen=True)
class Facts:
    """Known or estimated facts about a stretch; empty ones are not mentioned.

    `tempo_bpm` in beats a minute, `key` such as `A:min`.
    """

    genre: str = ""
    mood: str = ""
    era: str = ""
    production: str = ""
    instruments: tuple[str, ...] = ()
    tempo_bpm: float | None = None
    key: str | None = None

    @property
    def empty(self) -> bool:
        """Whether there is nothing to say."""
        return self == Facts()


def word_captions(facts: Facts, count: int, rng: np.random.Generator) -> list[str]:
    """Up to `count` different sentences, long and short; the same facts and draws give the same."""
    if facts.empty:
        return []
    makers: tuple[Callable[[Facts, np.random.Generator], str], ...] = (_sentence, _list, _short, _with_measures)
    captions: list[str] = []
    for turn in range(4 * count):
        text = " ".join(makers[turn % len(makers)](facts, rng).split())
        if text and text not in captions:
            captions.append(text)
        if len(captions) == count:
            break
    return captions


def tempo_word(tempo_bpm: float, rng: np.random.Generator) -> str:
    """A word for a tempo."""
    return _pick(rng, next(words for limit, words in _TEMPI if tempo_bpm < limit))


def key_words(key: str) -> str:
    """`A:min` as "A minor", `Bb:maj` as "B flat major"."""
    tonic, _, mode = key.partition(":")
    tonic = tonic.replace("b", " flat").replace("#", " sharp")
    return f"{tonic} {'minor' if mode.startswith('min') else 'major'}"


def _sentence(facts: Facts, rng: np.random.Generator) -> str:
    described = " ".join(filter(None, [_tempo(facts, rng), facts.mood, _style(facts)]))
    text = f"{described} {_pick(rng, _THINGS)}".strip()
    if facts.instruments:
        text += f" {_pick(rng, ('with', 'featuring', 'led by', 'built on'))} {_and(facts.instruments)}"
    if facts.production:
        text += _pick(rng, (f", {facts.production}", f", {facts.production} sound", f" and a {facts.production} mix"))
    return f"{_article(text)} {text}" if rng.uniform() < 0.6 else text


def _list(facts: Facts, rng: np.random.Generator) -> str:
    parts = [facts.genre, facts.mood, *facts.instruments, facts.era, facts.production, _tempo(facts, rng)]
    kept = [part for part in parts if part]
    order = rng.permutation(len(kept))
    return ", ".join(kept[i] for i in order)


def _short(facts: Facts, rng: np.random.Generator) -> str:
    options = [
        f"{facts.mood} {facts.genre}".strip(),
        _and(facts.instruments),
        f"{_tempo(facts, rng)} {facts.genre}".strip(),
    ]
    kept = [option for option in options if option]
    return _pick(rng, tuple(kept)) if kept else ""


def _with_measures(facts: Facts, rng: np.random.Generator) -> str:
    text = _sentence(facts, rng)
    said = []
    if facts.tempo_bpm:
        bpm = round(facts.tempo_bpm)
        said.append(_pick(rng, (f"{bpm} bpm", f"at {bpm} beats a minute", f"around {bpm} BPM")))
    if facts.key:
        said.append(f"{_pick(rng, ('in', 'in the key of'))} {key_words(facts.key)}")
    return ", ".join([text, *said])


def _tempo(facts: Facts, rng: np.random.Generator) -> str:
    return tempo_word(facts.tempo_bpm, rng) if facts.tempo_bpm else ""


def _style(facts: Facts) -> str:
    return f"{facts.era} {facts.genre}".strip() if facts.genre else facts.era


def _and(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def _article(text: str) -> str:
    return "an" if text[:1].lower() in "aeiou" else "a"


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]
