"""Sound output: loudness, true peaks, effects, balance, formats with dither and time stamp, stems and MIDI."""

from __future__ import annotations

from accompany.sound.options import Sound

__all__ = ["Sound"]
