"""Beat tracking without a reranker: the likeliest grid of the lattice."""

from __future__ import annotations

import numpy as np

from accompany.music.tracking import BeatTrack, BeatTrackingConfig, candidate_of, lattice_of, lay_bars


def track_beats(
    beat_logits: np.ndarray,
    frame_rate: float,
    downbeat_logits: np.ndarray | None = None,
    bpm: float | None = None,
    config: BeatTrackingConfig | None = None,
) -> BeatTrack:
    """Decode a steady grid that covers the whole clip, silence included.

    Args:
        beat_logits: [n] logits of "a beat falls into this frame".
        frame_rate: frames a second.
        downbeat_logits: [n] likewise for first beats of bars; None takes the first beat for a downbeat.
        bpm: a hint that narrows the tempo.
        config: what is believed beforehand.
    """
    config = config or BeatTrackingConfig()
    if not len(beat_logits):
        raise ValueError("there are no frames to find beats in")
    frames = lattice_of(beat_logits, frame_rate, bpm, config).best()
    return lay_bars(
        candidate_of(beat_logits, frame_rate, frames, 0.0, config).beats_s, frame_rate, downbeat_logits, bpm, config
    )
