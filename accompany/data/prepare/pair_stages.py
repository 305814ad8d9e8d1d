"""Distributed pair making in three steps: a CPU decodes, a GPU separates, a CPU does the rest.

Together they do what `PairMaker` does alone, block by block, so the pairs are the same. Sound travels between the steps
as a whole, so songs that are too long for that are left to the second step altogether, which streams them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Union

import numpy as np

from accompany.data.prepare.pair_making import Outcome, PairMaker, PrepareConfig
from accompany.data.prepare.pairs_store import PairsStore
from accompany.data.prepare.sources import SongFiles
from accompany.data.prepare.windows import Clipping, Stems, StemWindow, cut
from accompany.errors import InputError
from accompany.sound.separation import VocalSeparator

LONGEST_CARRIED_S = 900.0
"""Songs are carried from step to step up to this length: 320 MB at 44.1 kHz in stereo."""


@dataclass(frozen=True)
class SongJob:
    """One song and where its pairs go: plain data."""

    song: SongFiles
    place: PairsStore
    run: int

    def do(self, maker: PairMaker, windows: Iterator[StemWindow] | None = None) -> Outcome:
        """Make the song's pairs beside their place, then publish them; `windows` as in `PairMaker.make`."""
        with self.place.writing(self.song.folder) as folder:
            return maker.make(self.song, folder, run=self.run, windows=windows)


@dataclass(frozen=True)
class Carried:
    """A song on its way between the steps.

    Attributes:
        sample_rate: of the separator, in Hz.
        blocks: decoded, [C, n]; `stems` when it is separated.
        clipping: of what was decoded.
        refused: why it cannot be read.
        too_long: nothing is carried.
        wall_s, separation_s: spent so far.
    """

    job: SongJob
    sample_rate: int
    blocks: tuple[np.ndarray, ...] = ()
    stems: tuple[Stems, ...] = ()
    clipping: Clipping = field(default_factory=Clipping)
    refused: str | None = None
    too_long: bool = False
    wall_s: float = 0.0
    separation_s: float = 0.0


Finished = Union[Carried, Outcome]  # noqa: UP007


def make_reader(sample_rate: int, longest_s: float = LONGEST_CARRIED_S) -> Callable[[SongJob], Carried]:
    """The first step: decode and resample to the separator's rate in Hz."""

    def read(job: SongJob) -> Carried:
        """A song in blocks; of one that is too long for the object store only that it is."""
        started, clipping = time.perf_counter(), Clipping()
        blocks: list[np.ndarray] = []
        n_samples, carried = 0, Carried(job, sample_rate, clipping=clipping)
        assert job.song.mix is not None
        try:
            for block in clipping.stream(job.song.mix, sample_rate):
                blocks.append(block)
                n_samples += block.shape[-1]
                if n_samples > longest_s * sample_rate:
                    return replace(carried, too_long=True)
        except InputError as error:
            carried = replace(carried, refused=str(error))
        return replace(carried, blocks=tuple(blocks), wall_s=time.perf_counter() - started)

    return read


def make_splitter(config: PrepareConfig, device: str) -> Callable[[Carried], Finished]:
    """The second step: separate. On "auto" the device is what is there."""
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    separator = VocalSeparator(config.separator, device)
    alone: list[PairMaker] = []

    def split(carried: Carried) -> Finished:
        """Both stems of a song that was carried; the outcome of one that is too long, made here from end to end."""
        if carried.too_long:
            if not alone:
                alone.append(PairMaker(config, separator))
            return carried.job.do(alone[0])
        started, before = time.perf_counter(), separator.watch.seconds
        stems: list[Stems] = []
        try:
            stems = list(separator.stream(carried.blocks)) if carried.refused is None else []
        except InputError as error:
            carried = replace(carried, refused=str(error))
        wall_s = carried.wall_s + time.perf_counter() - started
        separation_s = separator.watch.seconds - before
        return replace(carried, blocks=(), stems=tuple(stems), wall_s=wall_s, separation_s=separation_s)

    return split


def make_finisher(config: PrepareConfig) -> Callable[[Finished], Outcome]:
    """The third step: cut, measure, caption and write."""
    maker = PairMaker(config)

    def windows(carried: Carried) -> Iterator[StemWindow]:
        yield from cut(iter(carried.stems), carried.sample_rate, config.limits.segment_s, carried.clipping)
        if carried.refused is not None:
            raise InputError(carried.refused)

    def finish(carried: Finished) -> Outcome:
        """The outcome of a song, with the time that all three steps took."""
        if isinstance(carried, Outcome):
            return carried
        outcome = carried.job.do(maker, windows(carried))
        wall_s = outcome.wall_s + carried.wall_s
        return replace(outcome, wall_s=wall_s, separation_s=outcome.separation_s + carried.separation_s)

    return finish
