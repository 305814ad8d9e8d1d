"""The options of one generation: a frozen dataclass that refuses values out of range with one clear sentence."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, Union

from accompany.common.checks import check_number, check_text, is_whole, plain, shown
from accompany.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from accompany.music.plan import Plan

_log = logging.getLogger(__name__)

_PROMPT_CHARACTERS = 2000
MOST_SEED = 2**63 - 1
_RANGES: dict[str, tuple[float, float]] = {
    "bpm": (30, 300),
    "temperature": (0, 10),
    "guidance": (0, 20),
    "level_db": (-40, 20),
    "follow": (0, 4),
    "like_strength": (0, 1),
}
_KEY = re.compile(r"[A-G][b#]?:(maj|min)")


@dataclass(frozen=True)
class Settings:
    """Settings of a generation. Two generations with equal settings from the same vocal and model are equal.

    Attributes:
        prompt: style and instruments; empty leaves the choice to the model. It may change with the time or the
            section: `0: solo piano; 12.5: full band; [chorus] loud drums` (`accompany.generation.prompts`).
        seed: 0 or a larger whole number.
        bpm: tempo in beats a minute, 30 to 300; None: predicted.
        key: such as `C:maj` or `A:min`; None: predicted.
        temperature: of the composition, 0 to 10: above 1 bolder, below 1 safer, 0 the likeliest.
        guidance: weight of the prompt, 0 to 20; 1 is none. None, here and above, takes the model's own.
        level_db: loudness of the band against the voice while it sings, -40 to 20 dB.
        chords: one a bar and round again, such as `C G Am F` (`planning.lay_chords`); None: predicted.
        taps: times of beats in seconds, rising, the first on the first beat of a bar; None: predicted.
        follow: weight of voice and plan, times the model's own, 0 (not followed at all) to 4; None is 1.
        like: CLAP embedding of a recording whose style is wanted; None for none.
        like_strength: 0 (the prompt alone) to 1 (the recording alone, which None is).
        melody: the sung notes (start_s, end_s, MIDI pitch), if they are known: beats, bars, chords and key are then
            predicted from them instead of the vocal.
        plan: beats, bars, chords and key to play instead of the predicted ones.
    """

    prompt: str = ""
    seed: int = 0
    bpm: float | None = None
    key: str | None = None
    temperature: float | None = None
    guidance: float | None = None
    level_db: float = -2.0
    chords: str | None = None
    taps: tuple[float, ...] | None = None
    follow: float | None = None
    like: tuple[float, ...] | None = dataclasses.field(default=None, repr=False)
    like_strength: float | None = None
    melody: tuple[tuple[float, float, float], ...] | None = dataclasses.field(default=None, repr=False)
    plan: Plan | None = dataclasses.field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Raise InputError for a value out of range; cut a prompt that no text encoder would read to its end."""
        check_text("prompt", self.prompt)
        holds = is_whole(self.seed) and 0 <= self.seed <= MOST_SEED
        _check(holds, f"The seed {shown(self.seed)}", f"must be 0 or a larger whole number, at most {MOST_SEED}")
        check_number("level_db", self.level_db, *_RANGES["level_db"])
        for name, (low, high) in _RANGES.items():
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), low, high)
        for name in ("seed", *_RANGES):
            object.__setattr__(self, name, plain(getattr(self, name)))
        if self.key is not None:
            check_text("key", self.key)
            allowed = "must be a key such as C:maj, F#:min or Bb:maj"
            _check(_KEY.fullmatch(self.key) is not None, f"The key '{self.key}'", allowed)
        object.__setattr__(self, "prompt", _tidy(self.prompt))
        if ":" in self.prompt:
            from accompany.generation.prompts import read_cues

            read_cues(self.prompt)
        if self.chords is not None:
            from accompany.music.harmony import read_chords

            check_text("line of chords", self.chords)

            read_chords(self.chords)
        if self.taps is not None:
            object.__setattr__(self, "taps", _numbers("taps", self.taps))
            _check_taps(self.taps)
        if self.like is not None:
            object.__setattr__(self, "like", _numbers("like", self.like))
        if self.melody is not None:
            object.__setattr__(self, "melody", _melody(self.melody))
        self._check_together()

    def _check_together(self) -> None:
        if self.plan is not None and (self.bpm is not None or self.key is not None):
            raise InputError("A plan says tempo and key already; give a plan, or bpm and key.")
        if self.plan is not None and (self.chords is not None or self.taps is not None):
            raise InputError("A plan says chords and beats already; give a plan, or chords and taps.")
        if self.plan is not None and self.melody is not None:
            raise InputError("A plan says chords and beats already; give a plan, or the melody to plan for.")
        if self.taps is not None and self.bpm is not None:
            raise InputError("Taps say the tempo already; give taps or bpm.")
        if self.like_strength is not None and self.like is None:
            raise InputError("A like_strength needs a recording to be like; give one, or leave it out.")

    def check_cues(self, seconds: float, name: str) -> None:
        """InputError for a cue that never comes: it lies beyond the end of the vocal `name`, of so many seconds."""
        from accompany.generation.prompts import read_cues

        late = [cue.start_s for cue in read_cues(self.prompt) if cue.start_s and cue.start_s >= seconds]
        if late:
            raise InputError(f"The cue at {late[0]:g} s lies beyond the end of {name} ({seconds:.2f} s).")

    def check_taps(self, seconds: float, name: str) -> None:
        """InputError for a tap that lies beyond the end of the vocal `name`, where the last may be a beat late."""
        if self.taps is not None:
            beat_s = (self.taps[-1] - self.taps[0]) / (len(self.taps) - 1)
            if self.taps[-1] > seconds + beat_s:
                raise InputError(f"The tap at {self.taps[-1]:g} s lies beyond the end of {name} ({seconds:.2f} s).")

    def check_melody(self, seconds: float, name: str) -> None:
        """InputError for a melody that only starts beyond the end of the vocal `name`."""
        if self.melody is not None and self.melody[0][0] >= seconds:
            raise InputError(
                f"The melody's first note, at {self.melody[0][0]:g} s, lies beyond the end of {name} ({seconds:.2f} s)."
            )

    def playing(self, plan: Plan) -> Settings:
        """The same settings with beats, chords and key given by a plan."""
        return dataclasses.replace(self, plan=plan, bpm=None, key=None, chords=None, taps=None, melody=None)

    def as_dict(self) -> dict[str, Any]:
        """Values that differ from the defaults, ready for JSON."""
        values = dataclasses.asdict(self)
        defaults = dataclasses.asdict(Settings())
        return {name: value for name, value in values.items() if value != defaults[name] or name in ("prompt", "seed")}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """The settings in what `as_dict` gave, by way of JSON. InputError for what cannot be one."""
        from accompany.music.plan import plan_from_dict

        try:
            given = {str(name): value for name, value in values.items()}
            if given.get("plan") is not None:
                given["plan"] = plan_from_dict(given["plan"])
            return cls(**given)
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
            raise InputError(f"The settings cannot be read ({error}); give what accompany wrote.") from error


class Options(TypedDict, total=False):
    """Keyword options of `Band.generate` and its siblings: see `Settings`."""

    seed: int
    bpm: float | None
    key: str | None
    temperature: float | None
    guidance: float | None
    level_db: float
    chords: str | None
    taps: tuple[float, ...] | None
    follow: float | None
    like: Union[str, os.PathLike[str], tuple[np.ndarray, int], None]  # noqa: UP007
    like_strength: float | None
    melody: tuple[tuple[float, float, float], ...] | None
    plan: Plan | None


def _check_taps(taps: tuple[float, ...]) -> None:
    rising = all(later > earlier for earlier, later in itertools.pairwise(taps))
    _check(
        len(taps) >= 2 and rising and taps[0] >= 0, "The taps", "must be two or more times in seconds, rising from 0"
    )
    mean_bpm = 60 * (len(taps) - 1) / (taps[-1] - taps[0])
    check_number("tempo of the taps,", mean_bpm, *_RANGES["bpm"])


def _numbers(name: str, values: Any) -> tuple[float, ...]:
    """Finite numbers as a tuple; InputError for others."""
    try:
        given = () if isinstance(values, (str, bytes)) else tuple(float(value) for value in values)
    except (TypeError, ValueError, OverflowError):
        given = ()
    _check(bool(given) and all(map(math.isfinite, given)), f"The {name} {shown(values)}", "must be finite numbers")
    return given


def _melody(rows: Any) -> tuple[tuple[float, float, float], ...]:
    """Known notes, checked."""
    from accompany.music.sung_notes import read_notes

    _check(isinstance(rows, (list, tuple)), f"The melody {shown(rows)}", "must be notes: (start_s, end_s, MIDI pitch)")
    try:
        notes = read_notes(rows)
    except InputError as error:
        raise InputError(f"The melody cannot be followed: {error}.") from error
    _check(bool(notes), "The melody", "must have a note")
    return tuple((note.start_s, note.end_s, note.pitch) for note in notes)


def _check(holds: bool, what: str, allowed: str) -> None:
    if not holds:
        raise InputError(f"{what} {allowed}.")


def _tidy(prompt: str) -> str:
    """Whitespace folded, what is no text replaced, and the length bounded."""
    text = " ".join(prompt.encode("utf-8", "replace").decode("utf-8").split())
    if len(text) > _PROMPT_CHARACTERS:
        _log.warning("The prompt is long; its first %d characters are read.", _PROMPT_CHARACTERS)
    return text[:_PROMPT_CHARACTERS]
