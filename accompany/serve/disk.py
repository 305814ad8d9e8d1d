"""Files of the store: read and written with errors that a visitor may see, a full disk among them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from accompany import audio
from accompany.common.files import is_full
from accompany.errors import InputError

_log = logging.getLogger(__name__)

FAULT = "This is a fault of accompany, not yours; the server's log has more."

_OWN_FOLDER = re.compile(r"[/\\]accompany-(?:serve-)?[a-z0-9_]{8}")  # as `tempfile` names the folders of this package
_LONGEST_SENTENCE = 500


class NotFoundError(Exception):
    """No such thing, or not this visitor's: the two look the same from outside."""


class DiskFullError(InputError):
    """The server has no room left for what a visitor asks."""

    def __init__(self) -> None:
        super().__init__("The server's disk is full; try again later, or delete what you no longer need.")


@contextmanager
def storing() -> Iterator[None]:
    """Raise DiskFullError for what a full disk raises inside. Only for writing: a broken upload is no full disk."""
    import soundfile

    try:
        yield
    except OSError as error:
        if is_full(error):
            raise DiskFullError from error
        raise
    except InputError as error:
        # Writing into a folder of our own fails for no other reason; the sentence names the file.
        if isinstance(error.__cause__, (OSError, soundfile.SoundFileError)) or _OWN_FOLDER.search(str(error)):
            _log.warning("%s", error)
            raise DiskFullError from error
        raise


def read(path: Path) -> np.ndarray:
    """The samples float32 [C, T] of a file of the store. NotFoundError when it was deleted in the meantime."""
    try:
        return audio.read(path).samples
    except (InputError, FileNotFoundError) as error:
        raise NotFoundError("This was deleted in the meantime.") from error


def public(sentence: str) -> str:
    """An error as a visitor may see it: text that can be encoded, of bounded length, without a path of the server."""
    if _OWN_FOLDER.search(sentence):
        _log.error("%s", sentence)
        return FAULT
    text = sentence.encode("utf-8", "replace").decode("utf-8")
    if len(text) <= _LONGEST_SENTENCE:
        return text
    half = _LONGEST_SENTENCE // 2
    return f"{text[:half]} … {text[-half:]}"
