"""Training of the small separator: `accompany train separator songs=[songs]`, Demucs' own network on synthetic mixes.

The network is a hybrid transformer Demucs (Rouard et al., arXiv 2211.08553) with two sources. Where the published one
writes complex spectra, this one writes magnitudes and takes the phases of the mix (`cac=False`): a tenth of a percent
of its size does not learn phases. Each training mix is the voice of one song over the band of another.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor, nn

from accompany import audio
from accompany.common.config import MOST_SEED, check_range, to_dict, write_json
from accompany.common.files import complete
from accompany.common.progress import Progress
from accompany.errors import InputError
from accompany.sound.separation import VocalSeparator
from accompany.training.encoders.audio_dataset import read_mono, song_folders
from accompany.training.encoders.loop import LoopConfig, run_loop

SOURCES = ("vocals", "accompaniment")
SIGNATURE = "tiny-separator"

_FLOOR = 1e-3
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SeparatorModelConfig:
    """Sizes of the network; see `demucs.htdemucs.HTDemucs`, whose names these are.

    `samplerate` in Hz, `segment` in seconds: longer songs are separated in overlapping segments of this length.
    """

    samplerate: int = 24000
    segment: float = 4.0
    channels: int = 8
    depth: int = 4
    nfft: int = 2048
    dconv_depth: int = 1
    bottom_channels: int = 48
    t_layers: int = 2
    t_heads: int = 4
    t_hidden_scale: float = 2.0

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be."""
        check_range(self, "samplerate", least=8000, most=192_000)
        check_range(self, "segment", above=0, most=60)
        check_range(self, "channels depth nfft dconv_depth t_heads", least=1, most=10**5)
        check_range(self, "bottom_channels t_layers", least=0, most=10**5)
        check_range(self, "t_hidden_scale", above=0, most=100)


@dataclass(frozen=True)
class SeparatorTrainingConfig:
    """Data, sizes and pace of the separator.

    Attributes:
        songs: folders of song folders (`accompany synth`).
        out: run folder; `out/export` receives the model.
        held_out: songs at the beginning of the sorted list that are never trained on and give the metrics.
        clip_s: seconds of each held-out song that the metrics are of.
        batch: mixes in a step, each of `model.segment` seconds.
        gain_db: lowest and highest gain of each stem, drawn apart.
        silent_share: share of the mixes that lack one stem, so that silence is learned too.
        seed: of the weights and the draws.
    """

    songs: tuple[str, ...] = ("songs",)
    out: str = "runs/separator"
    held_out: int = 60
    clip_s: float = 10.0
    batch: int = 4
    gain_db: tuple[float, float] = (-6.0, 3.0)
    silent_share: float = 0.06
    seed: int = 0
    model: SeparatorModelConfig = field(default_factory=SeparatorModelConfig)
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(steps=2400, lr=2e-3, bf16=False, save_every=100))

    def __post_init__(self) -> None:
        """Refuse shares outside their range and batches of nothing."""
        check_range(self, "silent_share", least=0, below=1)
        check_range(self, "batch held_out", least=1, most=10**9)
        check_range(self, "clip_s", above=0, most=3600)
        check_range(self, "gain_db", least=-100, most=100)
        check_range(self, "seed", least=0, most=MOST_SEED)
        if self.gain_db[0] > self.gain_db[1]:
            raise ValueError(f"gain_db must hold the lowest and the highest gain, not {self.gain_db}")


def train_separator(config: SeparatorTrainingConfig) -> Path:
    """Train, resuming what is there, and export.

    Returns:
        the folder that `accompany prepare --separator` takes, with figures.json of the held-out songs.

    Raises:
        InputError: there are no songs, or too few.
    """
    torch.manual_seed(config.seed)
    songs = song_folders(config.songs)
    held_out, training = songs[: config.held_out], songs[config.held_out :]
    if len(training) < 2:
        raise InputError(
            f"{len(songs)} songs are too few to keep {config.held_out} apart; make more or lower held_out."
        )
    model = build_separator(config.model)
    _log.info("separator: %d weights", sum(weight.numel() for weight in model.parameters()))

    def make_loss(step: int) -> tuple[Tensor, dict[str, float]]:
        stems = draw_stems(training, np.random.default_rng((config.seed, step)), config)
        return separation_loss(model(stems.sum(1, keepdim=True))[:, :, 0], stems), {}

    run_loop(model, make_loss, config.loop, Path(config.out))
    folder = export_separator(model, config.model, Path(config.out) / "export")
    metrics = separation_metrics(VocalSeparator(str(folder)), held_out, clip_s=config.clip_s)
    write_json(folder / "figures.json", {**metrics, "training": to_dict(config)})
    return folder


def build_separator(config: SeparatorModelConfig) -> nn.Module:
    """An untrained HTDemucs: one channel in, vocals and accompaniment out."""
    from demucs.htdemucs import HTDemucs

    model: nn.Module = HTDemucs(**_arguments(config))
    return model


def draw_stems(songs: Sequence[Path], rng: np.random.Generator, config: SeparatorTrainingConfig) -> Tensor:
    """Random (vocals, accompaniment) of different songs, float32 [batch, 2, T] at the model's rate."""
    items = []
    for _ in range(config.batch):
        chosen = rng.choice(len(songs), size=2, replace=False)
        stems = [_crop(songs[i] / f"{name}.flac", rng, config) for i, name in zip(chosen, SOURCES, strict=True)]
        if rng.uniform() < config.silent_share:
            stems[rng.integers(2)][:] = 0
        items.append(np.stack(stems))
    return torch.from_numpy(np.stack(items))


def _crop(path: Path, rng: np.random.Generator, config: SeparatorTrainingConfig) -> np.ndarray:
    """A stretch of a file as float32 [T], with a random gain and sign."""
    length = round(config.model.segment * config.model.samplerate)
    start_s = rng.uniform(0.0, max(0.0, soundfile.info(path).duration - config.model.segment))
    samples = read_mono(path, config.model.samplerate, start_s=start_s, length_s=config.model.segment)
    gain = 10 ** (rng.uniform(*config.gain_db) / 20) * rng.choice((-1.0, 1.0))
    return np.asarray(audio.fit_length(samples, length) * gain, np.float32)


def separation_loss(made: Tensor, true: Tensor) -> Tensor:
    """Energy of the error against the energy of the mix in dB, no lower than -30: a mean over [B, 2, T].

    Against the mix, so that a stem that is silent counts like any other.
    """
    error = (made - true).square().mean(-1)
    mix = true.sum(1, keepdim=True).square().mean(-1) + 1e-8
    return 10 * torch.log10(error / mix + _FLOOR).mean()


def export_separator(model: nn.Module, config: SeparatorModelConfig, folder: Path) -> Path:
    """Write the model in half precision in the layout of Demucs' hub repositories: tiny.yaml and its weights."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().half().contiguous() for name, value in model.state_dict().items()}
    metadata = {"klass": "demucs.htdemucs.HTDemucs", "args": "[]", "kwargs": json.dumps(_arguments(config))}
    with complete(folder / f"{SIGNATURE}.safetensors") as temporary:
        save_file(state, temporary, metadata)
    with complete(folder / "tiny.yaml") as temporary:
        temporary.write_text(f"models: ['{SIGNATURE}']\n", encoding="utf-8")
    return folder


def bench_separator(
    name: str, songs_dir: str, *, clip_s: float = 10.0, device: str = "cpu", progress: Progress | None = None
) -> dict[str, Any]:
    """`separation_metrics` of a separator by its name, on the song folders (as `accompany synth` writes them) of one.

    Raises:
        InputError: no such separator, no songs, or none with both stems.
    """
    separator = VocalSeparator(name, device)
    metrics = separation_metrics(separator, song_folders([songs_dir]), clip_s=clip_s, progress=progress)
    return {"separator": name, "clip_s": clip_s, **metrics}


def separation_metrics(
    separator: VocalSeparator, songs: Sequence[Path], *, clip_s: float, progress: Progress | None = None
) -> dict[str, Any]:
    """Mean SI-SDR (dB) of both stems on the songs' own mixes, and the gain over the mix itself.

    Songs that do not sing or play in the clip's middle `clip_s` seconds count not at all.
    """
    rows = []
    for done, song in enumerate(songs):
        rows += [row] if (row := _song_metrics(separator, song, clip_s)) else []
        if progress is not None:
            progress((done + 1) / len(songs))
    if not rows:
        raise InputError("None of the held-out songs has both stems in its clip; hold out more songs.")
    means = {name: round(float(np.mean([row[name] for row in rows])), 3) for name in rows[0]}
    return {"clips": len(rows), **means}


def _song_metrics(separator: VocalSeparator, song: Path, clip_s: float) -> dict[str, float] | None:
    rate = separator.sample_rate
    start_s = max(0.0, (soundfile.info(song / "vocals.flac").duration - clip_s) / 2)
    true = [read_mono(song / f"{name}.flac", rate, start_s=start_s, length_s=clip_s)[None] for name in SOURCES]
    if min(float(np.abs(stem).max(initial=0.0)) for stem in true) < 1e-3:
        return None
    mix = true[0] + true[1]
    made = separator.split(audio.Audio(mix, rate))
    row = {}
    for name, stem, estimate in zip(SOURCES, true, made, strict=True):
        target = torch.from_numpy(stem)
        row[f"{name}_si_sdr_db"] = float(si_sdr_db(torch.from_numpy(audio.to_mono(estimate)), target))
        row[f"{name}_gain_db"] = row[f"{name}_si_sdr_db"] - float(si_sdr_db(torch.from_numpy(mix), target))
    return row


def _arguments(config: SeparatorModelConfig) -> dict[str, Any]:
    """Arguments of HTDemucs."""
    fixed = {"sources": list(SOURCES), "audio_channels": 1, "cac": False, "wiener_iters": -1, "end_iters": -1}
    return {**fixed, **asdict(config)}


def si_sdr_db(output: Tensor, target: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio (Le Roux et al. 2019) in dB, [B, T] -> [B]."""
    scale = (output * target).sum(-1, keepdim=True) / target.square().sum(-1, keepdim=True).clamp_min(1e-8)
    signal, noise = (scale * target).square().sum(-1), (output - scale * target).square().sum(-1)
    return 10.0 * torch.log10(signal.clamp_min(1e-8) / noise.clamp_min(1e-8))
