"""The voices of songs: what `accompany generate --separate` plays to."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accompany.commands.console import bar
from accompany.commands.outputs import VOCALS, Output
from accompany.common.devices import choose_device
from accompany.sound.covers import separate_vocal
from accompany.sound.separation import BUNDLED, VocalSeparator


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
