"""Plots of a voice and its accompaniment: spectrograms, chroma and the beat grid."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from accompany.common.extras import require
from accompany.common.files import replacing
from accompany.evaluation.metrics import CHROMA_HOP, CHROMA_RATE, Signal, chroma

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from accompany.api import Take
    from accompany.generation.analysis import Analysis

PITCH_CLASSES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")

OVERVIEW = (
    "harmony",
    "chord_majmin",
    "beat_f",
    "judge_beat_f",
    "downbeat_f",
    "obedience",
    "clap_score",
    "voice_leak_db",
)
"""Metrics shown by `plot_rows`."""


def plot(
    path: str | os.PathLike[str],
    vocal: Signal,
    accompaniment: Signal,
    sample_rate: int,
    *,
    beats_s: Sequence[float] = (),
    downbeats_s: Sequence[float] = (),
    chords: Sequence[tuple[float, float, str]] = (),
    title: str = "",
) -> Path:
    """Draw the vocal over the accompaniment: two mel spectrograms and two chromas on one time axis, as PNG.

    Beats are thin lines, downbeats strong ones, chords stand above the accompaniment's chroma.

    Args:
        path: of the PNG.
        vocal, accompaniment: mono [T].
        sample_rate: Hz.
        beats_s, downbeats_s: in seconds.
        chords: (start s, end s, label).
        title: above it all.

    Raises:
        InputError: the folder is missing or not writable.
    """
    figure = _figure((12, 9))
    axes = figure.subplots(4, 1, sharex=True, height_ratios=(3, 3, 2, 2))
    seconds = len(vocal) / sample_rate
    _spectrogram(axes[0], vocal, sample_rate, "voice")
    _spectrogram(axes[1], accompaniment, sample_rate, "accompaniment")
    _chromagram(axes[2], vocal, sample_rate, "voice, chroma")
    _chromagram(axes[3], accompaniment, sample_rate, "accompaniment, chroma")
    for axis in axes[1:]:
        _beats(axis, beats_s, downbeats_s)
    _chords(axes[3], chords, seconds)
    axes[0].set_xlim(0, seconds)
    axes[3].set_xlabel("time in s")
    if title:
        figure.suptitle(title)
    return _save(figure, path)


def plot_take(path: str | os.PathLike[str], take: Take, title: str = "") -> Path:
    """Draw a take with the plan that it was played from; see `plot`."""
    return plot(
        path,
        take.vocals[0],
        take.samples.mean(0),
        take.sample_rate,
        beats_s=take.plan.beats_s,
        downbeats_s=take.plan.downbeats_s,
        chords=take.plan.chords,
        title=title or take.settings.prompt,
    )


def plot_rows(path: str | os.PathLike[str], report: dict[str, Any]) -> Path:
    """Draw the main metrics of a report (`evaluate`), a panel each: the mean of every row with its interval, as PNG."""
    rows = report["rows"]
    names = list(reversed(rows))
    shown = [metric for metric in OVERVIEW if any(metric in row for row in rows.values())]
    panels = max(1, len(shown))
    figure = _figure((1.5 + 1.6 * panels, 1.2 + 0.26 * len(names)))
    axes = figure.subplots(1, panels, sharey=True, squeeze=False)
    for axis, measured in zip(axes[0], shown, strict=False):
        for height, name in enumerate(names):
            value = rows[name].get(measured)
            if value is not None:
                colour = "tab:red" if name == "accompany" else "tab:blue"
                axis.plot([value["low"], value["high"]], [height, height], color=colour, linewidth=2, alpha=0.5)
                axis.plot(value["mean"], height, "o", color=colour, markersize=4)
        axis.set_title(measured, fontsize=9)
        axis.grid(axis="x", alpha=0.3)
        axis.tick_params(labelsize=8)
    axes[0][0].set_yticks(range(len(names)), names)
    return _save(figure, path)


def plot_analysis(path: str | os.PathLike[str], vocal: Signal, sample_rate: int, analysis: Analysis) -> Path:
    """Draw the analysis of a vocal: its spectrogram with sections, its chroma with beats, chords and notes.

    As PNG; the sung notes are thick lines at their pitch classes.
    """
    plan = analysis.plan
    figure = _figure((12, 6))
    axes = figure.subplots(2, 1, sharex=True)
    _spectrogram(axes[0], vocal, sample_rate, "voice")
    _chromagram(axes[1], vocal, sample_rate, "voice, chroma")
    for note in analysis.notes:
        axes[1].hlines((note.pitch + 0.5) % 12, note.start_s, note.end_s, color="white", linewidth=3.0)
    for start, _, name in analysis.sections:
        axes[0].axvline(start, color="white", linewidth=1.0, linestyle="--")
        axes[0].text(start, 94, f" {name}", color="white", fontsize=8, va="top", clip_on=True)
    _beats(axes[1], plan.beats_s, plan.downbeats_s)
    _chords(axes[1], plan.chords, analysis.seconds)
    axes[0].set_xlim(0, analysis.seconds)
    axes[1].set_xlabel("time in s")
    tempo = f"{plan.tempo_bpm:.1f} beats a minute" if plan.tempo_bpm else "no tempo"
    figure.suptitle(f"{tempo}, {plan.key or 'no key'}")
    return _save(figure, path)


def _figure(size: tuple[float, float]) -> Figure:
    """A figure of its own, in inches: `pyplot` would keep it, and change what a notebook draws with."""
    require("eval", "matplotlib", "librosa", what="A plot")
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def _save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    with replacing(Path(path)) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    return Path(path)


def _beats(axis: Any, beats_s: Sequence[float], downbeats_s: Sequence[float]) -> None:
    strong = set(np.round(downbeats_s, 3).tolist())
    for beat in beats_s:
        first = round(float(beat), 3) in strong
        axis.axvline(beat, color="white", linewidth=1.4 if first else 0.6, alpha=0.9 if first else 0.5)


def _chords(axis: Any, chords: Sequence[tuple[float, float, str]], seconds: float) -> None:
    """Names at the top of a chroma, where there is room for them."""
    for start, end, label in chords:
        if end - start > seconds / 60:
            axis.text(start, 11.7, label, color="white", fontsize=7, va="top", clip_on=True)


def _spectrogram(axis: Any, signal: Signal, sample_rate: int, label: str) -> None:
    import librosa

    mel = librosa.feature.melspectrogram(y=signal, sr=sample_rate, n_fft=2048, hop_length=512, n_mels=96)
    decibels = librosa.power_to_db(mel + 1e-10, ref=max(float(mel.max()), 1e-10), top_db=70)
    axis.imshow(decibels, origin="lower", aspect="auto", cmap="magma", extent=(0, len(signal) / sample_rate, 0, 96))
    axis.set_yticks(_mel_ticks(sample_rate), ["100 Hz", "500 Hz", "2 kHz", "8 kHz"])
    axis.set_ylabel(label)


def _mel_ticks(sample_rate: int) -> list[float]:
    import librosa

    top = librosa.hz_to_mel(sample_rate / 2)
    return [float(96 * librosa.hz_to_mel(hz) / top) for hz in (100, 500, 2000, 8000)]


def _chromagram(axis: Any, signal: Signal, sample_rate: int, label: str) -> None:
    energy = chroma(signal, sample_rate)
    energy = energy / np.maximum(energy.max(0, keepdims=True), 1e-3 * max(float(energy.max()), 1e-9))
    width = energy.shape[1] * CHROMA_HOP / CHROMA_RATE
    axis.imshow(energy, origin="lower", aspect="auto", cmap="viridis", extent=(0, width, 0, 12))
    axis.set_yticks(np.arange(12) + 0.5, PITCH_CLASSES, fontsize=7)
    axis.set_ylabel(label)
