"""Training of the listener's harmoniser: `accompany train harmoniser listener=DIR tokens=DIR`.

Most of what it learns from are symbolic songs (composed, or published scores; milliseconds each) whose notes are read
along their own beats. The rest are sung songs of a tokens folder, read along the grids that the listener decides on, so
that it meets predicted melodies and wrong grids. The listener itself stays as it is.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from accompany.common.config import MOST_PROCESSES, MOST_SEED, check_range, to_dict
from accompany.common.files import complete
from accompany.common.saving import save_module
from accompany.common.weights import load_module
from accompany.data.loading.crops import LoadingConfig, TokenDataset, train_loader, val_loader
from accompany.data.scores.drawing import ScoreChoice, draw_song
from accompany.data.songs.score import Score
from accompany.errors import InputError
from accompany.music.beat_melody import BEAT_DIM, DOWNBEAT, KNOWN_DOWNBEATS, beats_of_features, beats_of_tracks
from accompany.music.harmony import NO_CHORD, key_index, majmin
from accompany.stages.batch import Batch
from accompany.stages.harmoniser import Harmoniser, HarmoniserConfig
from accompany.stages.listener import Listener
from accompany.stages.losses import harmoniser_losses
from accompany.training.encoders.loop import LoopConfig, fingerprint, run_loop
from accompany.training.stages.analysis_scores import score_analysis

_log = logging.getLogger(__name__)

MODEL_DIR = "model"
_RATE = 100.0
"""Of the tracks that notes are written into: four steps for each frame of melody features, as the features have."""

_FEW_BEATS = 6
_TRIES = 4
"""Crops analysed for each usable one, at most."""


@dataclass(frozen=True)
class HarmoniserTrainingConfig:
    """Training of the harmoniser.

    Attributes:
        listener: folder of a trained listener.
        tokens: tokens folder with melody features, chords and keys; empty for symbolic songs alone.
        out: gets `paper.npz`, `heard.npz` and `checkpoint.pt`, from which a run that was stopped goes on, and the
            listener with its harmoniser in `model`.
        composed: symbolic songs, of `song_s` seconds; first_seed: of them. Keep clear of the seeds of test songs.
        scores: folders of published scores; scored: songs drawn from their training split, of `song_s` seconds too.
        heard: crops of the tokens of `heard_s` seconds; heard_share: of each batch.
        val_items: validation crops whose metrics are logged before and after.
        model: sizes of the harmoniser.
        loop: length and pace of its training.
        batch_size: crops in a step.
        crop_s: shortest and longest stretch of a song that is learnt at once.
        workers: processes that compose.
        loading: variation of the crops.
        seed: of every draw.
    """

    listener: str = ""
    tokens: str = "tokens"
    out: str = "runs/harmoniser"
    composed: int = 40_000
    song_s: float = 24.0
    first_seed: int = 5_000_000
    scores: list[str] = field(default_factory=list)
    scored: int = 0
    heard: int = 3000
    heard_s: float = 20.0
    heard_share: float = 0.25
    val_items: int = 256
    model: HarmoniserConfig = field(default_factory=lambda: HarmoniserConfig(width=96))
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(steps=4000, lr=2e-3, weight_decay=0.05, warmup_steps=200, bf16=False)
    )
    batch_size: int = 48
    crop_s: tuple[float, float] = (8.0, 22.0)
    workers: int = 1
    loading: LoadingConfig = field(default_factory=lambda: LoadingConfig(stretch_rate=0.0, dry_rate=0.5))
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for counts that are too small."""
        check_range(self, "composed batch_size", least=1, most=10**9)
        check_range(self, "workers", least=1, most=MOST_PROCESSES)
        check_range(self, "heard val_items first_seed scored", least=0, most=10**9)
        check_range(self, "song_s heard_s crop_s", above=0, most=3600)
        check_range(self, "heard_share", least=0, below=1)
        check_range(self, "seed", least=0, most=MOST_SEED)
        if self.model.width < 1:
            raise ValueError(f"model.width must be at least 1, not {self.model.width}")
        if self.scored and not self.scores:
            raise ValueError(f"scored={self.scored} needs scores, folders of published scores")
        if self.crop_s[0] > self.crop_s[1]:
            raise ValueError(f"crop_s must hold the shortest and the longest stretch, not {self.crop_s}")


@dataclass(frozen=True)
class Item:
    """A melody along a grid, [T, BEAT_DIM], its chords [T] (majmin) and its key (0 to 23)."""

    beats: np.ndarray
    chords: np.ndarray
    key: int


def train_harmoniser(config: HarmoniserTrainingConfig) -> Path:
    """Train the harmoniser and save the listener with it; returns the listener's folder."""
    if not config.listener:
        raise InputError("Name the folder of a trained listener: listener=DIR.")
    listener = load_module(Listener, Path(config.listener)).eval()
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    made_from = _known(config, "composed", "song_s", "first_seed", "scores", "scored")
    symbolic = _kept(out / "paper.npz", made_from, lambda: _symbolic(config))
    if not symbolic:
        raise InputError(f"Songs of {config.song_s:g} s have too few beats to learn from; raise song_s.")
    predicted: list[Item] = []
    if config.tokens and config.heard:
        made_from = _known(config, "listener", "tokens", "heard", "heard_s", "loading", "seed")
        predicted = _kept(out / "heard.npz", made_from, lambda: _analyzed_crops(listener, config))
        if not predicted:
            _log.warning(
                "No song of %s has %d beats, chords and a key; learning from symbolic songs alone.",
                config.tokens,
                _FEW_BEATS,
            )
    torch.manual_seed(config.seed)
    harmoniser = Harmoniser(config.model)
    _fit(harmoniser, symbolic, predicted, config)
    made = Listener(dataclasses.replace(listener.config, harmoniser=config.model))
    own = {f"harmoniser.{name}": value for name, value in harmoniser.state_dict().items()}
    before = {name: value for name, value in listener.state_dict().items() if not name.startswith("harmoniser.")}
    made.load_state_dict({**before, **own})
    if config.tokens:
        for name, each in (("before", listener), ("after", made)):
            _log.info("%s: %s", name, {key: round(value, 3) for key, value in _validate(each, config).items()})
    save_module(made, made.config, out / MODEL_DIR)
    return out / MODEL_DIR


def _known(config: HarmoniserTrainingConfig, *names: str) -> str:
    """Some of the settings, as text."""
    return json.dumps({name: value for name, value in to_dict(config).items() if name in names}, sort_keys=True)


def _kept(path: Path, made_from: str, make: Callable[[], list[Item]]) -> list[Item]:
    """Items from a file, when it was made from the same settings; else made, and written there."""
    if path.is_file():
        with np.load(path) as content:
            if str(content["made_from"]) == made_from:
                ends = np.cumsum(content["counts"])[:-1]
                parts = (np.split(content[name], ends) for name in ("beats", "chords"))
                return [Item(*each) for each in zip(*parts, content["keys"].tolist(), strict=True)]
    items = make()
    if not items:
        return []
    with complete(path) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            beats=np.concatenate([item.beats for item in items]).astype(np.float32),
            chords=np.concatenate([item.chords for item in items]).astype(np.int8),
            keys=np.array([item.key for item in items]),
            counts=np.array([len(item.beats) for item in items]),
            made_from=np.array(made_from),
        )
    return items


def item_of_score(score: Score) -> Item | None:
    """A symbolic song along its own beats, sung with the errors of its singer; None where it has too few beats."""
    rng = np.random.default_rng([score.seed, 0x4A12])
    n = round(score.duration_s * _RATE)
    pitch_classes, onsets, voiced = np.zeros((n, 12)), np.zeros(n), np.zeros(n)
    for note in score.melody:
        late_s = rng.normal() * score.voice.timing_jitter_s if note.syllable else 0.0
        pitch = note.pitch + (score.voice.pitch_offset_cents + rng.normal() * score.voice.detune_cents) / 100
        start, end = max(round((note.start_s + late_s) * _RATE), 0), round(note.end_s * _RATE)
        if start >= min(end, n):
            continue
        lower = int(np.floor(pitch))
        pitch_classes[start:end] = 0.0
        pitch_classes[start:end, lower % 12] = 1 - (pitch - lower)
        pitch_classes[start:end, (lower + 1) % 12] = pitch - lower
        voiced[start:end] = 1.0
        onsets[start] = 1.0 if note.syllable else 0.5
    beats_s = np.array([beat for beat in score.beats_s if beat < score.duration_s])
    if len(beats_s) < _FEW_BEATS:
        return None
    beats = beats_of_tracks(pitch_classes, onsets, voiced, _RATE, beats_s, np.array(score.downbeats_s))
    return Item(beats, _chords_at(score.chords, beats_s), key_index(score.key))


def _chords_at(chords: Sequence[tuple[float, float, str]], beats_s: np.ndarray) -> np.ndarray:
    """The chord [T] in the middle of each beat."""
    middles = beats_s + float(np.median(np.diff(beats_s))) / 2
    ends = np.array([end for _, end, _ in chords])
    numbers = np.array([majmin(label) for *_, label in chords])
    return numbers[np.minimum(np.searchsorted(ends, middles, side="right"), len(numbers) - 1)]


def _written(job: tuple[ScoreChoice | None, int, int, float]) -> Item | None:
    choice, number, seed, seconds = job
    return item_of_score(draw_song(choice, seed - number, number, seed, seconds=seconds).score)


def _symbolic(config: HarmoniserTrainingConfig) -> list[Item]:
    """Composed songs, then songs of scores."""
    choice = ScoreChoice(tuple(Path(folder) for folder in config.scores)) if config.scored else None
    kinds = [(None, config.composed), (choice, config.scored)]
    jobs = [
        (kind, number, config.first_seed + number, config.song_s) for kind, count in kinds for number in range(count)
    ]
    with ProcessPoolExecutor(config.workers) as pool:
        made = tqdm(pool.map(_written, jobs, chunksize=64), total=len(jobs), desc="Composing", unit="song")
        return [item for item in made if item is not None]


def _analyzed_crops(listener: Listener, config: HarmoniserTrainingConfig) -> list[Item]:
    """Crops along the grids that the listener decides on."""
    loading = dataclasses.replace(config.loading, crop_s=config.heard_s, seed=config.seed)
    dataset = TokenDataset(config.tokens, "train", loading, needs_band=False)
    made: list[Item] = []
    with tqdm(total=config.heard, desc="Analyzing", unit="crop") as progress:
        for seen, batch in enumerate(train_loader(dataset)):
            made += _items_of(listener, batch)
            progress.update(min(len(made), config.heard) - progress.n)
            # Tokens without keys or chords, or too short for a beat, would be asked for ever.
            if len(made) >= config.heard or seen * batch.size > _TRIES * config.heard + len(dataset):
                break
    return made[: config.heard]


@torch.inference_mode()
def _items_of(listener: Listener, batch: Batch) -> Iterator[Item]:
    """Items of a batch with enough beats, known chords and a known key."""
    batch = batch.float()
    output = listener(batch.need("vocal"), batch.vocal_mask)
    rate = listener.config.frame_rate
    for item in range(batch.size):
        chords, key = batch.need("chord_target")[item].numpy(), int(batch.need("key_target")[item])
        n = int(np.append(chords < 0, True).argmax())  # a short song is padded
        if key < 0 or not n:
            continue
        plan = listener.plan(output, n, item=item)
        beats_s = np.array([beat for beat in plan.beats_s if beat < n / rate])
        if len(beats_s) < _FEW_BEATS:
            continue
        melody = batch.need("vocal")[item, :n].numpy()
        middles = beats_s + float(np.median(np.diff(beats_s))) / 2
        at_beats = chords[np.minimum((middles * rate).astype(int), n - 1)]
        yield Item(beats_of_features(melody, rate, beats_s, np.array(plan.downbeats_s)), at_beats, key)


def _fit(harmoniser: Harmoniser, symbolic: list[Item], predicted: list[Item], config: HarmoniserTrainingConfig) -> None:
    """Train in place; the crops of a step depend on its number alone."""
    n_predicted = round(config.heard_share * config.batch_size) if predicted else 0
    picks = [(symbolic, config.batch_size - n_predicted), (predicted, n_predicted)]

    def make_loss(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([config.seed, step])
        items = [varied(pool[rng.integers(len(pool))], config.crop_s, rng) for pool, n in picks for _ in range(n)]
        losses = harmoniser_losses(harmoniser, *_padded(items))
        return losses["loss"], {name: float(losses[name].detach()) for name in ("chord", "key")}

    learnt = (each for item in (*symbolic, *predicted) for each in (item.beats, item.chords, np.array(item.key)))
    made_from = fingerprint(config, learnt, ("out", "workers", "val_items"))
    run_loop(harmoniser, make_loss, config.loop, Path(config.out), made_from=made_from)


def varied(item: Item, crop_s: tuple[float, float], rng: np.random.Generator) -> Item:
    """A crop of an item in another key, with the errors of an analysis.

    Bars are unknown or wrong in nearly half of the crops, a fifth above sounds along as its overtones do, some halves
    of beats are missed, and one grid in ten stands half a beat off.
    """
    period_s = 0.5 * 2.0 ** float(item.beats[0, -1])
    n = min(max(round(rng.uniform(*crop_s) / period_s), _FEW_BEATS), len(item.beats))
    first = int(rng.integers(len(item.beats) - n + 1))
    beats, chords = item.beats[first : first + n].copy(), item.chords[first : first + n]
    bars = rng.random()
    if bars < 0.25:
        beats[:, DOWNBEAT] = beats[:, KNOWN_DOWNBEATS] = 0.0
    elif bars < 0.45:
        beats[:, DOWNBEAT] = np.roll(beats[:, DOWNBEAT], rng.integers(4))
    halves = beats[:, :DOWNBEAT].reshape(2 * n, -1)
    if rng.random() < 0.1:
        halves = np.roll(halves, 1, axis=0)
    classes = halves[:, :12]
    halves[:, :12] = 0.9 * classes + 0.1 * rng.random() * np.roll(classes, 7, axis=1)
    halves = halves * (rng.random((2 * n, 1)) > 0.03 * rng.integers(3))
    up = int(rng.integers(12))
    halves[:, :12] = np.roll(halves[:, :12], up, axis=1)
    beats[:, :DOWNBEAT] = halves.reshape(n, -1)
    moved = np.where(chords == NO_CHORD, chords, chords // 12 * 12 + (chords % 12 + up) % 12)
    return Item(beats, moved, item.key // 12 * 12 + (item.key % 12 + up) % 12)


def _padded(items: Sequence[Item]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Beats [B, T, BEAT_DIM], chords [B, T], keys [B], known [B, T]."""
    longest = max(len(item.beats) for item in items)
    beats, chords = torch.zeros(len(items), longest, BEAT_DIM), torch.zeros(len(items), longest, dtype=torch.long)
    known = torch.zeros(len(items), longest, dtype=torch.bool)
    for row, item in enumerate(items):
        n = len(item.beats)
        beats[row, :n] = torch.from_numpy(item.beats)
        chords[row, :n] = torch.from_numpy(item.chords.astype(np.int64))
        known[row, :n] = True
    return beats, chords, torch.tensor([item.key for item in items]), known


def _validate(listener: Listener, config: HarmoniserTrainingConfig) -> dict[str, float]:
    """Metrics on validation crops of ten seconds."""
    dataset = TokenDataset(config.tokens, "val", dataclasses.replace(config.loading, crop_s=10.0), needs_band=False)
    sums: dict[str, float] = {}
    total = 0
    for batch in val_loader(dataset, config.val_items):
        for name, value in score_analysis(listener, batch, batch.size).items():
            sums[name] = sums.get(name, 0.0) + batch.size * value
        total += batch.size
    return {name: value / total for name, value in sums.items()}
