"""Voice bank: lines spoken by neural voices once, analysed, and cut into the syllables of thousands of songs."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from accompany.data.songs.score import Note
from accompany.data.songs.syllables import SungSyllable
from accompany.data.speech.frames import SpokenLine, Tracker, analyse_line, read_line, write_line
from accompany.data.speech.speaking import read_speech, speak_missing, speech_file
from accompany.errors import InputError

USUAL_LINES = 8
_SUNG = "sung"
_CANDIDATES = 4
# How much longer the vocal tract of the second kind of singer is than that of a speaking woman or man.
_GROWN = {
    "f": {"soprano": 1.02, "alto": 0.98, "child": 1.12, "tenor": 0.88, "baritone": 0.85, "bass": 0.83},
    "m": {"soprano": 1.2, "alto": 1.15, "child": 1.3, "tenor": 1.03, "baritone": 1.0, "bass": 0.95},
}
_HIGH = frozenset({"soprano", "alto", "child"})
_SAME_SEX = 0.85


@dataclass(frozen=True)
class Speaker:
    """One voice of a bank.

    name: "joe", or that of a style of Kokoro such as "af_heart"; grown: formants of the singer over the speaker's;
    lines: files of its analysed lines.
    """

    name: str
    grown: float
    lines: tuple[Path, ...]

    def words(self, phrases: Sequence[Sequence[tuple[Note, ...]]], seed: int) -> list[SungSyllable]:
        """Syllables for the notes of phrases: whole lines or halves of them, one phrase after the other.

        Of a few places in the lines, one is taken where stressed syllables meet long notes. Phrases with equal
        words in the score get equal ones here.

        Args:
            phrases: the notes of each syllable, phrase by phrase.
            seed: of the singer.
        """
        found: list[SungSyllable] = []
        for phrase in phrases:
            text = "/".join(group[0].syllable or "ah" for group in phrase)
            rng = np.random.default_rng([seed, zlib.crc32(text.encode())])
            lengths = np.log([max(group[-1].end_s - group[0].start_s, 0.05) for group in phrase])
            options = [self._run(len(phrase), rng) for _ in range(_CANDIDATES)]
            fits = [float(np.dot(lengths - lengths.mean(), [_weight(*place) for place in each])) for each in options]
            chosen = options[int(np.argmax(fits))]
            for index, (path, number) in enumerate(chosen):
                line, last = _line(path), index == len(chosen) - 1
                follows = not last and chosen[index + 1] == (path, number + 1)
                key = f"{path.stem}.{number}"
                found.append(SungSyllable(key, line.syllable(number), bool(follows and line.joined[number])))
        return found

    def _run(self, count: int, rng: np.random.Generator) -> list[tuple[Path, int]]:
        """`count` syllables in a row, from the beginning of a line or of its second half on, then of other lines."""
        found: list[tuple[Path, int]] = []
        while len(found) < count:
            path = self.lines[int(rng.integers(len(self.lines)))]
            line = _line(path)
            starts = [0, *(np.flatnonzero(~line.joined[:-1]) + 1).tolist()]
            found += [(path, number) for number in range(int(rng.choice(starts)), len(line))]
        return found[:count]


class Bank:
    """The voices of a folder, as far as their lines are analysed."""

    def __init__(self, folder: Path) -> None:
        """List them.

        Raises:
            InputError: there are none.
        """
        self.folder = folder
        self.lines = {path.name: tuple(sorted(path.glob("[0-9]*.npz"))) for path in sorted((folder / _SUNG).glob("*"))}
        self.lines = {name: lines for name, lines in self.lines.items() if lines}
        if not self.lines:
            raise InputError(f"{folder} holds no voices; make them with `accompany synth ... --voices {folder}`.")

    @property
    def facts(self) -> dict[str, object]:
        """Description for `song.json`."""
        return {"voices": len(self.lines), "lines": sum(map(len, self.lines.values()))}

    def speaker(self, kind: str, seed: int) -> Speaker:
        """A voice for a kind of singer, mostly of the sex that sings it; the same arguments give the same voice."""
        rng = np.random.default_rng([seed, 0x5BEA])
        wanted = "f" if (kind in _HIGH) == (rng.random() < _SAME_SEX) else "m"
        names = [name for name in self.lines if _sex(name) == wanted] or list(self.lines)
        name = names[int(rng.integers(len(names)))]
        return Speaker(name, _GROWN[_sex(name)].get(kind, 1.0), self.lines[name])


def make_bank(folder: Path, n_lines: int = USUAL_LINES) -> Iterator[tuple[str, int]]:
    """Speak and analyse what is missing of each voice's first `n_lines` lines; yields (voice, line) as they are done.

    Args:
        folder: gets `speech` and `sung`; its folder `styles` may hold styles of Kokoro, NAME.bin.

    Raises:
        InputError: a package of the extra "voices", or espeak-ng, is missing.
    """
    track = None
    for voice, line in speak_missing(folder, n_lines):
        path = folder / _SUNG / voice / f"{line:02d}.npz"
        if not path.exists():
            track = track or _tracker()
            write_line(path, analyse_line(read_speech(speech_file(folder, voice, line)), track))
        yield voice, line


def _tracker() -> Tracker:
    from accompany.common import extras
    from accompany.data.speech.speakers import EXTRA
    from accompany.encoders.notes import NoteTranscriber

    extras.require(EXTRA, "swift_f0", what="The analysis of spoken lines")
    transcriber = NoteTranscriber()

    def track(samples: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray]:
        curve = transcriber.pitch(samples, rate)
        voiced = curve.voicing > 0.5
        return curve.times_s[voiced], curve.f0_hz[voiced]

    return track


@lru_cache(maxsize=256)
def _line(path: Path) -> SpokenLine:
    return read_line(path)


def _weight(path: Path, number: int) -> float:
    """Stress of a syllable, and length of its vowel as it was spoken, about 0 to 1."""
    line = _line(path)
    _, first, last, _ = line.syllables[number].tolist()
    return 0.6 * bool(line.stress[number]) + min((last - first) / 50.0, 0.5)


def _sex(name: str) -> str:
    """Kokoro's names have a letter for the language, then one for the sex; Piper's Joe is a man."""
    return name[1] if name[2:3] == "_" and name[1] in _GROWN else "m"
