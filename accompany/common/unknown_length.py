"""Sound streams that do not say how many samples they have, such as FLAC from a pipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from accompany.errors import InputError

_LONGEST_S = 24 * 3600
_BLOCK = 1 << 18


def count(file: Any, path: Path) -> int:
    """Samples of a stream; InputError for one longer than a day."""
    n_samples = 0
    while n_samples < _LONGEST_S * file.samplerate:
        length = len(read_unknown(file, _BLOCK))
        if not length:
            return n_samples
        n_samples += length
    raise InputError(f"{path} lasts longer than {_LONGEST_S // 3600} hours; give a part of it.")


def read_unknown(file: Any, n_samples: int) -> np.ndarray:
    """The next samples; soundfile fails once it has read the end."""
    import soundfile

    block = np.full((n_samples, file.channels), np.nan, np.float32)
    try:
        return np.asarray(file.read(out=block))
    except soundfile.LibsndfileError:
        return block[: np.isfinite(block[:, 0]).sum()]
