"""librosa's compiled functions, in a numba cache that all workers of the tests begin with: python tests/compiled.py

Every process that meets them first would compile them for half a minute.
"""

from __future__ import annotations

import os

from conftest import COMPILED, sing


def main() -> None:
    """Call what the tests call."""
    if COMPILED.is_dir():
        return
    part = COMPILED.with_suffix(".part")
    os.environ["NUMBA_CACHE_DIR"] = str(part)
    from accompany.evaluation import chord_metrics, coding, metrics

    voice = sing(3.0, 24000)
    chord_metrics.estimate_chords(metrics.chroma(voice, 24000))
    metrics.track_beats(voice, 24000)
    metrics.sung_pitch(voice, 24000)
    coding.figures(*(sing(1.0, 44100, seed)[None].repeat(2, axis=0) for seed in range(2)))
    part.rename(COMPILED)


if __name__ == "__main__":
    main()
