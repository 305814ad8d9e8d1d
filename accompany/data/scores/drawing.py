"""Score selection: the score and excerpt for each song of a run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from accompany.data.scores.arrangement import arrange_sheet
from accompany.data.scores.corpora import SPLITS, Collection, Drums, open_collection
from accompany.data.scores.drumming import Drummer
from accompany.data.scores.lead_sheet import Unreadable
from accompany.data.songs.compose import compose
from accompany.data.songs.score import Score
from accompany.errors import InputError

_MOST_TRIES = 50


@dataclass(frozen=True)
class ScoreChoice:
    """The collections that songs are drawn from, and the split: "train" or "held-out"."""

    folders: tuple[Path, ...]
    split: str = "train"

    @property
    def facts(self) -> dict[str, object]:
        """Description for `song.json`."""
        layouts = [found.layout if isinstance(found, Collection) else "Groove MIDI" for found in self.opened()]
        return {"collections": layouts, "split": self.split}

    def opened(self) -> list[Collection | Drums]:
        """The folders' contents.

        Raises:
            InputError: a folder has no layout that is known, or none of them has songs.
        """
        if self.split not in SPLITS:
            raise InputError(f"--split {self.split} is none; choose {' or '.join(SPLITS)}.")
        opened = [open_collection(folder) for folder in self.folders]
        songs = [found for found in opened if isinstance(found, Collection)]
        if not songs:
            raise InputError("--scores names drum performances alone; name a folder of songs too.")
        for found in songs:
            if not found.of_split(self.split):
                raise InputError(f"--scores {found.folder} has no {self.split} songs: it holds {len(found.names)}.")
        return opened


@dataclass(frozen=True)
class Drawn:
    """A song, and the scores that were tried before it: (name, why it cannot be used)."""

    score: Score
    skipped: tuple[tuple[str, str], ...] = ()


def draw_song(
    choice: ScoreChoice | None,
    run_seed: int,
    index: int,
    seed: int,
    *,
    seconds: float = 40.0,
    variant: int = 0,
    n_variants: int = 1,
) -> Drawn:
    """Song `index` of a run: composed, or from a score.

    Collections take turns, and none of their songs comes again before all came.

    Args:
        choice: where from; None composes.
        run_seed: fixes the order of the songs; index: of this one.
        seed: for all that is random about this one.
        seconds: its length.
        variant: which of `n_variants` arrangements.

    Raises:
        InputError: the folders are wrong, or fifty scores in a row cannot be used.
    """
    if choice is not None:
        drawn = _from_scores(choice, run_seed, index, seed, seconds, variant)
        origin = {**drawn.score.origin, "variant": variant, "drawn_from": choice.facts}
        return replace(drawn, score=replace(drawn.score, origin=origin))
    score = compose(seed, seconds=seconds, variant=variant)
    origin = {"song": f"composed/{seed}", "variant": variant} if n_variants > 1 else {}
    return Drawn(replace(score, origin=origin))


def _from_scores(choice: ScoreChoice, run_seed: int, index: int, seed: int, seconds: float, variant: int) -> Drawn:
    collections, drummer = _opened(choice)
    collection = collections[index % len(collections)]
    names = collection.of_split(choice.split)
    order = _order(run_seed, index % len(collections), len(names))
    tries = np.random.default_rng([seed, 0xD4A3])
    place = order[index // len(collections) % len(names)]
    skipped: list[tuple[str, str]] = []
    for _ in range(_MOST_TRIES):
        name = names[place]
        try:
            sheet = collection.read(name)
            score = arrange_sheet(sheet, seed, seconds=seconds, variant=variant, drummer=drummer)
        except Unreadable as error:
            skipped.append((f"{collection.layout}/{name}", str(error)))
            place = int(tries.integers(len(names)))
            continue
        return Drawn(score, tuple(skipped))
    raise InputError(f"--scores {collection.folder}: no usable song, for example {skipped[0][0]} ({skipped[0][1]}).")


@lru_cache(maxsize=4)
def _opened(choice: ScoreChoice) -> tuple[list[Collection], Drummer | None]:
    opened = choice.opened()
    drums = [Drummer(found, choice.split) for found in opened if isinstance(found, Drums)]
    return [found for found in opened if isinstance(found, Collection)], drums[0] if drums else None


@lru_cache(maxsize=16)
def _order(run_seed: int, turn: int, count: int) -> tuple[int, ...]:
    return tuple(np.random.default_rng([run_seed, turn, 0x0DE4]).permutation(count).tolist())
