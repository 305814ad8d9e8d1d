"""The settings of one generation, where every control is declared once: meaning, range, unit and default."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, Union

from accompany.common.checks import check_number, check_text, check_whole, plain
from accompany.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from accompany.music.plan import Plan

_log = logging.getLogger(__name__)

_PROMPT_CHARACTERS = 2000
MOST_SEED = 2**63 - 1
MOST_TAKES = 64
_PLAN_LATE_S = 5.0
_KEY = re.compile(r"[A-G][b#]?:(maj|min)")


@dataclass(frozen=True)
class Control:
    """What the command line, the HTTP API and error messages say of one field of `Settings`.

    Attributes:
        help: a phrase for a list of options.
        low, high: range of a number, both allowed; None for other values.
        unit: of the number.
        option: of the command line, without dashes; the field's name where empty.
        metavar: of that option.
        file: what a file given to that option in place of a text may be; empty where only texts are taken.
        longest: characters of a text, or values of a list, that a server takes.
        whole: whether it is a whole number.
    """

    help: str
    low: float | None = None
    high: float | None = None
    unit: str = ""
    option: str = ""
    metavar: str = "X"
    file: str = ""
    longest: int | None = None
    whole: bool = False


def _control(default: Any, help: str, *, shown: bool = True, **more: Any) -> Any:
    """A field of `Settings` with its `Control`."""
    return dataclasses.field(default=default, repr=shown, metadata={"control": Control(help, **more)})


@dataclass(frozen=True)
class Settings:
    """Settings of a generation. Two generations with equal settings from the same vocal and model are equal.

    Every control is declared here, once; None leaves it to the model. `CONTROLS` has them by name.
    """

    prompt: str = _control(
        "", "style and instruments in plain English; with times or sections where it changes", metavar="TEXT"
    )
    seed: int = _control(0, "the same seed gives the same band", low=0, high=MOST_SEED, metavar="N", whole=True)
    bpm: float | None = _control(None, "tempo, when you know it", low=30, high=300, unit="beats a minute")
    key: str | None = _control(None, "key, when you know it, such as C:maj or A:min", metavar="KEY", longest=20)
    temperature: float | None = _control(
        None, "above 1 bolder, below 1 safer, 0 the likeliest; the model has its own", low=0, high=10
    )
    guidance: float | None = _control(None, "weight of the prompt; 1 is none; the model has its own", low=0, high=20)
    level_db: float = _control(
        -2.0,
        "loudness of the band against the voice while it sings (default -2)",
        low=-40,
        high=20,
        unit="dB",
        option="level",
        metavar="DB",
    )
    chords: str | None = _control(
        None,
        "one a bar and round again, such as 'C G Am F' or 'C | G Am'",
        metavar="TEXT",
        file="a file of accompany analyse, edited",
        longest=2000,
    )
    taps: tuple[float, ...] | None = _control(
        None,
        "times of beats in seconds, the first on a first beat, such as '0.52 1.1 1.71'",
        metavar="TEXT",
        file="a text file of them",
        longest=5000,
    )
    metre: int | None = _control(
        None, "beats of a bar, when you know it, such as 3 for a waltz", low=2, high=7, metavar="N", whole=True
    )
    follow: float | None = _control(
        None, "weight of voice and plan, times the model's own; 0 follows neither (default 1)", low=0, high=4
    )
    like: tuple[float, ...] | None = _control(None, "a recording whose style is wanted", shown=False, metavar="FILE")
    like_strength: float | None = _control(
        None, "0 is the prompt alone, 1 the recording alone (default 1)", low=0, high=1, option="like-strength"
    )
    melody: tuple[tuple[float, float, float], ...] | None = _control(
        None,
        "MIDI file of the sung notes, when you have it: beats and chords then follow these",
        shown=False,
        metavar="FILE",
    )
    reading: int | None = _control(
        None,
        "which of the likeliest readings of beat and key to play (default 1)",
        low=1,
        high=4,
        metavar="N",
        whole=True,
    )
    mute: tuple[str, ...] | None = _control(
        None,
        "stems to leave out (drums, bass, other), or 'none' to keep even those that the prompt excludes",
        metavar="STEMS",
    )
    plan: Plan | None = dataclasses.field(default=None, repr=False)
    """Beats, bars, chords and key to play in place of those predicted. `like` is the CLAP embedding of a recording,
    `melody` the sung notes (start_s, end_s, MIDI pitch)."""

    def __post_init__(self) -> None:
        """Raise InputError for a value out of range; cut a prompt that no text encoder would read to its end."""
        self._check_numbers()
        check_text("prompt", self.prompt)
        if self.key is not None:
            check_text("key", self.key)
            if not _KEY.fullmatch(self.key):
                raise InputError(f"The key '{self.key}' must be a key such as C:maj, F#:min or Bb:maj.")
        object.__setattr__(self, "prompt", _tidy(self.prompt))
        if ":" in self.prompt:
            from accompany.generation.prompts import read_cues

            read_cues(self.prompt)
        for name in ("chords", "taps", "like", "melody", "mute"):
            if (value := getattr(self, name)) is not None:
                from accompany.generation.given_controls import CHECKS  # which most generations do without

                object.__setattr__(self, name, CHECKS[name](value))
        if self.taps is not None:
            mean_bpm, bpm = 60 * (len(self.taps) - 1) / (self.taps[-1] - self.taps[0]), CONTROLS["bpm"]
            check_number("tempo of the taps,", mean_bpm, bpm.low or 0, bpm.high or 0, bpm.unit)
        self._check_together()

    def _check_numbers(self) -> None:
        for field in dataclasses.fields(self):
            control, value = field.metadata.get("control"), getattr(self, field.name)
            if control is None or control.low is None or (value is None and field.default is None):
                continue
            if control.whole:
                check_whole(field.name, value, control.low, control.high)
            else:
                check_number(field.name, value, control.low, control.high, control.unit)
            object.__setattr__(self, field.name, plain(value))

    def _check_together(self) -> None:
        if self.plan is not None and (self.bpm is not None or self.key is not None):
            raise InputError("A plan says tempo and key already; give a plan, or bpm and key.")
        if self.plan is not None and (self.chords is not None or self.taps is not None):
            raise InputError("A plan says chords and beats already; give a plan, or chords and taps.")
        if self.plan is not None and self.metre is not None:
            raise InputError("A plan says the bars already; give a plan, or the metre.")
        if self.plan is not None and self.melody is not None:
            raise InputError("A plan says chords and beats already; give a plan, or the melody to plan for.")
        if self.plan is not None and self.reading is not None:
            raise InputError("A plan is one reading already; give a plan, or the number of a reading.")
        if self.taps is not None and self.bpm is not None:
            raise InputError("Taps say the tempo already; give taps or bpm.")
        if self.like_strength is not None and self.like is None:
            raise InputError("A like_strength needs a recording to be like; give one, or leave it out.")

    @property
    def is_timed(self) -> bool:
        """Whether the prompt changes with the time or the section."""
        if ":" not in self.prompt and "[" not in self.prompt:
            return False
        from accompany.generation.prompts import is_timed

        return is_timed(self.prompt)

    def check_cues(self, seconds: float, name: str) -> None:
        """InputError for a cue that never comes: it lies beyond the end of the vocal `name`, of so many seconds."""
        if ":" not in self.prompt:
            return
        from accompany.generation.prompts import read_cues

        late = [cue.start_s for cue in read_cues(self.prompt) if cue.start_s and cue.start_s >= seconds]
        if late:
            raise InputError(f"The cue at {late[0]:g} s lies beyond the end of {name} ({seconds:.2f} s).")

    def check_within(self, seconds: float, name: str) -> None:
        """InputError for taps, a melody or a plan beyond the end of the vocal `name`: those of another one."""
        ends: list[tuple[str, float, float]] = []
        if self.taps is not None:
            ends.append(("tap", self.taps[-1], (self.taps[-1] - self.taps[0]) / (len(self.taps) - 1)))
        if self.melody is not None:
            ends.append(("melody's first note", self.melody[0][0], 0.0))
        if self.plan is not None:
            ends += [("plan's last beat", beat, _PLAN_LATE_S) for beat in self.plan.beats_s[-1:]]
            ends += [("plan's last chord", start, _PLAN_LATE_S) for start, _, _ in self.plan.chords[-1:]]
        for what, time_s, late_s in ends:
            if time_s >= seconds + late_s:
                raise InputError(f"The {what} at {time_s:g} s lies beyond the end of {name} ({seconds:.2f} s).")

    def playing(self, plan: Plan) -> Settings:
        """The same settings with beats, chords and key given by a plan."""
        return dataclasses.replace(
            self, plan=plan, bpm=None, key=None, chords=None, taps=None, metre=None, melody=None, reading=None
        )

    def as_dict(self) -> dict[str, Any]:
        """Values that differ from the defaults, ready for JSON."""
        values = dataclasses.asdict(self)
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if value != defaults[name] or name in ("prompt", "seed")}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """The settings in what `as_dict` gave, by way of JSON. InputError for what cannot be one."""
        from accompany.music.plan_files import plan_from_dict

        try:
            given = {str(name): value for name, value in values.items()}
            if given.get("plan") is not None:
                given["plan"] = plan_from_dict(given["plan"])
            return cls(**given)
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
            raise InputError(f"The settings cannot be read ({error}); give what accompany wrote.") from error


CONTROLS: dict[str, Control] = {
    field.name: field.metadata["control"] for field in dataclasses.fields(Settings) if "control" in field.metadata
}
"""Every control by the name of its field."""


class Options(TypedDict, total=False):
    """Keyword options of `Band.generate` and its siblings: the fields of `Settings`, which says what each is."""

    seed: int
    bpm: float | None
    key: str | None
    temperature: float | None
    guidance: float | None
    level_db: float
    chords: str | None
    taps: tuple[float, ...] | None
    metre: int | None
    follow: float | None
    like: Union[str, os.PathLike[str], tuple[np.ndarray, int], None]  # noqa: UP007
    like_strength: float | None
    melody: tuple[tuple[float, float, float], ...] | None
    reading: int | None
    mute: str | Sequence[str] | None
    plan: Plan | None


def _tidy(prompt: str) -> str:
    """Whitespace folded, what is no text replaced, and the length bounded."""
    text = " ".join(prompt.encode("utf-8", "replace").decode("utf-8").split())
    if len(text) > _PROMPT_CHARACTERS:
        _log.warning("The prompt is long; its first %d characters are read.", _PROMPT_CHARACTERS)
    return text[:_PROMPT_CHARACTERS]
