"""Write the reference of the Python API as HTML: `python docs/reference.py FOLDER` (extra `docs`)."""

from __future__ import annotations

import sys
from pathlib import Path

import pdoc

import accompany


def write(folder: Path) -> None:
    """Write the pages of `accompany` and of `Plan` into a folder."""
    for name in accompany.__all__:  # which the package imports on first use only
        setattr(accompany, name, getattr(accompany, name))
    pdoc.render.configure(docformat="google")
    pdoc.pdoc("accompany", r"!accompany\..+", "accompany.music.plan", output_directory=folder)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
