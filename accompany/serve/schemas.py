"""Requests and answers of the HTTP API, from which its documentation is made."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from accompany.generation.settings import CONTROLS, Settings
from accompany.serve.disk import public
from accompany.serve.jobs import Job, JobQueue
from accompany.serve.store import StoredTake, Vocal
from accompany.serve.work import MOST_TAKES, REQUESTED

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

State = Literal["queued", "running", "done", "failed", "cancelled"]


def _control(name: str, default: Any = None, **more: Any) -> Any:
    """The field of a request for a control, documented as `accompany.generation.settings` declares it.

    `Settings` checks the value, with the sentences of the command line.
    """
    control = CONTROLS[name]
    bounds = {"minimum": control.low, "maximum": control.high, "unit": control.unit}
    extra: dict[str, Any] = {word: value for word, value in bounds.items() if value not in (None, "")}
    return Field(default, description=control.help, max_length=control.longest, json_schema_extra=extra or None, **more)


class TakeRequest(BaseModel):
    """How the band shall play. What is left out is predicted from the vocal, or drawn."""

    model_config = _STRICT

    prompt: str = _control("prompt", "", examples=["solo piano, no drums", "0: solo piano; 12.5: full band"])
    takes: int = Field(1, description=f"how many, 1 to {MOST_TAKES}, with one seed after the other")
    seed: int | None = _control("seed")
    bpm: float | None = _control("bpm")
    key: str | None = _control("key")
    chords: str | None = _control("chords")
    taps: list[float] | None = _control("taps")
    metre: int | None = _control("metre")
    reading: int | None = _control("reading")
    temperature: float | None = _control("temperature")
    guidance: float | None = _control("guidance")
    mute: list[str] | None = _control("mute", examples=[["drums"]])


class RetakeRequest(BaseModel):
    """A region of a take to be made again."""

    model_config = _STRICT

    start_s: float = Field(description="where it begins, in seconds")
    end_s: float = Field(description="where it ends, in seconds")
    prompt: str | None = Field(None, description="another style for it; none keeps that of the take")
    seed: int | None = Field(None, description="none draws one")


class ErrorAnswer(BaseModel):
    """What went wrong, in one sentence."""

    error: str


class JobAnswer(BaseModel):
    """A job in the queue. Ask again until `state` is `done`, `failed` or `cancelled`."""

    id: str
    kind: Literal["listen", "generate", "retake"]
    vocal: str
    state: State
    ahead: int = Field(description="jobs that come before it")
    share: float = Field(description="how much is done, 0 to 1")
    seconds_left: float | None = Field(description="a guess; none while there is nothing to go by")
    takes: list[str] = Field(description="the takes made so far")
    error: str = Field(description="one sentence when it failed")


class TakeAnswer(BaseModel):
    """A take. `region` and `parent` say what a retake changed; `waveform` is the peaks of equal stretches."""

    model_config = ConfigDict(extra="allow")

    id: str
    number: int
    prompt: str
    seed: int
    seconds: float
    wall_s: float
    parent: str | None
    region: dict[str, float] | None
    plan: dict[str, Any] | None
    stems: list[str] = Field(description="of drums, bass and other those that play; none of a model without stems")
    scores: dict[str, float] = Field(description="how well it fits; the higher `fit`, the better")
    waveform: list[float]


class VocalAnswer(BaseModel):
    """A vocal: its outline, its analysis (once that job is done), its takes and jobs."""

    id: str
    name: str
    seconds: float
    sample_rate: int
    waveform: list[float] = Field(description="peaks of equal stretches, 0 to 1")
    pitch: dict[str, Any] | None = Field(description="`hz` of each `hop_s` seconds; 0 where nothing is sung")
    plan: dict[str, Any] | None = Field(description="tempo, beats, bars, chords and key that the model predicts")
    notes: list[list[float]] | None = Field(description="sung notes: start and end in s, MIDI pitch, confidence")
    takes: list[TakeAnswer]
    jobs: list[JobAnswer]


class AboutAnswer(BaseModel):
    """The model, the limits, and how busy the server is."""

    version: str
    model: str
    license: str
    sample_rate: int
    device: str
    plans: bool
    stems: bool = Field(description="whether drums, bass and other can be muted, and are there to take away")
    ffmpeg: bool
    separates: bool = Field(description="whether songs can be sent, whose voice is then taken out")
    formats: list[str]
    limits: dict[str, float]
    waiting: int
    running: int


def settings_of(request: TakeRequest, seed: int) -> Settings:
    """The settings of a request. InputError for a value out of range."""
    return Settings(**{**{name: getattr(request, name) for name in REQUESTED}, "seed": seed})


def job_answer(job: Job, queue: JobQueue) -> JobAnswer:
    """A job as it stands."""
    left = job.seconds_left
    return JobAnswer(
        id=job.id,
        kind=job.kind,  # type: ignore[arg-type]
        vocal=job.vocal,
        state=job.state,  # type: ignore[arg-type]
        ahead=queue.position(job),
        share=round(job.share, 4),
        seconds_left=None if left is None else round(left, 1),
        takes=list(job.made),
        error=public(job.error),
    )


def take_answer(take: StoredTake) -> TakeAnswer:
    """A take as it stands."""
    return TakeAnswer(id=take.id, number=take.number, **take.facts)


def vocal_answer(vocal: Vocal, jobs: list[JobAnswer]) -> VocalAnswer:
    """A vocal as it stands."""
    analysis = vocal.analysis or {}
    return VocalAnswer(
        id=vocal.id,
        name=vocal.name,
        seconds=round(vocal.seconds, 3),
        sample_rate=vocal.sample_rate,
        waveform=vocal.waveform,
        pitch=analysis.get("pitch"),
        plan=analysis.get("plan"),
        notes=analysis.get("notes"),
        takes=[take_answer(take) for take in sorted(vocal.takes.values(), key=lambda take: take.number)],
        jobs=jobs,
    )
