"""Rates at which the parts of a model work."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from accompany.common.config import read_mapping
from accompany.models.parts import PartInfo


def rates(part: PartInfo) -> tuple[str, ...]:
    """The rates at which an encoder works ("24 kHz", "50 frames/s"), from its config files; none of a hub id."""
    if not isinstance(part.source, Path):
        return ()
    name, folder, options = part.name, part.source, part.options

    def value(key: str, default: Any = None, file: str = "config.json") -> Any:
        return read_mapping(folder / file).get(key, default) if (folder / file).is_file() else default

    if name in ("mert", "clap"):
        input_rate = (f"{value('sampling_rate', 0, 'preprocessor_config.json') / 1000:g} kHz",)
        return input_rate if name == "clap" else (*input_rate, f"{options.get('frame_rate', 25):g} frames/s")
    if name == "codec":
        # A spectral codec says its hop, and is stereo; EnCodec says what its hop is made of.
        hop = value("hop") or math.prod(value("upsampling_ratios", ()))
        rate = value("sample_rate") or value("sampling_rate", 0)
        channels = "stereo" if value("hop") or value("audio_channels", 1) == 2 else "mono"
        return f"{rate / 1000:g} kHz", channels, f"{rate / hop:g} frames/s"
    if name == "semantic_codes":
        return f"{value('frame_rate', 0):g} frames/s", " + ".join(map(str, value("sizes", ()))) + " codes"
    return ()
