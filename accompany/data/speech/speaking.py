"""The spoken half of a bank: every voice speaks its lines, one file each."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from accompany.common.files import complete
from accompany.data.speech.lines import LINES, lines_of
from accompany.data.speech.speakers import Kokoro, Piper, Speech

STYLES = "styles"
_SPEECH = "speech"
_PIPER_VOICE = "joe"
_FULL_SCALE = 32_767


def voices_of(bank: Path) -> dict[str, Path | None]:
    """Voices that a bank can speak with: the Piper voice, and Kokoro's by the styles `*.bin` in its folder."""
    found: dict[str, Path | None] = {_PIPER_VOICE: None}
    found.update({path.stem: path for path in sorted((bank / STYLES).glob("*.bin"))})
    return found


def speech_file(bank: Path, voice: str, line: int) -> Path:
    """Where a spoken line lies."""
    return bank / _SPEECH / voice / f"{line:02d}.npz"


def speak_missing(bank: Path, n_lines: int) -> Iterator[tuple[str, int]]:
    """Speak what is missing of the first `n_lines` lines of every voice, the voices in turn; yields what is done."""
    voices = voices_of(bank)
    orders = [lines_of(number) for number in range(len(voices))]
    for place in range(min(n_lines, len(LINES))):
        for (voice, style), order in zip(voices.items(), orders, strict=True):
            path = speech_file(bank, voice, order[place])
            if not path.exists():
                write_speech(path, _speak(LINES[order[place]], style))
            yield voice, order[place]


def _speak(text: str, style: Path | None) -> Speech:
    if style is None:
        return _piper().speak(text)
    return _kokoro().speak(text, np.fromfile(style, "<f4").reshape(-1, 1, 256))


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
    """Read a spoken line."""
    with np.load(path, allow_pickle=False) as stored:
        samples = stored["samples"].astype(np.float32) / _FULL_SCALE
        return Speech(samples, int(stored["rate"]), tuple(stored["symbols"].tolist()), stored["starts_s"])
