"""Effect of the prompt: very different prompts on the same vocals, against each other and against true renders.

The takes and renders are kept as sounds with a plan for independent taggers: for each tag the takes whose prompt names
it and those whose prompt does not. The area under the ROC curve between the two says how much a prompt decides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from accompany import audio
from accompany.common.config import write_json
from accompany.data.songs.compose import compose
from accompany.data.songs.instruments import INSTRUMENTS
from accompany.errors import InputError
from accompany.evaluation.clip_metrics import obedience
from accompany.evaluation.judge import Judge
from accompany.evaluation.studies.setup import StudySetup
from accompany.evaluation.studies.table import Study

SOUNDS = "study-prompts"
_TRUTH_SEED, _MOST_SEEDS = 7000, 4000

DEFINITIONS = {
    "obedience": "share of what a row's prompt asks for and forbids that the judge finds met in its takes",
    "of other prompts": "the same of the takes of all other prompts: what chance gives",
    "truth": "the same of renders of other songs whose instruments are those of the prompt: as high as the metric goes",
}


@dataclass(frozen=True)
class TrialPrompt:
    """A prompt and what tells whether it is obeyed.

    Attributes:
        text: the prompt.
        named: instrument families that have to play.
        forbidden: families that must not.
        tags: tags of independent taggers, "tagger:tag", that it names.
        open_tags: tags that it may or may not grant, so that its takes count for neither side.
        style: of the songs that true renders are made of; empty for any.
        alone: whether nothing but the named families plays in true renders.
    """

    text: str
    named: tuple[str, ...]
    forbidden: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    open_tags: tuple[str, ...] = ()
    style: str = ""
    alone: bool = False


_PIANO, _GUITAR, _STRINGS = ("jamendo:piano", "mtat:piano"), ("jamendo:guitar", "mtat:guitar"), ("mtat:strings",)
_DRUMS = ("jamendo:drums", "mtat:drums")

PROMPTS = {
    "piano": TrialPrompt("solo piano, no drums", ("piano",), ("drums", "bass"), _PIANO, alone=True),
    "guitar": TrialPrompt(
        "gentle fingerpicked acoustic guitar, no drums", ("guitar",), ("drums",),
        (*_GUITAR, "jamendo:acousticguitar"), alone=True,
    ),
    "metal": TrialPrompt(
        "heavy metal with distorted electric guitars and loud drums", ("guitar", "drums"), ("piano",),
        ("jamendo:metal", "jamendo:electricguitar", "mtat:metal", "mtat:rock"), (*_DRUMS, *_GUITAR), "metal",
    ),
    "electronic": TrialPrompt(
        "electronic dance music with synthesizers and a drum machine", ("synth", "drums"), ("guitar",),
        ("jamendo:electronic", "jamendo:synthesizer", "mtat:electronic", "mtat:synth", "mtat:techno"), _DRUMS,
        "electronic",
    ),
    "strings": TrialPrompt(
        "string quartet, violins and cello, no drums", ("strings",), ("drums", "piano"),
        (*_STRINGS, "jamendo:strings", "jamendo:violin", "mtat:violin", "mtat:cello"), alone=True,
    ),
    "flute": TrialPrompt(
        "flute and harp, no drums", ("woodwinds", "harp"), ("drums", "bass"), ("mtat:flute", "mtat:harp"), _STRINGS,
        alone=True,
    ),
    "jazz": TrialPrompt(
        "jazz trio with piano, double bass and brushed drums", ("piano", "bass", "drums"), ("synth",),
        ("jamendo:jazz",), (*_PIANO, *_DRUMS, "mtat:strings", "mtat:cello"), "jazz", alone=True,
    ),
    "rhythm": TrialPrompt(
        "only rock drums and electric bass", ("drums", "bass"), ("piano", "strings"), _DRUMS,
        ("mtat:rock", "jamendo:electricguitar"), alone=True,
    ),
}  # fmt: skip


def prompts(setup: StudySetup, out: Path, n_truth: int = 4) -> Study:
    """Takes of each prompt for each clip, written below `out` beside `n_truth` true renders of each prompt.

    Raises:
        InputError: FluidSynth, espeak-ng or a soundfont is missing, of which true renders are made, or the judge.
    """
    if setup.judge is None:
        raise InputError("A study of prompts needs a judge; give its folder with --judge.")
    rate, folder = setup.band.sample_rate, out / SOUNDS
    seconds = max(clip.seconds for clip in setup.clips)
    # The renders first: they need packages that may be missing, which should show before the takes are played.
    truth = {name: list(true_renders(prompt, n_truth, seconds, rate)) for name, prompt in PROMPTS.items()}
    played: dict[str, list[np.ndarray]] = {}
    for name, prompt in PROMPTS.items():
        takes = setup.play([prompt.text] * len(setup.clips), [{}] * len(setup.clips))
        played[name] = [np.asarray(take.samples, np.float32) for take in takes]
    clips = [clip.name.replace("/", "-") for clip in setup.clips]
    for kind, sounds, stems in (("takes", played, clips), ("truth", truth, [str(n) for n in range(n_truth)])):
        files = {name: _write(folder / kind / name, sounds[name], stems, rate) for name in PROMPTS}
        write_json(folder / f"{kind}.json", tag_plan(files))
    rows = {
        PROMPTS[name].text: {
            "obedience": _met(played[name], PROMPTS[name], rate, setup.judge),
            "of other prompts": _met(
                [samples for other in PROMPTS if other != name for samples in played[other]],
                PROMPTS[name], rate, setup.judge,
            ),
            "truth": _met(truth[name], PROMPTS[name], rate, setup.judge),
        }
        for name in PROMPTS
    }  # fmt: skip
    notes = [f"Sounds, and for each tag those whose prompt names it or does not, are in {SOUNDS} (takes, truth)."]
    return Study(f"{len(PROMPTS)} prompts, {len(setup.clips)} vocals", rows, DEFINITIONS, notes)


def true_renders(prompt: TrialPrompt, count: int, seconds: float, sample_rate: int) -> Iterator[np.ndarray]:
    """Bands [2, T] of composed songs that play what a prompt asks for."""
    from accompany.data.songs.make import render_song

    made = 0
    for seed in range(_TRUTH_SEED, _TRUTH_SEED + _MOST_SEEDS):
        if made == count:
            return
        score = compose(seed, seconds=seconds)
        families = [INSTRUMENTS[part.name].family for part in score.parts]
        if prompt.style not in ("", score.style) or not set(prompt.named) <= set(families):
            continue
        wanted = set(prompt.named) if prompt.alone else set(families) - set(prompt.forbidden)
        parts = tuple(part for part, family in zip(score.parts, families, strict=True) if family in wanted)
        band = render_song(dataclasses.replace(score, parts=parts), sample_rate=sample_rate, stems=False).accompaniment
        assert band is not None
        made += 1
        yield band


def tag_plan(files: Mapping[str, Sequence[str]]) -> dict[str, dict[str, list[str]]]:
    """For each tag the files whose prompt names it ("yes") or does not ("no"), from the files of each prompt."""
    plan = {}
    for tag in dict.fromkeys(tag for prompt in PROMPTS.values() for tag in prompt.tags):
        named = [name for name, prompt in PROMPTS.items() if tag in prompt.tags]
        other = [name for name, prompt in PROMPTS.items() if tag not in (*prompt.tags, *prompt.open_tags)]
        plan[tag] = {
            "yes": [file for name in named for file in files[name]],
            "no": [file for name in other for file in files[name]],
        }
    return plan


def _write(folder: Path, sounds: Sequence[np.ndarray], stems: Sequence[str], rate: int) -> list[str]:
    """Write sounds [2, T] or [1, T] under these names; the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder.resolve() / f"{stem}.wav" for stem in stems]
    for path, samples in zip(paths, sounds, strict=True):
        audio.write(path, samples, rate)
    return [str(path) for path in paths]


def _met(sounds: Sequence[np.ndarray], prompt: TrialPrompt, rate: int, judge: Judge) -> list[float | None]:
    known = frozenset(judge.config.families)
    named, forbidden = frozenset(prompt.named) & known, frozenset(prompt.forbidden) & known
    return [obedience(samples.mean(0), rate, named, forbidden, judge).get("obedience") for samples in sounds]
