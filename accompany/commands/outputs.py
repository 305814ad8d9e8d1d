"""Where `accompany generate` writes: names worked out and checked before any work, nothing created yet."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from accompany.common.files import checked_target, require_writable
from accompany.errors import InputError
from accompany.music.instrumentation import STEMS
from accompany.sound.options import SUFFIXES

VOCALS = ".vocals.wav"
"""Ending of the voice of a song."""


@dataclass(frozen=True)
class Output:
    """The files of one vocal; `mix` is None when no mix is wanted.

    Attributes:
        vocals: the recording.
        accompaniment, mix: of the best take.
        others: accompaniments (and mixes) of further takes.
        beside: files of other kinds by their ending, such as `.mid`.
        session: folder for an audio workstation.
        stems: the name to which those of the stems are added, `<stem>.wav` for `<stem>.drums.wav`.
    """

    vocals: Path
    accompaniment: Path
    mix: Path | None
    others: tuple[tuple[Path, Path | None], ...] = ()
    beside: tuple[tuple[str, Path], ...] = ()
    session: Path | None = None
    stems: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """What will be written."""
        several = [(self.accompaniment, self.mix), *self.others]
        sounds = [file for pair in several for file in pair if file is not None]
        named = [self.stems.with_name(f"{self.stems.stem}.{name}{self.stems.suffix}") for name in STEMS if self.stems]
        return (*sounds, *named, *(file for _, file in self.beside))


def plan_outputs(
    vocals: Sequence[str | os.PathLike[str]],
    out: str | None,
    mix: bool,
    *,
    suffix: str = ".wav",
    takes: int = 1,
    beside: Sequence[str] = (),
    stems: bool = False,
) -> list[Output]:
    """Name the files of every vocal. A `~` at the start of `out` is the home folder.

    Args:
        vocals: the vocal files.
        out: a file for one vocal, a folder for several (or for one, if it is there or ends in a slash); None
            puts `<stem>.accompaniment.wav` in the current folder.
        mix: also name `<stem>.mix.wav`.
        suffix: of the sounds that `out` does not name.
        takes: also name `<stem>.2.accompaniment.wav` and so on for further takes.
        beside: endings of other files, such as `.mid` for `<stem>.mid`.
        stems: also name `<stem>.drums.wav` and so on.

    Raises:
        InputError: `out` cannot be what it must be, two vocals share a name, an input would be overwritten,
            a name is too long, or a folder is not writable.
    """
    paths = [Path(vocal) for vocal in vocals]
    out = os.path.expanduser(out) if out is not None else None  # shells leave it after `--out=`
    if out is not None and len(paths) == 1 and not _means_folder(out):
        accompaniments = [_checked_file(Path(out))]
    else:
        folder = Path(out) if out is not None else Path()
        if folder.exists() and not folder.is_dir():
            raise InputError(f"--out {out} is a file; name a folder for the results of {len(paths)} vocals.")
        accompaniments = [folder / f"{path.stem}.accompaniment{suffix}" for path in paths]
    named = zip(paths, accompaniments, strict=True)
    outputs = [_output(vocal, result, mix, takes, beside, stems) for vocal, result in named]
    for file in (file for output in outputs for file in output.files):
        check_target(file)
    _check_distinct(outputs)
    return outputs


def check_target(path: Path) -> None:
    """InputError when a file cannot be written there, by way of symbolic links."""
    require_writable(checked_target(path).parent)


def _output(vocal: Path, result: Path, mix: bool, takes: int, beside: Sequence[str], stems: bool) -> Output:
    further = [_numbered(result, number) for number in range(2, takes + 1)]
    return Output(
        vocal,
        result,
        _mix_path(result) if mix else None,
        tuple((each, _mix_path(each) if mix else None) for each in further),
        tuple((ending, result.with_name(f"{base_of(result)}{ending}")) for ending in beside),
        stems=result.with_name(f"{base_of(result)}{result.suffix}") if stems else None,
    )


def base_of(accompaniment: Path) -> str:
    """The name that files beside an accompaniment begin with."""
    return accompaniment.stem.removesuffix(".accompaniment")


def _numbered(accompaniment: Path, number: int) -> Path:
    rest = accompaniment.name.removeprefix(base_of(accompaniment))
    return accompaniment.with_name(f"{base_of(accompaniment)}.{number}{rest}")


def _means_folder(out: str) -> bool:
    return out.endswith(("/", os.sep)) or os.path.isdir(out)


def _checked_file(path: Path) -> Path:
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"--out {path} is no audio file name; end it in {', '.join(SUFFIXES)}.")
    return path


def _mix_path(accompaniment: Path) -> Path:
    return accompaniment.with_name(f"{base_of(accompaniment)}.mix{accompaniment.suffix}")


def _check_distinct(outputs: list[Output]) -> None:
    inputs = {output.vocals.resolve(): output.vocals for output in outputs}
    files = [(file, output.vocals) for output in outputs for file in output.files]
    seen: dict[Path, Path] = {}
    for file, vocals in files:
        if file.resolve() in inputs or (
            file.exists() and any(each.exists() and file.samefile(each) for each in inputs)
        ):
            raise InputError(f"{file} would overwrite a vocal; choose another --out.")
        if (other := seen.setdefault(file, vocals)) is not vocals:
            raise InputError(f"{other} and {vocals} would both become {file}; rename one of them.")
    if len(outputs) > 1:
        from accompany.common.portable import check_case

        check_case(files)
