"""What a codec does to sound: spectra, attacks, harmony, tones and width of audio through it, against the audio.

Everything is measured at 44.1 kHz on both channels, or on their mean where a figure says so, so that codecs of any
rate and number of channels can be compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from accompany import audio
from accompany.errors import InputError

if TYPE_CHECKING:
    from accompany.encoders.codecs import AnyCodec

RATE = 44_100
MELS = ((1024, 256, 64), (2048, 512, 100), (4096, 1024, 128))
"""Window, hop and bands of the three mel spectra."""
DEFINITIONS = {
    "log_mel": "mean L1 of natural-log mel at windows of 1,024, 2,048 and 4,096 samples, floor 1e-5, both channels",
    "convergence": "norm of the error of magnitudes over the norm of the magnitudes, window 2,048, both channels",
    "onset": "Pearson r of the onset envelopes (librosa), of the mean of the channels",
    "chroma": "mean cosine of chroma (librosa, window 4,096), of the mean of the channels",
    "contrast_db": "spectral contrast by octave from 200 Hz to 12.8 kHz (librosa, window 4,096): mean shortfall in dB",
    "width_db": "level of the side over the mid in dB, less that of the truth",
}
_FLOOR = 1e-5
_WINDOW = 4096
_FIRST_HZ, _OCTAVES = 200.0, 6
_SILENT = 1e-4
_NARROWEST_DB = -30.0
"""A side channel below this counts as silent."""
_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".m4a")


@dataclass(frozen=True)
class CodingReport:
    """Means over the clips: of the codec, and of each clip against the next one (`floor`).

    `contrast` holds the contrast of each octave in dB, of truth and decoded; `rtf` the seconds that encoding and
    decoding a second take here.
    """

    figures: dict[str, float]
    floor: dict[str, float]
    contrast: dict[str, list[float]]
    rtf: dict[str, float]
    clips: int
    kbits: float

    def as_dict(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def measure_coding(
    codec: AnyCodec,
    paths: Iterable[str | Path],
    *,
    seconds: float = 8.0,
    start_s: float = 5.0,
    progress: Callable[[float], None] | None = None,
) -> CodingReport:
    """Code and decode a stretch of each file.

    Args:
        codec: of any rate; its own rate and channels are converted from and to.
        paths: audio files, and folders whose files named `accompaniment.*` are taken (all audio files where none is).
        seconds: of each file, from `start_s` on, or from its start where it is shorter.

    Raises:
        InputError: there is no audio, or it cannot be read.
    """
    truths = [read_clip(path, seconds, start_s) for path in find_audio(paths)]
    decoded, spent = [], [0.0, 0.0]
    for index, truth in enumerate(truths):
        made, took = code(codec, truth)
        decoded.append(made)
        spent = [spent[0] + took[0], spent[1] + took[1]]
        if progress:
            progress((index + 1) / len(truths))
    pairs = list(zip(truths, decoded, strict=True))
    others = [(truth, _level(other, truth)) for truth, other in zip(truths, truths[1:] + truths[:1], strict=True)]
    total_s = sum(truth.shape[1] for truth in truths) / RATE
    octaves = [np.mean([contrast(x) for x in each], axis=0).round(2).tolist() for each in (truths, decoded)]
    bits = np.log2(codec.codebook_size) * codec.n_codebooks * codec.frame_rate
    return CodingReport(
        _means(pairs),
        _means(others),
        {"truth": octaves[0], "decoded": octaves[1]},
        {"encode": spent[0] / total_s, "decode": spent[1] / total_s},
        len(truths),
        float(bits / 1000),
    )


def coding_table(report: CodingReport) -> str:
    """The report for people: a line for each figure, codec and floor."""
    lines = [f"{'':14}{'codec':>9}{'floor':>9}   {report.clips} clips, {report.kbits:.1f} kbit/s"]
    for name, meaning in DEFINITIONS.items():
        lines.append(f"{name:14}{report.figures[name]:9.3f}{report.floor[name]:9.3f}   {meaning}")
    for name, octaves in report.contrast.items():
        lines.append(f"contrast of octaves from 200 Hz, {name:8}: " + " ".join(f"{value:5.1f}" for value in octaves))
    speed = ", ".join(f"{name} {value:.3f}" for name, value in report.rtf.items())
    return "\n".join([*lines, f"seconds for a second of sound: {speed}"])


def find_audio(paths: Iterable[str | Path]) -> list[Path]:
    """The files that `measure_coding` takes; InputError where there is none."""
    found: list[Path] = []
    for given in map(Path, paths):
        if given.is_file():
            found.append(given)
            continue
        inside = sorted(path for path in given.rglob("*") if path.suffix.lower() in _SUFFIXES)
        named = [path for path in inside if path.stem == "accompaniment"]
        if not inside:
            raise InputError(f"There is no audio in '{given}'; name audio files or folders of them.")
        found += named or inside
    return found


def read_clip(path: Path, seconds: float, start_s: float) -> np.ndarray:
    """[2, T] float32 at 44.1 kHz."""
    read = audio.read(path)
    samples = audio.resample(audio.to_channels(read.samples, 2), read.sample_rate, RATE)
    wanted = round(seconds * RATE)
    first = min(round(start_s * RATE), max(0, samples.shape[1] - wanted))
    clip = samples[:, first : first + wanted]
    if clip.shape[1] < _WINDOW or np.abs(clip).max() < _SILENT:
        raise InputError(f"{path} is too short or silent from {first / RATE:.0f} s on; leave it out.")
    return clip


def code(codec: AnyCodec, samples: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Samples [2, T] at 44.1 kHz through the codec, and the seconds that encoding and decoding took."""
    given = audio.resample(audio.to_channels(samples, codec.channels), RATE, codec.sample_rate)
    begin = time.perf_counter()
    codes = codec.encode(torch.from_numpy(np.ascontiguousarray(given))[None])
    between = time.perf_counter()
    made = codec.decode(codes, given.shape[1])[0].cpu().numpy()
    end = time.perf_counter()
    back = audio.resample(audio.to_channels(made, 2), codec.sample_rate, RATE)
    return audio.fit_length(back, samples.shape[1]), (between - begin, end - between)


def figures(truth: np.ndarray, decoded: np.ndarray) -> dict[str, float]:
    """The figures of `DEFINITIONS` for one clip, truth and decoded [2, T] at 44.1 kHz."""
    spectra = [_magnitudes(truth, 2048, 512), _magnitudes(decoded, 2048, 512)]
    return {
        "log_mel": log_mel_distance(truth, decoded),
        "convergence": float(np.linalg.norm(spectra[0] - spectra[1])) / max(float(np.linalg.norm(spectra[0])), 1e-9),
        "onset": _onset_correlation(truth.mean(axis=0), decoded.mean(axis=0)),
        "chroma": _chroma_cosine(truth.mean(axis=0), decoded.mean(axis=0)),
        "contrast_db": contrast_shortfall(contrast(truth), contrast(decoded)),
        "width_db": width_db(decoded) - width_db(truth),
    }


def log_mel_distance(truth: np.ndarray, decoded: np.ndarray) -> float:
    """Mean over the three resolutions of the mean L1 of natural-log mel, [C, T] each."""
    found = []
    for window, hop, n_mels in MELS:
        mels = [_mel_bank(window, n_mels) @ _magnitudes(samples, window, hop) for samples in (truth, decoded)]
        found.append(np.abs(np.log(np.maximum(mels[0], _FLOOR)) - np.log(np.maximum(mels[1], _FLOOR))).mean())
    return float(np.mean(found))


def contrast(samples: np.ndarray) -> np.ndarray:
    """Spectral contrast [6] in dB of the octaves from 200 Hz on, of the mean of the channels of [C, T]."""
    import librosa

    hz = librosa.fft_frequencies(sr=RATE, n_fft=_WINDOW)
    # The last band would reach up to half the rate, where many recordings hold nothing.
    inside = hz <= _FIRST_HZ * 2**_OCTAVES
    magnitudes = _magnitudes(samples.mean(axis=0), _WINDOW, _WINDOW // 8)[inside]
    values = librosa.feature.spectral_contrast(S=magnitudes, sr=RATE, freq=hz[inside], fmin=_FIRST_HZ, n_bands=_OCTAVES)
    return np.asarray(values[1:].mean(axis=1))


def contrast_shortfall(truth: np.ndarray, decoded: np.ndarray) -> float:
    """Mean over the octaves of how many dB of the contrast [6] are missing; more than the truth has counts as none."""
    return float(np.maximum(truth - decoded, 0).mean())


def width_db(samples: np.ndarray) -> float:
    """Level of the side over that of the mid in dB, at least -30; samples: [2, T]."""
    mid, side = samples.mean(axis=0), 0.5 * (samples[0] - samples[1])
    ratio = np.sqrt(np.mean(np.square(side)) / max(float(np.mean(np.square(mid))), 1e-12))
    return float(max(20 * np.log10(max(float(ratio), 1e-9)), _NARROWEST_DB))


def _means(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    each = [figures(truth, decoded) for truth, decoded in pairs]
    means = {name: float(np.nanmean([found[name] for found in each])) for name in DEFINITIONS if name != "width_db"}
    # Too wide and too narrow are both wrong.
    return means | {"width_db": float(np.mean([abs(found["width_db"]) for found in each]))}


def _level(samples: np.ndarray, like: np.ndarray) -> np.ndarray:
    fitted = audio.fit_length(samples, like.shape[1])
    gain = np.sqrt(np.mean(np.square(like)) / max(float(np.mean(np.square(fitted))), 1e-12))
    return np.asarray(fitted * np.float32(gain))


def _magnitudes(samples: np.ndarray, window: int, hop: int) -> np.ndarray:
    tensor = torch.from_numpy(np.ascontiguousarray(samples, np.float32))
    taper = torch.hann_window(window)
    return torch.stft(tensor, window, hop, window=taper, return_complex=True, pad_mode="constant").abs().numpy()


@lru_cache(maxsize=8)
def _mel_bank(window: int, n_mels: int) -> np.ndarray:
    import librosa

    return np.asarray(librosa.filters.mel(sr=RATE, n_fft=window, n_mels=n_mels), np.float32)


def _onset_correlation(truth: np.ndarray, decoded: np.ndarray) -> float:
    import librosa

    first, second = (librosa.onset.onset_strength(y=samples, sr=RATE) for samples in (truth, decoded))
    if min(first.std(), second.std()) < 1e-6:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def _chroma_cosine(truth: np.ndarray, decoded: np.ndarray) -> float:
    import librosa

    # Tuning is fixed: an estimate for each clip would move one chroma against the other.
    first, second = (
        librosa.feature.chroma_stft(y=samples, sr=RATE, n_fft=_WINDOW, tuning=0.0) for samples in (truth, decoded)
    )
    norms = np.linalg.norm(first, axis=0) * np.linalg.norm(second, axis=0)
    sounding = norms > 1e-9
    return float(np.mean((first * second).sum(axis=0)[sounding] / norms[sounding])) if sounding.any() else float("nan")
