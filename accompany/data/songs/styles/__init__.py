"""Musical styles: matching tempi, metres, modes, chords, grooves, instruments and moods."""

from __future__ import annotations

from accompany.data.songs.grid import Metre
from accompany.data.songs.rng import Rng
from accompany.data.songs.styles import acoustic, band
from accompany.data.songs.styles.style import Style

STYLES: dict[str, Style] = {style.name: style for style in (*band.STYLES, *acoustic.STYLES)}
MOST_VARIANTS = 16
"""Arrangements of one song, so that every song has as many styles that can play it."""
_UNFIT = 0.1
_COMPOUND = 0.67

__all__ = ["MOST_VARIANTS", "STYLES", "Style", "fitting_styles"]


def fitting_styles(tempo_bpm: float, metre: Metre, rng: Rng) -> list[Style]:
    """The styles in random order, those that are played in such a tempo and metre mostly first; no waltz in four."""
    pulse = tempo_bpm / _COMPOUND if metre.compound else tempo_bpm
    kin = {"2/4": "4/4", "9/8": "6/8"}.get(metre.label, metre.label)

    def weight(style: Style) -> float:
        low, _, high = style.tempo
        suits = 0.9 * low <= pulse <= 1.1 * high and (kin in style.metres or not metre.compound)
        return style.weight * (1.0 if suits else _UNFIT)

    # The largest of u^(1/w) first draws without replacement in proportion to the weights.
    keyed = [
        (rng.unit() ** (1 / weight(style)), name) for name, style in STYLES.items() if {kin, "4/4"} & set(style.metres)
    ]
    return [STYLES[name] for _, name in sorted(keyed, reverse=True)]
