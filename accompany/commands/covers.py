"""Separation in `accompany generate`: the voices of songs (--separate) and the stems of a band (--stems)."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from accompany.commands.console import bar
from accompany.commands.outputs import VOCALS, Output
from accompany.common.devices import choose_device
from accompany.errors import InputError
from accompany.sound.covers import separate_vocal
from accompany.sound.separation import BUNDLED, SongSeparator, VocalSeparator

if TYPE_CHECKING:
    from accompany.api import Band


class Voices:
    """The voices of songs, taken out one by one."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Load the separator. InputError for one that is not there."""
        self._separator = VocalSeparator(args.separator or BUNDLED, choose_device(args.device))

    def beside(self, output: Output) -> Output:
        """The output with the voice of its song as the vocal, which is written now."""
        target = dict(output.beside)[VOCALS]
        target.parent.mkdir(parents=True, exist_ok=True)
        return dataclasses.replace(output, vocals=self._separated(output.vocals, target))

    @contextmanager
    def in_scratch(self, song: Path) -> Iterator[Path]:
        """The voice of the song of a project, which keeps a copy of it."""
        with tempfile.TemporaryDirectory(prefix="accompany-") as folder:
            yield self._separated(song, Path(folder) / f"{song.stem}.wav")

    def _separated(self, song: Path, target: Path) -> Path:
        with bar(f"{song.name}: voice") as progress:
            return separate_vocal(song, target, self._separator, progress)


def load_splitter(band: Band, args: argparse.Namespace) -> SongSeparator | None:
    """What splits the band of a model that has no stems of its own. InputError where there is none."""
    if not band.bundle.has_stems:
        from accompany.sound import stems

        return stems.load_splitter(args.separator)
    if args.separator and not args.separate:
        raise InputError(f"{band.name} plays stems of its own, so there is nothing to split; leave --separator out.")
    return None


def load_voices(args: argparse.Namespace) -> Voices | None:
    """What takes the voices out of songs, or None where the vocals are voices."""
    if args.separate:
        return Voices(args)
    if not args.stems:
        raise InputError("--separator says how --separate or --stems takes sound apart; give one of them, or neither.")
    return None
