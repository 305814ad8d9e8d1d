"""Analysis of a vocal as JSON that can be edited: tempo, beats, key, chords and sections, each with a lock.

What is locked is played as it stands in the file; what is unlocked is predicted anew around it. `accompany analyse`
writes everything locked.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from accompany.common.checks import check_number, check_text, shown
from accompany.common.config import read_json
from accompany.common.folders import save_json, sha256
from accompany.errors import InputError
from accompany.generation.pipeline import extract_features, features_to_plan
from accompany.generation.planning import Known, make_plan, predict_plan
from accompany.generation.prompts import Section
from accompany.generation.sections import find_sections
from accompany.generation.settings import Settings
from accompany.music.harmony import key_index, key_label
from accompany.music.plan import Plan, Reading
from accompany.music.plan_files import LONGEST_S, check_plan
from accompany.music.sung_notes import SungNote, notes_within, read_notes

if TYPE_CHECKING:
    from accompany.models.pretrained import Bundle

FORMAT = "accompany analysis 1"
_DIGITS = 4
_LENGTH_S = 0.05
"""Difference of length that resampling and rounding may make."""


@dataclass(frozen=True)
class Analysis:
    """A plan with its sections, and which of its parts may be predicted anew.

    Attributes:
        plan: beats, bars, chords, key.
        sections: (start_s, end_s, name), guesses: see `accompany.generation.sections`.
        seconds: length of the vocal.
        notes: the sung notes, where they were transcribed or given.
        open_parts: any of "tempo", "beats", "key": to be predicted anew.
        open_chords: indices of the plan's chords that are to be predicted again.
        vocal_sha256: of the recording, where it was a file.
    """

    plan: Plan
    sections: tuple[Section, ...]
    seconds: float
    open_parts: frozenset[str] = frozenset()
    open_chords: frozenset[int] = frozenset()
    notes: tuple[SungNote, ...] = ()
    vocal_sha256: str = ""

    @property
    def is_locked(self) -> bool:
        """Whether all parts are locked."""
        return not self.open_parts and not self.open_chords

    @property
    def known(self) -> Known:
        """The locked parts."""
        plan, chords = self.plan, self.plan.chords
        grid = "beats" not in self.open_parts
        return Known(
            bpm=None if grid or "tempo" in self.open_parts else plan.tempo_bpm,
            beats_s=plan.beats_s if grid else (),
            downbeats_s=plan.downbeats_s if grid else (),
            beats_per_bar=plan.beats_per_bar,
            key=None if "key" in self.open_parts else plan.key,
            chords=tuple(chord for index, chord in enumerate(chords) if index not in self.open_chords),
        )

    def check_vocal(self, seconds: float, recording: str | os.PathLike[str] | None = None) -> None:
        """InputError for a vocal of another length, or, where it is a file, for another recording."""
        is_known = recording is not None and bool(self.vocal_sha256)
        if recording is not None and is_known and self.vocal_sha256 == sha256(Path(recording)):
            return
        if abs(seconds - self.seconds) > _LENGTH_S:
            raise InputError(
                f"The analysis is that of a vocal of {self.seconds:.2f} s, and {recording or 'the vocal'} has "
                f"{seconds:.2f} s; analyse this one."
            )
        if is_known:
            raise InputError(
                f"The analysis is that of another recording than {recording}; analyse this one, or take the line "
                "vocal_sha256 out of the analysis."
            )

    def as_dict(self) -> dict[str, Any]:
        """The content of the JSON file."""
        plan = self.plan
        tempo = {"bpm": _rounded(plan.tempo_bpm), "beats_per_bar": plan.beats_per_bar,
                 "confidence": _rounded(plan.tempo_confidence)}  # fmt: skip
        beats = {"times": [round(time, _DIGITS) for time in plan.beats_s],
                 "downbeats": [round(time, _DIGITS) for time in plan.downbeats_s],
                 "confidence": _rounded(plan.beat_confidence)}  # fmt: skip
        chords = [{"start": round(start, _DIGITS), "end": round(end, _DIGITS), "chord": label,
                   "locked": index not in self.open_chords}
                  for index, (start, end, label) in enumerate(plan.chords)]  # fmt: skip
        return {
            "format": FORMAT,
            "seconds": round(self.seconds, _DIGITS),
            **({"vocal_sha256": self.vocal_sha256} if self.vocal_sha256 else {}),
            "tempo": {**tempo, "locked": "tempo" not in self.open_parts},
            "beats": {**beats, "locked": "beats" not in self.open_parts},
            "key": {
                "name": plan.key,
                "confidence": _rounded(plan.key_confidence),
                "locked": "key" not in self.open_parts,
            },
            "chords": chords,
            "chord_confidence": _rounded(plan.chord_confidence),
            "sections": [
                {"start": round(a, _DIGITS), "end": round(b, _DIGITS), "name": n} for a, b, n in self.sections
            ],
            "notes": [note.row for note in self.notes],
            "reading": plan.reading,
            "readings": [
                {**asdict(each), "tempo_bpm": _rounded(each.tempo_bpm), "probability": _rounded(each.probability)}
                for each in plan.readings
            ],
        }

    def save_midi(self, path: str | os.PathLike[str]) -> None:
        """Write tempo map, chords, beats and sung notes as MIDI. InputError where there are no beats."""
        from accompany.sound.midi import write_midi

        write_midi(path, self.plan, self.seconds, self.notes)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the JSON file. InputError when the folder is missing or not writable."""
        save_json(path, self.as_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Analysis:
        """Read the JSON file, edited or not. InputError names what cannot be read."""
        content = read_json(path)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise InputError(f"{path} is no chord file; make one with accompany analyse, then edit it.")
        try:
            return cls.from_dict(content)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(f"Cannot read {path} ({error!r}); compare it with a new one.") from error
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Analysis:
        """The inverse of `as_dict`. InputError for a label that is none; KeyError, TypeError, ValueError for others."""
        tempo, beats, key = content["tempo"], content["beats"], content["key"]
        chords = _checked(
            [(float(each["start"]), float(each["end"]), str(each["chord"])) for each in content["chords"]]
        )
        plan = Plan(
            beats_s=tuple(map(float, beats["times"])),
            downbeats_s=tuple(map(float, beats["downbeats"])),
            chords=chords,
            key=None if key["name"] is None else key_label(key_index(key["name"])),
            tempo_bpm=None if tempo["bpm"] is None else float(tempo["bpm"]),
            beats_per_bar=int(tempo.get("beats_per_bar", 4)),
            tempo_confidence=tempo.get("confidence"),
            beat_confidence=beats.get("confidence"),
            key_confidence=key.get("confidence"),
            chord_confidence=content.get("chord_confidence"),
            readings=tuple(Reading(**each) for each in content.get("readings", ())),
            reading=content.get("reading", 1),
        )
        check_plan(plan)
        if len(plan.beats_s) == 1:
            raise InputError("One beat makes no tempo; give two or more times, or none.")
        seconds = float(content["seconds"])
        check_number("length in seconds", seconds, 0, LONGEST_S)
        parts = {"tempo": tempo, "beats": beats, "key": key}
        for part in (*parts.values(), *content["chords"]):
            if not isinstance(part.get("locked", True), bool):
                raise InputError(f"'locked' must be true or false, not {shown(part['locked'])}.")
        is_open = frozenset(name for name, part in parts.items() if not part.get("locked", True))
        if "beats" in is_open and "tempo" not in is_open:
            Settings(bpm=plan.tempo_bpm)  # the tempo that the beats are tracked at
        open_chords = frozenset(index for index, each in enumerate(content["chords"]) if not each.get("locked", True))
        sections = tuple((float(s["start"]), float(s["end"]), str(s["name"])) for s in content.get("sections", ()))
        for start, end, name in sections:
            if not 0 <= start < end <= LONGEST_S:
                raise InputError(f"The section '{name[:40]}' at {start:g} s must end after it starts.")
        check_text("vocal_sha256", vocal_sha256 := content.get("vocal_sha256", ""))
        notes = read_notes(content.get("notes", ()))
        return cls(plan, sections, seconds, is_open, open_chords, notes, vocal_sha256)


def analyze_vocal(
    bundle: Bundle,
    voice: np.ndarray,
    settings: Settings,
    edited: Analysis | None = None,
    recording: str | os.PathLike[str] | None = None,
) -> Analysis:
    """Analyze a voice [1, T] at the codec's rate, around what the settings and an edited analysis say.

    `recording` is the file that it was read from. InputError where the edited analysis is that of another vocal.
    """
    import torch

    seconds = voice.shape[-1] / bundle.codec.sample_rate
    if edited is not None:
        edited.check_vocal(seconds, recording)
    with torch.inference_mode():
        features = extract_features(bundle, voice)
        if edited is None:
            plan = make_plan(bundle.listener, features_to_plan(bundle, features, settings), settings)
        else:
            plan = edited.plan if edited.is_locked else predict_plan(bundle.listener, features, edited.known)
    melody = features[0, :, : bundle.melody.dim].float().cpu().numpy()
    sections = edited.sections if edited and edited.sections else find_sections(melody, bundle.melody.frame_rate, plan)
    notes = read_notes(settings.melody) if settings.melody else edited.notes if edited else ()
    vocal_sha256 = "" if recording is None else sha256(Path(recording))
    return Analysis(plan, sections, seconds, notes=notes_within(notes, seconds), vocal_sha256=vocal_sha256)


def shorten(chords: Sequence[tuple[float, float, str]], most: int = 8) -> str:
    """The first chords as one line of text."""
    labels = [label for _, _, label in chords]
    return " ".join(labels[:most]) + (" ..." if len(labels) > most else "")


def default_path(vocals: str | os.PathLike[str]) -> Path:
    """Default output path of `accompany analyse` for a vocal."""
    return Path(f"{Path(vocals).stem}.analysis.json")


def _checked(chords: list[tuple[float, float, str]]) -> tuple[tuple[float, float, str], ...]:
    for (start, end, label), following in zip(chords, [*chords, None][1:], strict=True):
        if end <= start or (following is not None and following[0] < end - 1e-6):
            raise InputError(
                f"the chord {label} at {start:g} s must end after it starts, and before the next one starts"
            )
    return tuple(chords)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)
