"""What a server allows: a frozen dataclass that refuses values out of range with one clear sentence."""

from __future__ import annotations

import ipaddress
import re
import secrets
from dataclasses import dataclass

from accompany.errors import InputError

_SHORTEST_TOKEN = 8
_LONGEST_TOKEN = 200
_SITE = re.compile(r"https://[\w-]+(\.[\w-]+)+(:\d{1,5})?", re.ASCII)


@dataclass(frozen=True)
class Limits:
    """Bounds of what visitors may ask for; all are answered by `GET /api/about`.

    Attributes:
        max_mb: of one upload, in millions of bytes.
        max_minutes: length of one vocal.
        max_queue: jobs that may wait for the model; one more is refused as busy.
        max_waiting: jobs that one visitor may have waiting or running.
        max_vocals: vocals that one visitor may keep.
        max_takes: takes that one vocal may have.
        max_store_mb: of all files together, in millions of bytes.
        max_uploads: uploads that may run at the same time, half of them those of one visitor.
        job_minutes: longest that one job may run.
        keep_minutes: how long the files of a visitor are kept after he was last seen.
    """

    max_mb: float = 100.0
    max_minutes: float = 10.0
    max_queue: int = 32
    max_waiting: int = 4
    max_vocals: int = 8
    max_takes: int = 24
    max_store_mb: float = 4000.0
    max_uploads: int = 8
    job_minutes: float = 20.0
    keep_minutes: float = 60.0

    def __post_init__(self) -> None:
        """Raise InputError for a bound that is not above 0."""
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if not 0 < value < 1e9:
                option = "--" + name.replace("_", "-")
                raise InputError(f"{option} {value:g} must be above 0.")

    @property
    def max_bytes(self) -> int:
        """Of one upload."""
        return round(self.max_mb * 1e6)

    @property
    def max_seconds(self) -> float:
        """Of one vocal."""
        return self.max_minutes * 60.0


@dataclass(frozen=True)
class Address:
    """Where a server listens, and the token that it asks for.

    Attributes:
        host: a name or an address; only `localhost` and loopback addresses are local.
        port: 0 takes any free one.
        token: what visitors must know; empty asks for none, which only a local host may, or an open one.
        open: whoever reaches the host may use it, without a token.
        embed: the site whose pages may show this one in a frame, such as "https://huggingface.co"; empty is none.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str = ""
    open: bool = False
    embed: str = ""

    def __post_init__(self) -> None:
        """Raise InputError for a port or a token that cannot be; make a token where one is needed."""
        if not 0 <= self.port <= 65535:
            raise InputError(f"The port {self.port} must be from 0 to 65535.")
        if self.open and self.token:
            raise InputError("--open asks for no token, but one is given (--token or $ACCOMPANY_TOKEN); leave one out.")
        if self.embed and not _SITE.fullmatch(self.embed):
            raise InputError(f"--embed '{self.embed}' must be a site, such as https://huggingface.co.")
        if not self.token and not self.local and not self.open:
            object.__setattr__(self, "token", secrets.token_urlsafe(16))
        fits = self.token.isascii() and self.token.isprintable() and " " not in self.token
        if self.token and not (fits and _SHORTEST_TOKEN <= len(self.token) <= _LONGEST_TOKEN):
            raise InputError(
                f"The token must have {_SHORTEST_TOKEN} to {_LONGEST_TOKEN} letters, digits and signs without spaces; "
                "leave it out to get one."
            )

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a name or address means this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
