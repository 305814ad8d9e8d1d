"""Stem windows of a song in bounded memory: separated, or summed from its stems."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from accompany import audio
from accompany.data.prepare.sources import SongFiles
from accompany.errors import InputError
from accompany.sound.blocks import stream
from accompany.sound.separation import VocalSeparator

CLIPPED_LEVEL = 0.999
_BLOCK = 1 << 16

Stems = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class StemWindow:
    """A stretch of a song: `vocals` [1, n] and `band` [C, n] from sample `start` on, and what of the source clips."""

    start: int
    vocals: np.ndarray
    band: np.ndarray
    sample_rate: int
    clipped_share: float

    @property
    def n_samples(self) -> int:
        """Samples of each stem."""
        return int(self.vocals.shape[-1])

    @property
    def start_s(self) -> float:
        """Start in the song, in seconds."""
        return self.start / self.sample_rate

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sample_rate


def song_windows(song: SongFiles, separator: VocalSeparator | None, seconds: float) -> Iterator[StemWindow]:
    """The windows of a song, each `seconds` long but the last, which is as long as what is left.

    Args:
        song: what `accompany.data.prepare.sources` found.
        separator: for a mix; stems need none.
        seconds: length of a window.

    Raises:
        InputError: a file that cannot be read, or stems that do not fit together.
    """
    clipping = Clipping()
    if song.mix is not None:
        assert separator is not None
        rate = separator.sample_rate
        stems = separator.stream(_ahead(clipping.stream(song.mix, rate)))
    else:
        rate, stems = _summed_stems(song, clipping)
    yield from cut(stems, rate, seconds, clipping)


def _ahead(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same blocks, the next of which is decoded in a thread while the separator works on one."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = pool.submit(next, blocks, None)
            yield block


class Clipping:
    """Counts the samples at full scale in every second of the files that it streams."""

    def __init__(self) -> None:
        self._clipped: list[int] = []
        self._all: list[int] = []

    def stream(self, path: Path, sample_rate: int) -> Iterator[np.ndarray]:
        """`accompany.sound.blocks.stream`, counting."""
        position = 0

        def count(block: np.ndarray, rate: int) -> None:
            """Count in a block [C, n] of the file, at its own rate in Hz."""
            nonlocal position
            length = block.shape[-1]
            clips = max(block.max(initial=0), -block.min(initial=0)) >= CLIPPED_LEVEL
            full = (np.abs(block) >= CLIPPED_LEVEL).any(axis=0) if clips else None
            last = (position + length - 1) // rate
            self._clipped += [0] * (last + 1 - len(self._clipped))
            self._all += [0] * (last + 1 - len(self._all))
            for second in range(position // rate, last + 1):
                begin, end = max(second * rate, position), min((second + 1) * rate, position + length)
                self._all[second] += end - begin
                if full is not None:
                    self._clipped[second] += int(full[begin - position : end - position].sum())
            position += length

        yield from stream(path, sample_rate, on_block=count)

    def share(self, start_s: float, end_s: float) -> float:
        """Share of clipped samples in the seconds that a stretch touches."""
        part = slice(int(start_s), int(np.ceil(end_s)))
        return sum(self._clipped[part]) / max(sum(self._all[part]), 1)


def _summed_stems(song: SongFiles, clipping: Clipping) -> tuple[int, Iterator[Stems]]:
    if not song.vocals or not song.others:
        raise InputError(f"{song.source} has vocals and no other stems; add them, or an accompaniment.")
    infos = {path: audio.info(path) for path in song.files}
    rate = infos[song.vocals[0]].sample_rate
    wrong = [path for path in song.files if infos[path].sample_rate != rate]
    if wrong and not song.loose:
        raise _unequal(wrong[0], song.vocals[0])
    channels = max(infos[path].channels for path in song.others)
    return rate, _sum_stems(song, rate, min(channels, 2), clipping)


def _sum_stems(song: SongFiles, rate: int, channels: int, clipping: Clipping) -> Iterator[Stems]:
    readers = [(path, _BlockReader(clipping.stream(path, rate))) for path in song.files]
    while True:
        pieces = [(path, reader.take(_BLOCK)) for path, reader in readers]
        length = max(piece.shape[-1] for _, piece in pieces)
        if length == 0:
            return
        short = [path for path, piece in pieces if piece.shape[-1] < length]
        if short and not song.loose:
            raise _unequal(short[0], song.vocals[0])
        vocals, band = np.zeros((1, length), np.float32), np.zeros((channels, length), np.float32)
        for path, piece in pieces:
            n = piece.shape[-1]
            if path in song.vocals:
                vocals[:, :n] += audio.to_mono(piece)
            else:
                band[:, :n] += piece if piece.shape[0] == channels else audio.to_mono(piece)
        yield vocals, band


def _unequal(path: Path, vocals: Path) -> InputError:
    return InputError(f"{path} is not as long as {vocals.name}, or of another rate; export both alike.")


class _BlockReader:
    """Takes blocks of a wanted length out of a stream of any."""

    def __init__(self, blocks: Iterable[np.ndarray]) -> None:
        self._blocks = iter(blocks)
        self._rest: list[np.ndarray] = []

    def take(self, length: int) -> np.ndarray:
        """The next `length` samples [C, n], fewer at the end; [1, 0] behind it."""
        while sum(piece.shape[-1] for piece in self._rest) < length:
            block = next(self._blocks, None)
            if block is None:
                break
            self._rest.append(block)
        if not self._rest:
            return np.zeros((1, 0), np.float32)
        joined = np.concatenate(self._rest, axis=-1)
        self._rest = [joined[:, length:]]
        return joined[:, :length]


def cut(stems: Iterator[Stems], rate: int, seconds: float, clipping: Clipping) -> Iterator[StemWindow]:
    """Both stems of a song, in pieces of any length at `rate` Hz, as windows of `seconds`; the last may be shorter."""
    length = round(seconds * rate)
    kept: list[Stems] = []
    start = held = 0
    for vocals, band in stems:
        kept.append((audio.to_mono(vocals), band))
        held += vocals.shape[-1]
        while held >= length:
            two = _joined(kept)
            yield _window(start, [stem[:, :length] for stem in two], rate, clipping)
            kept, start, held = [(two[0][:, length:], two[1][:, length:])], start + length, held - length
    if held > 0:
        yield _window(start, _joined(kept), rate, clipping)


def _joined(pieces: Sequence[Stems]) -> Stems:
    vocals, band = (np.concatenate([piece[stem] for piece in pieces], axis=-1) for stem in (0, 1))
    return vocals, band


def _window(start: int, stems: Sequence[np.ndarray], rate: int, clipping: Clipping) -> StemWindow:
    share = clipping.share(start / rate, (start + stems[0].shape[-1]) / rate)
    return StemWindow(start, stems[0], stems[1], rate, share)
