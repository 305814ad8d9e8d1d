"""Figures of codecs: what each of them sees and does not see, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from accompany.cli import main
from accompany.errors import InputError
from accompany.evaluation import coding

pytest.importorskip("librosa", reason="the extra eval is not installed")

RATE = coding.RATE
TIME_S = np.arange(3 * RATE) / RATE


def _band(hz: float = 220.0) -> np.ndarray:
    """Tones, and clicks of noise four times a second: [2, T]."""
    rng = np.random.default_rng(0)
    tones = sum(0.05 * np.sin(2 * np.pi * hz * k * TIME_S) for k in range(1, 40))
    clicks = 0.3 * rng.standard_normal(len(TIME_S)) * np.exp(-40 * (TIME_S % 0.25))
    side = 0.06 * rng.standard_normal(len(TIME_S))
    return np.stack([tones + clicks + side, tones + clicks - side]).astype(np.float32)


def test_the_sound_itself_is_perfect() -> None:
    found = coding.figures(_band(), _band())
    perfect = {"log_mel": 0, "convergence": 0, "onset": 1, "chroma": 1, "contrast_db": 0, "width_db": 0}
    assert found == pytest.approx(perfect, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "spoil", "worse"),
    [
        ("log_mel", lambda x: 0.5 * x, lambda v: v == pytest.approx(np.log(2), abs=0.05)),
        ("convergence", lambda x: 0.5 * x, lambda v: v == pytest.approx(0.5, abs=0.01)),
        ("onset", lambda x: np.roll(x, RATE // 9, axis=1), lambda v: v < 0.3),
        ("chroma", lambda x: _band(261.6), lambda v: v < 0.9),
        ("contrast_db", lambda x: x + 0.1 * np.random.default_rng(1).standard_normal(x.shape), lambda v: v > 5),
        ("width_db", lambda x: np.stack([x.mean(axis=0)] * 2), lambda v: v < -10),
        ("width_db", lambda x: x + 0.5 * (x - x[::-1]), lambda v: v == pytest.approx(20 * np.log10(2), abs=0.1)),
    ],
)
def test_each_figure_sees_its_fault(name: str, spoil: object, worse: object) -> None:
    truth = _band()
    assert worse(coding.figures(truth, spoil(truth).astype(np.float32))[name])  # type: ignore[operator]


def test_contrast_beyond_the_truth_is_no_fault_and_none_makes_up_for_another() -> None:
    assert coding.contrast_shortfall(np.array([10.0, 20.0]), np.array([30.0, 16.0])) == 2.0
    assert coding.contrast(_band()).shape == (6,)


def test_clips_are_found_by_name_and_silence_is_refused(tmp_path: Path) -> None:
    for name in ("a/accompaniment.flac", "a/vocals.flac", "b/accompaniment.wav", "c/loop.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, np.zeros((RATE, 2)), RATE)
    assert [path.parent.name for path in coding.find_audio([tmp_path])] == ["a", "b"]
    assert [path.name for path in coding.find_audio([tmp_path / "c", tmp_path / "a/vocals.flac"])] == [
        "loop.wav",
        "vocals.flac",
    ]
    with pytest.raises(InputError, match="silent"):
        coding.read_clip(tmp_path / "c/loop.wav", 1.0, 0.0)
    (tmp_path / "d").mkdir()
    with pytest.raises(InputError, match="no audio"):
        coding.find_audio([tmp_path / "d"])


def test_the_command_measures_the_bundled_codec(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one.wav", "two.wav"):
        soundfile.write(tmp_path / name, _band().T * (0.5 if name == "one.wav" else 0.9), RATE)
    assert main(["bench", "--coding", str(tmp_path), "--json"]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out.splitlines()[-1])
    assert report["clips"] == 2 and report["kbits"] > 0 and set(report["figures"]) == set(coding.DEFINITIONS)
    assert report["figures"]["log_mel"] > 0.05 and "contrast of octaves" in err
    assert main(["bench", "--coding", str(tmp_path), "--codec", "nothing-here"]) == 2
    assert main(["bench", "--coding", str(tmp_path / "nowhere")]) == 2
