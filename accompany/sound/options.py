"""Output options of a take, and the rates and depths of file formats, with one-sentence errors for what cannot be."""

from __future__ import annotations

import re
from dataclasses import dataclass

from accompany.common.checks import check_number, check_text, check_whole, shown
from accompany.errors import InputError

BITS = (16, 24, 32)
DEPTHS: dict[str, tuple[int, ...]] = {
    ".wav": (16, 24, 32),
    ".flac": (16, 24),
    ".aiff": (16, 24, 32),
    ".mp3": (),
    ".ogg": (),
}
SUFFIXES = tuple(DEPTHS)
_LOWEST_RATE, _HIGHEST_RATE = 8000, 384000
_BAND = re.compile(r"\s*(?P<hz>\d+(?:\.\d+)?)\s*:\s*(?P<db>[+-]?\d+(?:\.\d+)?)\s*(?::\s*(?P<q>\d+(?:\.\d+)?)\s*)?")
_LOWEST_HZ, _HIGHEST_HZ = 20.0, 20000.0
_MOST_DB = 24.0


@dataclass(frozen=True)
class Sound:
    """Output options of a take. The default changes nothing: the band at the model's rate, 24 bits.

    Attributes:
        loudness_lufs: integrated loudness (ITU-R BS.1770) of each file written, -50 to -5 LUFS; None leaves it.
        peak_dbtp: true peaks stay below this, -20 to 0 dB; counts once anything else is changed.
        balance_db: makes the voice in the mix louder (above 0) or softer, -40 to 40 dB.
        eq: peaking filters on the band as `hz:db` or `hz:db:q`, with commas between: `80:-6, 3000:+2.5:1.4`.
        compression: of the band, 0 (none) to 1 (four to one).
        reverb: of the band, 0 (none) to 1 (as loud as the band itself).
        sample_rate: Hz of the files, 8000 to 384000; None takes the model's.
        bits: 16 or 24 (dithered), or 32 (floating point); None takes 24 where the format has it.
        start_s: where the file lies in the session, for the time stamp of a Broadcast WAV file; None writes none.
    """

    loudness_lufs: float | None = None
    peak_dbtp: float = -1.0
    balance_db: float = 0.0
    eq: str = ""
    compression: float = 0.0
    reverb: float = 0.0
    sample_rate: int | None = None
    bits: int | None = None
    start_s: float | None = None

    def __post_init__(self) -> None:
        """Raise InputError for a value out of range."""
        check_number("peak_dbtp", self.peak_dbtp, -20, 0)
        check_number("balance_db", self.balance_db, -40, 40)
        check_number("compression", self.compression, 0, 1)
        check_number("reverb", self.reverb, 0, 1)
        if self.loudness_lufs is not None:
            check_number("loudness_lufs", self.loudness_lufs, -50, -5)
        if self.sample_rate is not None:
            check_whole("sample_rate", self.sample_rate, _LOWEST_RATE, _HIGHEST_RATE)
        if self.start_s is not None:
            check_number("start_s", self.start_s, 0, 7 * 24 * 3600)
        if self.bits is not None and (isinstance(self.bits, bool) or self.bits not in BITS):
            raise InputError(f"bits {shown(self.bits)} must be 16, 24 or 32.")
        check_text("eq", self.eq)
        bands(self.eq)

    @property
    def changes_nothing(self) -> bool:
        """Whether the files are what the band played, as it is."""
        return self == Sound()

    @property
    def changes_sound(self) -> bool:
        """Whether the samples are worked on, beyond the rate and the format."""
        return bool(self.loudness_lufs is not None or self.balance_db or self.eq or self.compression or self.reverb)


def bands(eq: str) -> list[tuple[float, float, float]]:
    """The filters in `Sound.eq`: (Hz, dB, Q) each. InputError for what cannot be read or is out of range."""
    found = []
    for text in filter(str.strip, eq.split(",")):
        match = _BAND.fullmatch(text)
        if match is None:
            raise InputError(f"The filter '{text.strip()}' must be hz:db or hz:db:q, for example 80:-6 or 3000:+2:1.4.")
        hz, db, q = float(match["hz"]), float(match["db"]), float(match["q"] or 0.9)
        if not (_LOWEST_HZ <= hz <= _HIGHEST_HZ and abs(db) <= _MOST_DB and 0.1 <= q <= 20):
            raise InputError(f"The filter '{text.strip()}' must lie in 20 to 20000 Hz, ±24 dB and a q of 0.1 to 20.")
        found.append((hz, db, q))
    return found
