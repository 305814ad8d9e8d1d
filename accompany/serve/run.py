"""Open the port and serve until Ctrl-C."""

from __future__ import annotations

import dataclasses
import logging
import socket
import threading
from collections.abc import Callable
from contextlib import closing, suppress

import uvicorn
from fastapi import FastAPI

from accompany.api import Band
from accompany.errors import InputError
from accompany.serve.app import build_app
from accompany.serve.limits import Address, Limits
from accompany.serve.protocol import PromptProtocol

_BACKLOG = 128
_GOODBYE_S = 5


def open_port(address: Address) -> tuple[socket.socket, Address]:
    """Listen at an address; returns the socket, and the address with the port that it got.

    Raises:
        InputError: the host is none of this machine's, or the port is taken or not allowed.
    """
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, where = found[0]
        listener = socket.create_server(where[:2], family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such host"
        raise InputError(
            f"Cannot listen on {address.host}, port {address.port} ({reason}); choose another with --host and --port."
        ) from error
    return listener, dataclasses.replace(address, port=listener.getsockname()[1])


def serve(
    load: Callable[[], Band],
    limits: Limits,
    address: Address,
    say: Callable[[str], None],
    visit: Callable[[str], object] = lambda url: None,
) -> None:
    """Serve until the process is asked to stop; then cancel the jobs and delete the files.

    Args:
        load: gives the model; called once the port is known to be free.
        limits: what visitors may ask for.
        address: where to listen, and the token.
        say: shows a person where the page is.
        visit: called with the address of the page, such as `webbrowser.open`.

    Raises:
        InputError: the port cannot be opened, or the model cannot be loaded.
    """
    listener, address = open_port(address)
    with closing(listener):
        band = load()
        app = build_app(band, limits, address)
        say(f"The page: {page_url(address)}")
        say(
            "Files are deleted when you stop it (Ctrl-C), "
            + f"or {limits.keep_minutes:g} minutes after their last use."
        )
        visit(page_url(address))
        threading.Thread(target=_warm_up, args=(band,)).start()  # no daemon: imports at an end may crash it
        uvicorn.Server(server_config(app)).run(sockets=[listener])


def _warm_up(band: Band) -> None:
    """Load what scores takes and nothing else needs, while the first visitor sings."""
    import torch

    clap = band.bundle.clap
    with suppress(Exception):  # what is wrong is said where it is needed
        clap.embed_audio(torch.zeros(1, clap.sample_rate, device=band.device))


def server_config(app: FastAPI) -> uvicorn.Config:
    """How uvicorn serves the application: quietly, and with deadlines for slow clients."""
    return uvicorn.Config(
        app,
        http=PromptProtocol,
        ws="none",
        log_level=logging.WARNING,
        access_log=False,  # addresses hold the token and ids
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=_GOODBYE_S,
    )


def page_url(address: Address) -> str:
    """Where a person finds the page; with the token, where one is asked for."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    if address.host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    return f"http://{host}:{address.port}/" + (f"?token={address.token}" if address.token else "")
