"""What songs sound with beyond one soundfont: several soundfonts, drum kits, amplifiers and rooms, drawn by seed."""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from accompany.data.songs.score import Part
from accompany.errors import InputError

_log = logging.getLogger(__name__)

_FONTS, _RESPONSES = (".sf2", ".sf3"), (".wav", ".flac")
_GENERAL_MIDI_PROGRAMS = 100
"""A soundfont of fewer melodic programs is no General MIDI soundfont."""
_ROOM_S = 0.8
"""Impulse responses from this length on are rooms, shorter ones amplifiers and cabinets."""
_LONGEST_S = 6.0
_KIT_PROGRAMS = (0, 8, 16, 32)
"""Acoustic kits, which a drum soundfont may stand in for."""
_AMPLIFIED = {"guitar": 0.6, "bass": 0.25, "organ": 0.2, "clavinet": 0.2, "electric piano": 0.15, "harmonica": 0.3}
_DRIVEN = ("overdriven guitar", "distorted guitar")


@dataclass(frozen=True)
class Rig:
    """What one part is played with.

    Attributes:
        soundfont: General MIDI, or one drum kit where `is_kit`.
        amplifier: impulse response, or None; drive_db: gain into its soft clipping, 0 for none.
        eq: (Hz, dB, Q) of peaking filters.
        compression: 0 to 1.
    """

    soundfont: Path
    is_kit: bool = False
    amplifier: Path | None = None
    drive_db: float = 0.0
    eq: tuple[tuple[float, float, float], ...] = ()
    compression: float = 0.0

    def describe(self) -> dict[str, Any]:
        """As `song.json` says it."""
        return {
            "soundfont": self.soundfont.name,
            "amplifier": None if self.amplifier is None else self.amplifier.name,
            "drive_db": round(self.drive_db, 1),
            "eq": [[round(value, 2) for value in band] for band in self.eq],
            "compression": round(self.compression, 2),
        }


@dataclass(frozen=True)
class Sounds:
    """Files to draw from: General MIDI `soundfonts` (at least one), drum `kits`, `amplifiers` and `rooms`."""

    soundfonts: tuple[Path, ...]
    kits: tuple[Path, ...] = ()
    amplifiers: tuple[Path, ...] = ()
    rooms: tuple[Path, ...] = ()

    def draw_rig(self, part: Part, family: str, rng: np.random.Generator) -> Rig:
        """What a part of an instrument family is played with in one song."""
        n_fonts, n_kits = len(self.soundfonts), len(self.kits)
        acoustic = part.is_drums and family == "drums" and part.program in _KIT_PROGRAMS
        is_kit = acoustic and n_kits > 0 and rng.random() < n_kits / (n_fonts + n_kits)
        fonts = self.kits if is_kit else self.soundfonts
        font = fonts[int(rng.integers(len(fonts)))]
        amplifier, drive_db = None, 0.0
        if self.amplifiers and rng.random() < _AMPLIFIED.get(family, 0.0):
            amplifier = self.amplifiers[int(rng.integers(len(self.amplifiers)))]
            drive_db = rng.uniform(6.0, 24.0) if part.name in _DRIVEN or rng.random() < 0.3 else 0.0
        bands = tuple(
            (float(np.exp(rng.uniform(np.log(80), np.log(12_000)))), rng.uniform(-6.0, 6.0), rng.uniform(0.5, 1.5))
            for _ in range(int(rng.integers(3)))
        )
        compression = rng.uniform(0.2, 0.9) if rng.random() < 0.35 else 0.0
        return Rig(font, is_kit, amplifier, drive_db, bands, compression)

    def draw_room(self, rng: np.random.Generator) -> Path | None:
        """A recorded room for a third of the songs where there is any."""
        if not self.rooms or rng.random() > 1 / 3:
            return None
        return self.rooms[int(rng.integers(len(self.rooms)))]


def find_sounds(paths: Iterable[str | os.PathLike[str]]) -> Sounds:
    """Sort soundfonts (.sf2, .sf3) and impulse responses (.wav, .flac) by what they are.

    Args:
        paths: files, or folders that are searched with their subfolders. Soundfonts of a folder that are neither
            General MIDI nor a drum kit are left out.

    Raises:
        InputError: nothing there, a file that cannot be used, or no General MIDI soundfont among them.
    """
    found: dict[str, list[Path]] = {"soundfonts": [], "kits": [], "amplifiers": [], "rooms": []}
    for given in map(Path, paths):
        if not given.exists():
            raise InputError(f"There is no '{given}'; name soundfonts, impulse responses or folders of them.")
        for path in _files(given):
            kind = _kind(path)
            if kind is not None:
                found[kind].append(path)
            elif path == given:
                raise InputError(f"'{path}' is neither a General MIDI soundfont nor one drum kit.")
            else:
                _log.info("'%s' is neither a General MIDI soundfont nor one drum kit: left out.", path)
    if not found["soundfonts"]:
        raise InputError("There is no General MIDI soundfont (.sf2, .sf3) among the sounds; name one.")
    return Sounds(**{kind: tuple(dict.fromkeys(files)) for kind, files in found.items()})


def read_response(path: Path, sample_rate: int) -> np.ndarray:
    """An impulse response [2, T] float32 at `sample_rate`, of unit energy, without the silence before it."""
    from accompany import audio

    clip = audio.read(path, max_seconds=_LONGEST_S)
    samples = audio.to_channels(audio.resample(clip.samples, clip.sample_rate, sample_rate), 2)
    level = np.abs(samples).max(axis=0)
    first = int(np.argmax(level > 0.02 * level.max()))
    samples = samples[:, first:]
    energy = np.sqrt(np.square(samples).sum(axis=1).mean())
    return np.asarray(samples / max(float(energy), 1e-9), np.float32)


def amplify(samples: np.ndarray, response: np.ndarray, drive_db: float) -> np.ndarray:
    """Soft clipping with `drive_db` of gain, then the cabinet. samples: [2, T]; response: [2, R]; gives [2, T]."""
    from scipy.signal import oaconvolve

    peak = max(float(np.abs(samples).max()), 1e-9)
    driven = samples / peak
    if drive_db > 0:
        gain = 10 ** (drive_db / 20)
        driven = np.tanh(driven * gain) / np.tanh(gain)
    # A cabinet has one loudspeaker: both channels get its first response.
    return np.asarray(peak * oaconvolve(driven, response[:1], axes=1)[:, : samples.shape[1]], np.float32)


def _files(given: Path) -> list[Path]:
    inside = sorted(given.rglob("*")) if given.is_dir() else [given]
    return [path for path in inside if path.suffix.lower() in _FONTS + _RESPONSES or (path == given and path.is_file())]


def _kind(path: Path) -> str | None:
    if path.suffix.lower() in _FONTS:
        presets = read_presets(path)
        melodic = {program for bank, program in presets if bank == 0}
        if len(melodic) >= _GENERAL_MIDI_PROGRAMS:
            return "soundfonts"
        return "kits" if len(presets) == 1 else None
    from accompany import audio

    return "rooms" if audio.info(path).seconds >= _ROOM_S else "amplifiers"


def read_presets(path: Path) -> list[tuple[int, int]]:
    """(bank, program) of each preset of a soundfont; InputError when the file is no soundfont."""
    try:
        with path.open("rb") as file:
            start = file.read(12)
            if start[:4] != b"RIFF" or start[8:] != b"sfbk":
                raise ValueError("no RIFF sfbk header")
            headers = _preset_headers(file)
    except (OSError, ValueError, struct.error) as error:
        raise InputError(f"Cannot read the soundfont '{path}' ({error}); is it a complete file?") from error
    # The last header only marks the end.
    return [(bank, program) for program, bank in (struct.unpack_from("<20xHH", h) for h in headers[:-1])]


def _preset_headers(file: BinaryIO) -> list[bytes]:
    """The 38-byte records of the chunk `phdr`, found by walking the RIFF chunks."""
    while True:
        name, size = struct.unpack("<4sI", file.read(8))
        if name == b"LIST" and file.read(4) == b"pdta":
            continue
        if name == b"phdr":
            content = file.read(size)
            return [content[at : at + 38] for at in range(0, len(content) - 37, 38)]
        file.seek(size + size % 2 - (4 if name == b"LIST" else 0), os.SEEK_CUR)
