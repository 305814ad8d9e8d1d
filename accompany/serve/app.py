"""The application: routes, page, errors as sentences, and the gate before them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import accompany
from accompany.api import Band
from accompany.common.files import is_full
from accompany.errors import InputError
from accompany.serve.access import CLOSE, Gate
from accompany.serve.disk import FAULT, DiskFullError, NotFoundError, public
from accompany.serve.jobs import BusyError
from accompany.serve.limits import Address, Limits
from accompany.serve.reception import SlowUploadError
from accompany.serve.routes import router
from accompany.serve.server import BusyVisitorError, Server
from accompany.serve.uploads import TooLargeError, UnknownFormatError

_log = logging.getLogger(__name__)

_PAGE = Path(__file__).parent / "page"
_MEDIA = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_AT_ONCE = 2
_STATUS = (
    (SlowUploadError, 408),
    (TooLargeError, 413),
    (UnknownFormatError, 415),
    (BusyVisitorError, 429),
    (DiskFullError, 507),
    (InputError, 400),
)
_DESCRIPTION = """Sing in, band out, over HTTP. Send a vocal, ask for takes, ask about the job until it is done, fetch
the files. Keep the cookie that the first upload sets: your files answer to it alone. Every error is
`{"error": "one sentence"}`; 503 means busy, and its Retry-After header says for how many seconds."""


def build_app(band: Band, limits: Limits, address: Address, root: Path | None = None) -> FastAPI:
    """The whole server as an ASGI application.

    Args:
        band: the model, loaded.
        limits: what visitors may ask for.
        address: where it listens, and the token; the gate goes by them.
        root: where the folder of the files is made (default: the system's temporary folder).
    """

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        app.state.server = Server(band, limits, root)
        app.state.limiter = anyio.CapacityLimiter(_AT_ONCE)
        try:
            yield
        finally:
            await anyio.to_thread.run_sync(app.state.server.close)

    app = FastAPI(
        title="accompany",
        version=accompany.__version__,
        description=_DESCRIPTION,
        lifespan=running,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.port, app.state.embedded = address.port, bool(address.embed)
    app.include_router(router)
    _add_page(app)
    _add_errors(app)
    app.add_middleware(Gate, address=address)
    return app


def _add_page(app: FastAPI) -> None:
    """Serve the files of the page, read once: a request names one of them and never a path."""
    files = {path.name: path for path in _PAGE.iterdir() if path.suffix in _MEDIA}
    contents = {name: (path.read_bytes(), _MEDIA[path.suffix]) for name, path in files.items()}

    async def page_file(name: str = "index.html") -> Response:
        if name not in contents:
            raise NotFoundError("There is no such page here.")
        body, media_type = contents[name]
        return Response(body, media_type=media_type)

    app.add_api_route("/", page_file, include_in_schema=False)
    app.add_api_route("/{name}", page_file, include_in_schema=False)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(InputError)
    async def input_error(request: Request, error: InputError) -> JSONResponse:
        status = next(status for kind, status in _STATUS if isinstance(error, kind))
        ours = public(str(error)) == FAULT
        return _error_answer(500 if ours else status, str(error), CLOSE if status == 408 else None)

    @app.exception_handler(NotFoundError)
    async def not_found(request: Request, error: NotFoundError) -> JSONResponse:
        return _error_answer(404, str(error))

    @app.exception_handler(BusyError)
    async def busy(request: Request, error: BusyError) -> JSONResponse:
        return _error_answer(503, str(error), {"Retry-After": str(error.retry_s)})

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return _error_answer(422, _sentence(error.errors()[0]))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        return _error_answer(error.status_code, f"{str(error.detail).rstrip('.')}.", error.headers)

    @app.exception_handler(ClientDisconnect)
    async def hung_up(request: Request, error: ClientDisconnect) -> JSONResponse:
        return _error_answer(400, "The upload was broken off.")

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> JSONResponse:
        return _error_answer(500, FAULT)

    @app.exception_handler(OSError)
    async def disk(request: Request, error: OSError) -> JSONResponse:
        if is_full(error):
            return _error_answer(507, str(DiskFullError()))
        if isinstance(error, FileNotFoundError):  # its owner deleted it while it was asked for
            return _error_answer(404, "This was deleted in the meantime.")
        _log.error("a request failed", exc_info=error)
        return _error_answer(500, FAULT)


def _sentence(problem: Any) -> str:
    """What pydantic found wrong with a request, as one sentence that names the field."""
    where = [str(part) for part in problem["loc"] if part not in ("body", "query", "path")]
    message = str(problem["msg"]).rstrip(".")
    if problem["type"] == "json_invalid":
        return 'The body of the request is not JSON; send an object such as {"prompt": "solo piano"}.'
    return f"The field {'.'.join(where)} is wrong: {message}." if where else f"The request is wrong: {message}."


def _error_answer(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": public(sentence)}, status_code=status, headers=headers)
