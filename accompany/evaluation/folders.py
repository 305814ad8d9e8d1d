"""Outputs of other systems, read from folders and matched with the clips of a test."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from accompany import audio
from accompany.data.prepare.sources import SUFFIXES
from accompany.errors import InputError
from accompany.evaluation.metrics import Signal
from accompany.evaluation.testset import Clip

logger = logging.getLogger(__name__)

_WHOLE = frozenset(("accompaniment", "output", "result"))
_SLACK_S = 0.5


def read_against(options: Iterable[str], taken: Iterable[str]) -> dict[str, Path]:
    """The folders of `NAME=DIR` options by name.

    Raises:
        InputError: no such form, a name that a row has already (`taken`), or no folder.
    """
    found: dict[str, Path] = {}
    for option in options:
        name, equals, folder = option.partition("=")
        name = name.strip()
        if not equals or not re.fullmatch(r"[\w. -]+", name) or not folder:
            raise InputError(f"--against {option} must be NAME=DIR, as in --against fastsag=outputs/fastsag.")
        if name in found or name in taken:
            raise InputError(f"--against {option}: there is a row '{name}' already; choose another name.")
        if not Path(folder).is_dir():
            raise InputError(f"--against {option}: there is no folder {folder}.")
        found[name] = Path(folder)
    return found


class Against:
    """One folder of outputs: `SONG.wav`, `PARENT_SONG.wav` or `SONG/accompaniment.wav`, any format and rate.

    A file as long as the whole song is cut as the clip was; one that is about as long as the clip is taken as it is.

    Raises:
        InputError: no file of the folder belongs to a clip.
    """

    def __init__(self, name: str, folder: Path, clips: Sequence[Clip]) -> None:
        self.name = name
        files = {_plain(key): path for path in _sounds(folder) for key in _keys(path, folder)}
        self._files = [_find(files, clip) for clip in clips]
        self.missing = tuple(clip.name for clip, path in zip(clips, self._files, strict=True) if path is None)
        if len(self.missing) == len(clips):
            raise InputError(
                f"--against {name}={folder} has no file for any of the {len(clips)} clips; name its files after the "
                f"songs, as in {clips[0].name.rsplit('/', 1)[-1]}.wav."
            )
        if self.missing:
            logger.warning("%s", self.note)

    @property
    def note(self) -> str:
        """One sentence about missing files; empty where none is."""
        if not self.missing:
            return ""
        names = ", ".join(self.missing[:5]) + (" and others" if len(self.missing) > 5 else "")
        return (
            f"{self.name} has no output for {len(self.missing)} of {len(self._files)} clips ({names}): its metrics are "
            "means over the rest."
        )

    def sound(self, index: int, clip: Clip) -> Signal | None:
        """The output for clip `index`, mono at the clip's rate and of its length; None where there is none."""
        path = self._files[index]
        if path is None:
            return None
        mono = audio.read_mono(path, clip.sample_rate)[0].samples[0]
        if clip.song_s > clip.seconds and len(mono) / clip.sample_rate > clip.seconds + _SLACK_S:
            mono = mono[round(clip.start_s * clip.sample_rate) :]
        return audio.fit_length(mono, len(clip.vocal))


def _sounds(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def _keys(path: Path, folder: Path) -> list[str]:
    """Names that a file matches: its own, or its folder's where many files are named alike."""
    inside = path.relative_to(folder)
    stem = inside.with_suffix("").as_posix()
    if path.stem.lower() in _WHOLE and len(inside.parts) > 1:
        stem = inside.parent.as_posix()
    return [stem, stem.rsplit("/", 1)[-1]]


def _find(files: dict[str, Path], clip: Clip) -> Path | None:
    """The whole name of a clip (`test/Artist - Title`) goes before that of the song."""
    return files.get(_plain(clip.name)) or files.get(_plain(clip.name.rsplit("/", 1)[-1]))


def _plain(name: str) -> str:
    """Case and all signs between words do not count."""
    return re.sub(r"[\W_]+", " ", name).strip().casefold()
