"""Spoken syllables from espeak-ng, called through ctypes: the raw material of the singing voice.

The library comes from the PyPI wheel `espeakng-loader`, or else from the system. It keeps hidden state between
calls (flutter, noise), which would make a song depend on what was sung before it, so every syllable is spoken
by a freshly loaded copy: about 7 ms, paid once per syllable and process (see `syllables.py`).
"""

from __future__ import annotations

import _ctypes
import ctypes
import ctypes.util
import re
import sys
from dataclasses import dataclass

import numpy as np

from accompany.errors import InputError

_RETRIEVAL = 2
_UTF8, _IPA = 1, 2
_PHONEME_EVENTS = 0x0001
_DONT_EXIT = 0x8000
_UTF8_WITH_PHONEMES = 0x0101
_RATE, _PITCH, _RANGE = 1, 3, 4
_EVENT_END, _EVENT_PHONEME = 0, 7
_FILES = {"en-gb": "en", "fr-fr": "fr", "es-es": "es"}
"""Languages whose voice file has another name."""
_VOWEL_LETTERS = frozenset("aeiouyAEIOUVYQW@30&")


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _EspeakEvent(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_EspeakEvent))


@dataclass(frozen=True)
class Spoken:
    """One spoken syllable.

    samples: [T] float32 in [-1, 1]; vowel_start_s and vowel_end_s: where its vowels lie.
    """

    samples: np.ndarray
    sample_rate: int
    vowel_start_s: float
    vowel_end_s: float


def speak(text: str, voice: str, *, words_per_minute: int = 150, pitch: int = 50) -> Spoken:
    """Speak one syllable on a monotone.

    Args:
        text: a syllable in ordinary spelling, or espeak phonemes in double brackets (`[[l'aI]]`).
        voice: an espeak-ng voice such as "en-us" or "it+f2".
        words_per_minute: speaking rate, 80 to 450.
        pitch: 0 to 100; 50 is the voice's own pitch.

    Raises:
        InputError: espeak-ng is not installed, or it has no such voice.
    """
    library, data_path = _load()
    try:
        return _speak(library, data_path, text, voice, words_per_minute, pitch)
    finally:
        library.espeak_Terminate()
        _unload(library)


def ipa(text: str, voice: str) -> str:
    """The phonemes of some words in IPA with stress marks; punctuation between them stays.

    Raises:
        InputError: espeak-ng is not installed, or it has no such voice.
    """
    library, data_path = _load()
    try:
        _start(library, data_path, voice)
        library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        return "".join(_clause_ipa(library, part) for part in re.split(r"([,.;!?]\s*)", text) if part)
    finally:
        library.espeak_Terminate()
        _unload(library)


def _clause_ipa(library: ctypes.CDLL, text: str) -> str:
    if not any(letter.isalpha() for letter in text):
        return text
    rest, parts = ctypes.c_char_p(text.encode("utf-8")), []
    while rest.value:
        parts.append(library.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, _IPA).decode("utf-8"))
    return " ".join(parts)


def _start(library: ctypes.CDLL, data_path: str | None, voice: str) -> int:
    """Choose the voice; the sample rate."""
    path = data_path.encode() if data_path else None
    sample_rate = library.espeak_Initialize(_RETRIEVAL, 0, path, _PHONEME_EVENTS | _DONT_EXIT)
    if sample_rate <= 0:
        raise InputError("espeak-ng found no data files; reinstall with `pip install espeakng-loader`.")
    if library.espeak_SetVoiceByName(_FILES.get(voice, voice).encode()) != 0:
        raise InputError(f"espeak-ng has no voice '{voice}'; see `espeak-ng --voices` for those it has.")
    return int(sample_rate)


def _speak(
    library: ctypes.CDLL, data_path: str | None, text: str, voice: str, words_per_minute: int, pitch: int
) -> Spoken:
    sample_rate = _start(library, data_path, voice)
    blocks: list[np.ndarray] = []
    phonemes: list[tuple[int, str]] = []

    @_Callback
    def receive(wave, n_samples, events):  # type: ignore[no-untyped-def]
        """Keep a block of sound, int16 [n_samples], and the phonemes that begin in it; 0 asks for more."""
        if wave and n_samples > 0:
            blocks.append(np.ctypeslib.as_array(wave, (n_samples,)).copy())
        index = 0
        while events and events[index].type != _EVENT_END:
            if events[index].type == _EVENT_PHONEME:
                name = bytes(events[index].id.string).decode("utf-8", "replace")
                phonemes.append((events[index].sample, name))
            index += 1
        return 0

    library.espeak_SetSynthCallback(receive)
    for parameter, value in ((_RATE, words_per_minute), (_PITCH, pitch), (_RANGE, 0)):
        library.espeak_SetParameter(parameter, value, 0)
    _seed_c_random()
    encoded = text.encode("utf-8")
    library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, _UTF8_WITH_PHONEMES, None, None)
    samples = np.concatenate(blocks).astype(np.float32) / 32768.0 if blocks else np.zeros(1, np.float32)
    start, end = _vowel_span(phonemes, len(samples))
    return Spoken(samples, sample_rate, start / sample_rate, end / sample_rate)


def _vowel_span(phonemes: list[tuple[int, str]], n_samples: int) -> tuple[int, int]:
    """The first vowel's first sample and the last vowel's end; the middle half when there is no vowel ("mm")."""
    vowels = [i for i, (_, name) in enumerate(phonemes) if name.lstrip("',%=|_")[:1] in _VOWEL_LETTERS]
    if not vowels:
        return n_samples // 4, 3 * n_samples // 4
    after = phonemes[vowels[-1] + 1 :]
    end = after[0][0] if after else n_samples
    return min(phonemes[vowels[0]][0], n_samples - 1), min(end, n_samples)


def _load() -> tuple[ctypes.CDLL, str | None]:
    try:
        import espeakng_loader
    except ImportError:
        name, data_path = ctypes.util.find_library("espeak-ng"), None
    else:
        name, data_path = espeakng_loader.get_library_path(), espeakng_loader.get_data_path()
    try:
        if name is None:
            raise OSError("not found")
        return ctypes.CDLL(name), data_path
    except OSError as error:
        raise InputError(
            f"The singing voice needs espeak-ng ({error}); run `pip install espeakng-loader`"
            " or `apt install espeak-ng`."
        ) from error


def _unload(library: ctypes.CDLL) -> None:
    if sys.platform == "win32":
        _ctypes.FreeLibrary(library._handle)
    else:
        _ctypes.dlclose(library._handle)


def _seed_c_random() -> None:
    """Breath noise in espeak comes from the C library's rand()."""
    c_library = ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)
    c_library.srand(1)
