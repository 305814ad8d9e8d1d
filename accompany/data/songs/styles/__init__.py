"""Styles: which tempi, metres, modes, chords, grooves, instruments and moods belong together."""

from __future__ import annotations

from accompany.data.songs.styles import acoustic, band
from accompany.data.songs.styles.style import Style

STYLES: dict[str, Style] = {style.name: style for style in (*band.STYLES, *acoustic.STYLES)}

__all__ = ["STYLES", "Style"]
