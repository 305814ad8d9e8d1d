"""Licences of published weights: what a model card states, and what is known of hub ids."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

UNKNOWN_LICENSE = "unknown"
_KNOWN_LICENSES = {
    "m-a-p/mert": "CC-BY-NC-4.0",
    "facebook/musicgen": "CC-BY-NC-4.0",
    "facebook/encodec_32khz": "CC-BY-NC-4.0",
    "charactr/vocos-encodec-24khz": "MIT",
    "facebook/encodec_24khz": "MIT",
    "facebook/encodec_48khz": "MIT",
    "encodec_24khz": "MIT",
    "encodec_48khz": "MIT",
    "laion/": "Apache-2.0",
}


def find_license(path_or_id: str | os.PathLike[str], folder: Path) -> str:
    """The licence that the model card in the folder states, or that is known of a published hub id."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        card = (folder / "README.md").read_text(encoding="utf-8")
        stated = re.search(r"\A---\n.*?^license:\s*['\"]?([^'\"\n]+)", card, re.MULTILINE | re.DOTALL)
        if stated:
            return stated.group(1).strip()
    name = str(path_or_id).lower()
    return next((known for start, known in _KNOWN_LICENSES.items() if name.startswith(start)), UNKNOWN_LICENSE)
