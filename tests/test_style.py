"""Prompts that name a style, the judge's ear for styles, and the figure that comes of both."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from accompany import audio
from accompany.common.saving import save_module
from accompany.common.weights import load_module
from accompany.data.songs.styles import STYLES
from accompany.evaluation.judge import Judge, JudgeConfig
from accompany.evaluation.style_obedience import PredictedStyles
from accompany.evaluation.style_words import named_styles
from accompany.evaluation.testset import Clip
from accompany.training.judge.train import JudgeTrainingConfig, train_judge

RATE = 24000
SECONDS = 11.0


@pytest.mark.parametrize(
    ("prompt", "styles"),
    [
        ("warm jazz trio, brushed drums", {"jazz"}),
        ("A LO-FI HIP-HOP BEAT", {"hip hop"}),
        ("smooth R&B with Rhodes", {"soul"}),
        ("Lovers rock, no strings", {"reggae"}),  # a wording of its own, and no rock
        ("soulful gospel", {"gospel"}),
        ("soulful relaxed pop", {"pop"}),  # how it is played, not what
        ("soulful", {"soul"}),
        ("jazz and funk", {"jazz", "funk"}),
        ("jazz piano trio", {"jazz"}),
        ("rock, no drums", {"rock"}),
        ("rock, not metal", {"rock"}),
        ("not just rock", {"rock"}),
        ("neither rock nor pop, but jazz", {"jazz"}),
        ("pop without any metal or rock", {"pop"}),
        ("0: solo piano; 12.5: rock band", {"rock"}),
        ("not rock", set()),
        ("no slow rock, please", set()),
        ("I don't want rock", set()),
        ("non-rock", set()),
        ("jazz guitar and rock drums", set()),  # instruments
        ("bossa double bass", set()),
        ("popcorn on a rocky road", set()),
        ("solo piano", set()),
        ("", set()),
    ],
)
def test_a_prompt_names_the_styles_that_it_asks_for(prompt, styles):
    assert named_styles(prompt) == styles


def test_every_wording_of_the_captions_names_its_style():
    for name, style in STYLES.items():
        for word in style.words:
            assert named_styles(f"a warm {word} backing track with piano, no strings") == {name}, word


def noise(seed: int) -> np.ndarray:
    """Bursts of noise, two a second."""
    time_s = np.arange(round(SECONDS * RATE)) / RATE
    rng = np.random.default_rng(seed)
    return (0.2 * rng.standard_normal(len(time_s)) * np.exp(-12 * (time_s % 0.5))).astype(np.float32)


def hum(seed: int) -> np.ndarray:
    """A low chord that lasts."""
    time_s = np.arange(round(SECONDS * RATE)) / RATE
    root = 110 * 2 ** (seed / 12)
    return sum(0.1 * np.sin(2 * np.pi * root * ratio * time_s) for ratio in (1, 1.26, 1.5)).astype(np.float32)


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    root = tmp_path_factory.mktemp("songs")
    for i in range(8):
        sound, style = (noise(i), "rock") if i % 2 else (hum(i), "ballad")
        (root / f"{i}" / "stems").mkdir(parents=True)
        audio.write(root / f"{i}" / "accompaniment.flac", sound[None], RATE)
        audio.write(root / f"{i}" / "stems" / "piano.flac", sound[None], RATE)
        (root / f"{i}" / "song.json").write_text(json.dumps({"beats": [0.5, 1.0, 1.5], "style": style}))
    return root


SMALL = {"steps": 4, "batch_size": 2, "min_songs": 3, "width": 8, "depth": 1, "crops": 40, "validation_share": 0.25}


@pytest.fixture(scope="module")
def judge_dir(songs, tmp_path_factory):
    out = tmp_path_factory.mktemp("judges") / "judge"
    return train_judge(JudgeTrainingConfig(songs=str(songs), out=str(out), **SMALL))


def clip(name: str, prompt: str) -> Clip:
    return Clip(name, RATE, np.zeros_like(hum(0)), hum(0), prompt)


def test_a_judge_learns_styles_and_tells_how_well(judge_dir):
    judge = load_module(Judge, judge_dir)
    assert judge.config.styles == ("ballad", "rock")
    sounds = torch.from_numpy(np.stack([noise(20), hum(5), 0.1 * noise(21)]))
    assert judge.classify_styles(sounds) == ["rock", "ballad", "rock"]
    metrics = json.loads((judge_dir / "figures.json").read_text())["styles"]
    assert metrics["top1"] == metrics["balanced"] == 1.0 and metrics["chance"] == 0.5
    assert metrics["by_style"]["rock"] == {"right": 1.0, "clips": 1, "taken_for": ""}


def test_styles_made_anew_leave_all_else_to_the_bit(songs, judge_dir, tmp_path):
    again = train_judge(
        JudgeTrainingConfig(songs=str(songs), out=str(tmp_path), judge=str(judge_dir), **SMALL | {"crops": 24})
    )
    before, after = load_module(Judge, judge_dir), load_module(Judge, again)
    assert not torch.equal(before.style.outlet.weight, after.style.outlet.weight)
    kept = [key for key in before.state_dict() if not key.startswith("style.")]
    assert all(torch.equal(before.state_dict()[key], after.state_dict()[key]) for key in kept)
    mel = torch.randn(2, 100, before.config.n_mels)
    assert all(torch.equal(a, b) for a, b in zip(before(mel), after(mel), strict=True))
    metrics = [json.loads((Path(folder) / "figures.json").read_text()) for folder in (judge_dir, again)]
    assert metrics[0]["families"] == metrics[1]["families"]


def test_songs_without_a_style_make_a_judge_without_that_ear(songs, tmp_path):
    for path in songs.glob("*/song.json"):
        folder = tmp_path / "plain" / path.parent.name
        (folder / "stems").mkdir(parents=True)
        for name in ("accompaniment.flac", "stems/piano.flac"):
            (folder / name).symlink_to(path.parent / name)
        (folder / "song.json").write_text(json.dumps({"beats": [0.5]}))
    out = train_judge(JudgeTrainingConfig(songs=str(tmp_path / "plain"), out=str(tmp_path / "judge"), **SMALL))
    judge = load_module(Judge, out)
    assert judge.style is None and json.loads((out / "figures.json").read_text())["styles"] == {}
    predicted = PredictedStyles(judge)
    assert predicted.add("truth", clip("a", "ballad"), hum(0)) == {} and predicted.report() == {}


def test_a_judge_from_before_styles_still_loads(tmp_path):
    save_module(Judge(JudgeConfig(families=("piano",), width=8, depth=1)), JudgeConfig(), tmp_path)
    (tmp_path / "config.json").write_text('{"families": ["piano"], "n_mels": 64, "width": 8, "depth": 1}')
    assert PredictedStyles(load_module(Judge, tmp_path)).add("truth", clip("a", "ballad"), hum(0)) == {}
    assert PredictedStyles(None).add("truth", clip("a", "ballad"), hum(0)) == {}


def test_the_figure_is_one_where_the_style_asked_for_is_heard(judge_dir):
    predicted = PredictedStyles(load_module(Judge, judge_dir))
    slow, loud = clip("slow", "a slow ballad"), clip("loud", "rock or a ballad")
    denies, other, none = clip("denies", "not rock"), clip("other", "jazz trio"), clip("none", "piano")
    assert predicted.add("ours", slow, hum(3)) == {"style": 1.0}
    assert predicted.add("theirs", slow, noise(3)) == {"style": 0.0}
    assert predicted.add("silence", slow, np.zeros(RATE, np.float32)) == {"style": 0.0}
    assert predicted.add("ours", loud, noise(4)) == {"style": 1.0}
    assert predicted.granted("ours", loud, slow) == {"style": 0.0}  # by the prompt of another clip
    for unasked in (denies, other, none):  # this judge knows no jazz
        assert predicted.add("ours", unasked, hum(3)) == {}
    report = predicted.report()
    assert report["asked"] == {"slow": ["ballad"], "loud": ["ballad", "rock"], "denies": [], "other": [], "none": []}
    assert report["heard"]["ours"]["loud"] == "rock" and report["heard"]["silence"]["slow"] == ""
