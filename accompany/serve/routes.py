"""The HTTP API: each route looks a thing up, asks the server and answers in JSON."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Annotated, Any, TypeVar

import anyio
from fastapi import APIRouter, Depends, Query, Request, Response

import accompany
from accompany.serve import downloads
from accompany.serve.access import declared_bytes, keep_cookie
from accompany.serve.schemas import (
    AboutAnswer,
    ErrorAnswer,
    JobAnswer,
    RetakeRequest,
    TakeAnswer,
    TakeRequest,
    VocalAnswer,
    job_answer,
    take_answer,
    vocal_answer,
)
from accompany.serve.server import Server
from accompany.serve.store import NotFoundError, Visitor, Vocal
from accompany.serve.uploads import receive

T = TypeVar("T")
Format = downloads.Format

_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "wrong input"},
    401: {"model": ErrorAnswer, "description": "the token is missing"},
    404: {"model": ErrorAnswer, "description": "no such thing of this visitor"},
}
_BUSY: dict[int | str, dict[str, Any]] = {
    503: {"model": ErrorAnswer, "description": "busy; the header Retry-After says in how many seconds to try again"},
}
_REFUSED: dict[int | str, dict[str, Any]] = {
    408: {"model": ErrorAnswer, "description": "it comes too slowly"},
    413: {"model": ErrorAnswer, "description": "too large or too long"},
    415: {"model": ErrorAnswer, "description": "no format that is read here"},
    507: {"model": ErrorAnswer, "description": "the server's disk is full"},
}
_UPLOAD_BODY = {
    "requestBody": {
        "required": True,
        "description": "the recording itself: WAV, FLAC, MP3, OGG, AIFF, M4A or WebM",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_SOUND: dict[int | str, dict[str, Any]] = {200: {"content": {"audio/*": {}}, "description": "the file"}}
_ZIP: dict[int | str, dict[str, Any]] = {200: {"content": {"application/zip": {}}, "description": "the file"}}

router = APIRouter(prefix="/api", responses=_ERRORS)


def cookie_name(request: Request) -> str:
    """The cookie that holds a visitor's id: cookies know no ports, so the name does."""
    return f"accompany_visitor_{request.app.state.port}"


def _server(request: Request) -> Server:
    server: Server = request.app.state.server
    return server


async def _visitor(request: Request) -> AsyncIterator[Visitor]:
    with _server(request).store.serving(request.cookies.get(cookie_name(request))) as visitor:
        yield visitor


Asked = Annotated[Server, Depends(_server)]
By = Annotated[Visitor, Depends(_visitor)]


async def _aside(request: Request, function: Callable[..., T], *args: object) -> T:
    """Run what takes long beside the event loop, a few at a time, so that the page stays quick and memory bounded."""
    return await anyio.to_thread.run_sync(partial(function, *args), limiter=request.app.state.limiter)


@router.get("/about", responses={404: {}})
async def about(server: Asked) -> AboutAnswer:
    """The model, the limits, and how busy the server is."""
    waiting, running = server.making.load
    band = server.band
    return AboutAnswer(
        version=accompany.__version__,
        model=band.name,
        license=band.bundle.info.license,
        sample_rate=band.sample_rate,
        device=band.device,
        plans=band.bundle.plans,
        stems=band.bundle.has_stems,
        ffmpeg=which("ffmpeg") is not None,
        separates=find_spec("demucs") is not None,
        formats=list(downloads.FORMATS),
        limits=asdict(server.limits),
        waiting=waiting,
        running=running,
    )


@router.post(
    "/vocals",
    status_code=201,
    openapi_extra=_UPLOAD_BODY,
    responses={**_BUSY, **_REFUSED},
)
async def upload_vocal(
    request: Request,
    response: Response,
    server: Asked,
    name: Annotated[str, Query(max_length=300, description="what to call it")] = "vocal",
    separate: Annotated[bool, Query(description="it is a song: take the voice out of it (takes longer)")] = False,
) -> VocalAnswer:
    """Send a vocal, or a song to cover. The answer sets a cookie: only who sends it back reaches what is made."""
    visitor_id = request.cookies.get(cookie_name(request))
    who = _check_room(server, visitor_id) or (request.client.host if request.client else "")
    with server.uploading(who) as upload, tempfile.TemporaryDirectory(dir=server.store.root) as folder:
        path = await receive(request.stream(), declared_bytes(request.headers), Path(folder), server.limits, upload)
        visitor, vocal = await _aside(request, server.take_in, visitor_id, path, name, separate)
    https, embedded = request.url.scheme == "https", request.app.state.embedded
    keep_cookie(response, cookie_name(request), visitor.id, "strict", https=https, embedded=embedded)
    return _answer(server, visitor, vocal)


@router.get("/vocals")
async def list_vocals(request: Request, server: Asked) -> list[VocalAnswer]:
    """Your vocals, oldest first; none for who is new here."""
    try:
        visitor = server.store.visitor(request.cookies.get(cookie_name(request)))
    except NotFoundError:
        return []
    return [_answer(server, visitor, vocal) for vocal in list(visitor.vocals.values())]


@router.get("/vocals/{vocal_id}")
async def get_vocal(vocal_id: str, server: Asked, visitor: By) -> VocalAnswer:
    """A vocal: outline, pitch, plan, takes and jobs."""
    return _answer(server, visitor, server.store.vocal(visitor, vocal_id))


@router.delete("/vocals/{vocal_id}", status_code=204)
async def delete_vocal(request: Request, vocal_id: str, server: Asked, visitor: By) -> None:
    """Delete a vocal and everything made of it, now."""
    await _aside(request, server.delete_vocal, visitor, vocal_id)


@router.get("/vocals/{vocal_id}/sound", response_class=Response, responses=_SOUND)
async def get_vocal_sound(
    request: Request, vocal_id: str, server: Asked, visitor: By, format: Format = "wav"
) -> Response:
    """The vocal as the band gets it: mono, at the model's rate, as long as every take."""
    vocal = server.store.vocal(visitor, vocal_id)
    return await _aside(request, downloads.stem, vocal.path, vocal, "vocal", format)


@router.get("/vocals/{vocal_id}/project", response_class=Response, responses=_ZIP)
async def get_project(request: Request, vocal_id: str, server: Asked, visitor: By) -> Response:
    """Vocal and takes with prompts, seeds, settings and plans, as the zip of a folder that `accompany retake` takes."""
    vocal = server.store.vocal(visitor, vocal_id)
    return await _aside(request, downloads.project, vocal, server.band.source, server.band.precision)


@router.post("/vocals/{vocal_id}/takes", status_code=202, responses=_BUSY)
async def make_takes(vocal_id: str, asked: TakeRequest, server: Asked, visitor: By) -> JobAnswer:
    """Ask for takes of a vocal; the answer is a job to ask about."""
    job = server.generate(visitor, server.store.vocal(visitor, vocal_id), asked)
    return job_answer(job, server.queue_of(job))


@router.get("/takes/{take_id}")
async def get_take(take_id: str, server: Asked, visitor: By) -> TakeAnswer:
    """A take: settings, plan and outline."""
    return take_answer(server.store.take(visitor, take_id)[1])


@router.delete("/takes/{take_id}", status_code=204)
async def delete_take(take_id: str, server: Asked, visitor: By) -> None:
    """Delete a take, now."""
    server.store.delete_take(visitor, take_id)


@router.post("/takes/{take_id}/retake", status_code=202, responses=_BUSY)
async def retake(take_id: str, asked: RetakeRequest, server: Asked, visitor: By) -> JobAnswer:
    """Ask for a new take that differs from this one inside a region only; the answer is a job to ask about."""
    vocal, take = server.store.take(visitor, take_id)
    job = server.retake(visitor, vocal, take, asked)
    return job_answer(job, server.queue_of(job))


@router.get("/takes/{take_id}/accompaniment", response_class=Response, responses=_SOUND)
async def get_accompaniment(
    request: Request, take_id: str, server: Asked, visitor: By, format: Format = "wav"
) -> Response:
    """The band alone."""
    vocal, take = server.store.take(visitor, take_id)
    return await _aside(request, downloads.stem, take.path, vocal, f"take {take.number} - band", format)


@router.get("/takes/{take_id}/stems/{name}", response_class=Response, responses=_SOUND)
async def get_stem(
    request: Request, take_id: str, name: downloads.Stem, server: Asked, visitor: By, format: Format = "wav"
) -> Response:
    """Drums, bass or other alone, of a take in which they play; all of them together are the band."""
    vocal, take = server.store.take(visitor, take_id)
    if name not in take.facts["stems"]:
        raise NotFoundError(f"There is no stem '{name}' of this take: it does not play, or the model has no stems.")
    return await _aside(request, downloads.stem, take.stem_path(name), vocal, f"take {take.number} - {name}", format)


@router.get("/takes/{take_id}/mix", response_class=Response, responses=_SOUND)
async def get_mix(
    request: Request,
    take_id: str,
    server: Asked,
    visitor: By,
    format: Format = "wav",
    vocal_db: float = 0.0,
    band_db: float = 0.0,
    drums_db: float = 0.0,
    bass_db: float = 0.0,
    other_db: float = 0.0,
) -> Response:
    """Voice and band together, each at its level in dB (-60, which is silence, to 12), and the stems that it has."""
    vocal, take = server.store.take(visitor, take_id)
    stems_db = {"drums": drums_db, "bass": bass_db, "other": other_db}
    return await _aside(request, downloads.mixed, vocal, take, format, vocal_db, band_db, stems_db)


@router.get("/takes/{take_id}/midi", response_class=Response, responses=_SOUND)
async def get_midi(request: Request, take_id: str, server: Asked, visitor: By) -> Response:
    """Tempo map, chords and beats that the band played, as MIDI."""
    return await _aside(request, downloads.midi, *server.store.take(visitor, take_id))


@router.get("/jobs/{job_id}")
async def get_job(job_id: str, server: Asked, visitor: By) -> JobAnswer:
    """How far a job is."""
    job = server.store.job(visitor, job_id)
    return job_answer(job, server.queue_of(job))


@router.delete("/jobs/{job_id}")
async def cancel_job(job_id: str, server: Asked, visitor: By) -> JobAnswer:
    """Cancel a job: at once when it waits, at its next step when it runs. Takes that are complete stay."""
    job = server.store.job(visitor, job_id)
    server.cancel(job)
    return job_answer(job, server.queue_of(job))


def _check_room(server: Server, visitor_id: str | None) -> str:
    """Refuse an upload before its bytes are read, where that can be known; returns the visitor's id, if he has one."""
    try:
        visitor = server.store.visitor(visitor_id)
    except NotFoundError:
        visitor = None
    server.store.check_room(visitor)
    server.analyzing.check_room()
    return visitor.id if visitor else ""


def _answer(server: Server, visitor: Visitor, vocal: Vocal) -> VocalAnswer:
    jobs = [job for job in list(visitor.jobs.values()) if job.vocal == vocal.id]
    return vocal_answer(vocal, [job_answer(job, server.queue_of(job)) for job in jobs])
