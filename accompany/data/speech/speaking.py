"""The spoken half of a bank: every voice speaks its lines, one file each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from accompany.common.files import complete
from accompany.data.speech.lines import LINES, lines_of
from accompany.data.speech.speakers import PIPER_VOICE, Kokoro, Piper, Speech, installed_styles
from accompany.errors import InputError

STYLES = "styles"
_SPEECH = "speech"
_FULL_SCALE = 32_767


def voices_of(bank: Path) -> tuple[str, ...]:
    """Voices that a bank can speak with: Piper's, and Kokoro's by the styles that are installed or in its folder."""
    return (PIPER_VOICE, *sorted({*installed_styles(), *(path.stem for path in (bank / STYLES).glob("*.bin"))}))


def speech_file(bank: Path, voice: str, line: int) -> Path:
    """Where a spoken line lies."""
    return bank / _SPEECH / voice / f"{line:02d}.npz"


def speak_missing(bank: Path, n_lines: int) -> Iterator[tuple[str, int]]:
    """Speak until every voice has `n_lines` lines, the voices in turn; yields (voice, line), also for those there."""
    voices = voices_of(bank)
    for place in range(min(n_lines, len(LINES))):
        for voice in voices:
            order = lines_of(voice)
            there = [line for line in order if speech_file(bank, voice, line).exists()]
            if len(there) > place:
                yield voice, there[place]
                continue
            line = next(line for line in order if line not in there)
            write_speech(speech_file(bank, voice, line), _speak(LINES[line], voice, bank))
            yield voice, line


def _speak(text: str, voice: str, bank: Path) -> Speech:
    if voice == PIPER_VOICE:
        return _piper().speak(text)
    path = bank / STYLES / f"{voice}.bin"
    if not path.exists():
        return _kokoro().speak(text, installed_styles()[voice])
    with reading(path):
        style = np.fromfile(path, "<f4").reshape(-1, 1, 256)
    if not style.size:
        raise InputError(f"{path} is empty; delete it, or copy the style again.")
    return _kokoro().speak(text, style)


@lru_cache(maxsize=1)
def _kokoro() -> Kokoro:
    return Kokoro()


@lru_cache(maxsize=1)
def _piper() -> Piper:
    return Piper()


def write_speech(path: Path, speech: Speech) -> None:
    """Write a spoken line, all or nothing, as 16-bit samples."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.rint(np.clip(speech.samples, -1.0, 1.0) * _FULL_SCALE).astype(np.int16)
    with complete(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file, samples=samples, rate=speech.sample_rate, symbols=np.array(speech.symbols), starts_s=speech.starts_s
        )


def read_speech(path: Path) -> Speech:
    """Read a spoken line; InputError for a damaged file."""
    with reading(path), np.load(path, allow_pickle=False) as stored:
        samples = stored["samples"].astype(np.float32) / _FULL_SCALE
        return Speech(samples, int(stored["rate"]), tuple(stored["symbols"].tolist()), stored["starts_s"])


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong with a file of a bank into an InputError that says what to do."""
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError, EOFError, BadZipFile) as error:
        raise InputError(f"{path} is damaged ({error}); delete it, and it is made again if it can be.") from error
