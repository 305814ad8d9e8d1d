"""Sing in, band out: an accompaniment in the singer's key and on the singer's beat, in a sentence's style.

import accompany
band = accompany.load("tiny")
take = band.generate("vocals.wav", "warm acoustic guitar, brushed drums", seed=7)
take.save("accompaniment.wav")
take.save_mix("mix.wav")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from accompany.errors import InputError

if TYPE_CHECKING:
    from accompany.api import Band, Settings, Sound, Take, load

__version__ = "0.1.0"
__all__ = ["Band", "InputError", "Settings", "Sound", "Take", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """`load` and the classes on first use, so that `import accompany` costs nothing."""
    if name in ("Band", "Settings", "Sound", "Take", "load"):
        from accompany import api

        return getattr(api, name)
    raise AttributeError(f"module 'accompany' has no attribute '{name}'")
