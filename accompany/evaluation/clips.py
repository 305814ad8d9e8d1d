"""Clips of an evaluation as files, for tools that compare folders of sound.

DIR/vocals/0000.wav                    what was sung
DIR/truth/0000.wav  DIR/accompany/...  each row's output, a folder a row; equal numbers are equal clips
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from accompany import audio
from accompany.errors import InputError
from accompany.evaluation.rows import Contest

_VOCALS = "vocals"


def check_empty(folder: str | os.PathLike[str]) -> None:
    """InputError for a folder that holds something: clips of another evaluation would be taken for these."""
    path = Path(folder)
    if path.is_dir() and any(path.iterdir()):
        raise InputError(f"--save-clips {folder} is not empty; name a new folder.")


def save_clips(contest: Contest, folder: str | os.PathLike[str]) -> None:
    """Write the vocals and every row's outputs, mono, 16 bits, at the clips' rate.

    Raises:
        InputError: the folder cannot be written.
    """
    root = Path(folder)
    for index, clip in enumerate(contest.clips):
        outputs = {name: contest.output(name, index) for name in contest.rows()}
        sounds = {_VOCALS: clip.vocal} | {name: output.sound for name, output in outputs.items() if output is not None}
        for name, sound in sounds.items():
            path = root / name.replace("/", "_") / f"{index:04d}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            audio.write(path, np.asarray(sound, np.float32).reshape(1, -1).clip(-1, 1), clip.sample_rate)
