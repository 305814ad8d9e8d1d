"""Names of files as Windows and macOS take them: reserved ones, and those that differ in case or accents alone."""

from __future__ import annotations

import re
import tempfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from accompany.errors import InputError

_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')


def check_windows_name(name: str) -> None:
    """InputError for a name that Windows keeps for a device, or that no file of it can have."""
    if _DEVICE.fullmatch(name.partition(".")[0].rstrip(" ")):
        raise InputError(f"The name {name} is that of a device on Windows; give another one.")
    if found := _FORBIDDEN.search(name):
        raise InputError(f"The name {name} holds {found[0]!r}, which no name on Windows does; give another one.")
    if name.endswith((" ", ".")) and name.strip("."):
        raise InputError(f"The name {name!r} ends in a space or a full stop, which Windows drops; give another one.")


def folded(path: Path) -> str:
    """A path without what some disks do not tell apart: upper and lower case, and the ways to write an accent."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", str(path)).casefold())


def check_case(files: Sequence[tuple[Path, Path]]) -> None:
    """InputError where files, each with the one that it is made from, are one on a disk that folds names."""
    seen: dict[str, tuple[Path, Path]] = {}
    for file, made_from in files:
        other, its = seen.setdefault(folded(file), (file, made_from))
        if other != file and folds_names(file.parent):
            raise InputError(f"{its} and {made_from} would both become {file} on this disk; rename one of them.")


def folds_names(folder: Path) -> bool:
    """Whether the disk of a folder, or of the nearest one above it that is there, takes `A` and `a` for one name."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    with tempfile.NamedTemporaryFile(prefix="Aa", dir=folder) as probe:
        name = Path(probe.name)
        return name.with_name(name.name.swapcase()).exists()
