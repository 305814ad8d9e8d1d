"""What the package asks of a frozen listener: its rates as properties and frames on a grid."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class FrameEncoder(Protocol):
    """Turns audio into a vector per frame of a fixed grid; frame i covers [i, i + 1) / frame_rate seconds."""

    @property
    def sample_rate(self) -> int:
        """Hz that `encode` expects."""

    @property
    def frame_rate(self) -> float:
        """Frames a second that `encode` returns."""

    @property
    def dim(self) -> int:
        """Width D of a frame."""

    def encode(self, audio: Tensor, n_frames: int | None = None) -> Tensor:
        """Audio [B, T] at `sample_rate` to features [B, F, D].

        F is `n_frames` or ceil(T * frame_rate / sample_rate).
        """
