"""Training of the small MERT (arXiv 2306.00107) from scratch in `transformers.HubertModel`.

Masked prediction with two teachers: an acoustic one (codes of the codec, or k-means of log-mel frames before
there is a codec) and a musical one (constant-Q spectrum, chroma, bass and onsets). The paper's CQT loss is on
masked frames alone; here the frames in sight count too, since a model this small and this young must first
learn it from the signal.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from accompany.common.config import MOST_SEED, check_range, write_json
from accompany.common.folders import save_array
from accompany.common.saving import save_half
from accompany.encoders.codec import Codec
from accompany.errors import InputError
from accompany.training.encoders.audio_dataset import song_folders, split_songs
from accompany.training.encoders.filterbank import PHASES, FilterbankConfig, install_filterbank
from accompany.training.encoders.loop import LoopConfig, run_loop
from accompany.training.encoders.mert_data import N_TARGETS, SIZES, AcousticTeacher, MertBatch, MertSongs

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MertTrainingConfig:
    """Sizes, data and pace of the small MERT.

    Attributes:
        songs: folders of synthetic songs (`accompany synth`).
        out: run folder; `out/export` receives the model in the published layout.
        codec: folder of a trained codec whose codes teach; None clusters log-mel frames instead.
        max_songs: songs to train on, at most.
        held_out_songs: songs never trained on.
        sources: probabilities of drawing the accompaniment, the mix, the vocals.
        hop: samples between two frames.
        kernel: samples of the first convolution.
        n_codebooks, codebook_size: the acoustic teacher's (codec: its first `n_codebooks`).
        mask_rate, mask_frames: share of masked frames and length of a masked span.
        seen_weight: weight of the frames in sight against the masked ones.
        bass_weight, flux_weight: weights of those musical targets against the others.
    """

    songs: tuple[str, ...] = ("songs",)
    out: str = "runs/mert"
    codec: str | None = None
    seed: int = 0
    max_songs: int = 1000
    held_out_songs: int = 20
    sources: tuple[float, float, float] = (0.6, 0.1, 0.3)
    sample_rate: int = 24000
    hop: int = 480
    kernel: int = 4096
    width: int = 256
    layers: int = 5
    heads: int = 4
    ff: int = 768
    bank: FilterbankConfig = field(default_factory=FilterbankConfig)
    n_codebooks: int = 2
    codebook_size: int = 512
    crop_s: float = 5.0
    batch: int = 8
    mask_rate: float = 0.4
    mask_frames: int = 10
    seen_weight: float = 0.5
    musical_weight: float = 2.0
    bass_weight: float = 1.5
    flux_weight: float = 1.5
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(steps=3000, lr=1e-3, warmup_steps=150))

    def __post_init__(self) -> None:
        """Refuse rates outside their ranges."""
        check_range(self, "mask_rate", above=0, below=1)
        check_range(self, "seed", least=0, most=MOST_SEED)
        check_range(self, "max_songs held_out_songs batch n_codebooks mask_frames", least=1, most=10**9)
        check_range(self, "hop kernel width layers heads ff", least=1, most=10**5)
        check_range(self, "codebook_size", least=2, most=10**6)
        check_range(self, "sample_rate", least=8000, most=192_000)
        check_range(self, "crop_s", above=0, most=3600)
        check_range(self, "sources seen_weight musical_weight bass_weight flux_weight", least=0)
        if not sum(self.sources):
            raise ValueError("sources must hold a chance above 0")
        if self.width % self.heads:
            raise ValueError("width must be a multiple of heads")


def train_mert(config: MertTrainingConfig) -> Path:
    """Train, resuming what is there, and export.

    Returns:
        the folder that `HubertModel.from_pretrained` loads, preprocessor_config.json beside it.

    Raises:
        InputError: there are no songs, or too few.
    """
    torch.manual_seed(config.seed)
    training, _ = split_songs(song_folders(config.songs), config.held_out_songs)
    training = training[: config.max_songs]
    songs = MertSongs(training, Path(config.out) / "cache", config.sample_rate, config.hop, config.sources)
    frames = songs.sample_frames(60_000, config.seed)
    songs.teach(codec_teacher(config) if config.codec else cluster_teacher(frames[:, N_TARGETS:], config))
    task = MertTask(config, frames[:, :N_TARGETS])
    crop_frames = round(config.crop_s * config.sample_rate / config.hop)

    def make_loss(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng((config.seed, step))
        batch = songs.batch(rng, config.batch, crop_frames)
        mask = span_mask(rng, config.batch, crop_frames, config.mask_rate, config.mask_frames)
        return task(batch, mask)

    run_loop(task, make_loss, config.loop, Path(config.out))
    return export_mert(task.model, config, Path(config.out) / "export")


def build_mert(config: MertTrainingConfig) -> Any:
    """A `HubertModel` of the configured size whose first two convolutions are the filterbank."""
    from transformers import HubertConfig, HubertModel

    n_filters = config.bank.n_filters
    model = HubertModel(
        HubertConfig(
            hidden_size=config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=config.ff,
            feat_extract_norm="layer",
            conv_dim=[PHASES * n_filters, 2 * n_filters, config.width],
            conv_kernel=[config.kernel, 1, 3],
            conv_stride=[config.hop, 1, 1],
            conv_bias=False,
            num_conv_pos_embeddings=31,
            num_conv_pos_embedding_groups=16,
            do_stable_layer_norm=True,
            layerdrop=0.0,
            hidden_dropout=0.0,
            attention_dropout=0.0,
            activation_dropout=0.0,
            mask_time_prob=config.mask_rate,
            mask_time_length=config.mask_frames,
        )
    )
    install_filterbank(model, config.bank, config.sample_rate)
    return model


class MertTask(nn.Module):
    """The model with the heads that its teachers need.

    Args:
        config: sizes and weights.
        frames: [N, N_TARGETS] musical targets, to standardise by.
    """

    mean: Tensor
    scale: Tensor
    weights: Tensor

    def __init__(self, config: MertTrainingConfig, frames: np.ndarray) -> None:
        super().__init__()
        self.config = config
        self.model = build_mert(config)
        self.musical = nn.Linear(config.width, N_TARGETS)
        self.acoustic = nn.Linear(config.width, config.n_codebooks * config.codebook_size)
        self.register_buffer("mean", torch.from_numpy(frames.mean(0)))
        self.register_buffer("scale", torch.from_numpy(frames.std(0) + 1e-3))
        weight = {"bass": config.bass_weight, "flux": config.flux_weight}
        per_target = [torch.full((size,), weight.get(name, 1.0)) for name, size in SIZES.items()]
        self.register_buffer("weights", torch.cat(per_target))

    def forward(self, batch: MertBatch, mask: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Loss and metrics of a batch whose frames `mask` [B, A] (bool) are hidden from the model."""
        states = self.model(normalised(batch.audio, self.config), mask_time_indices=mask).last_hidden_state
        said = self.musical(states).float()
        error = functional.smooth_l1_loss(said, (batch.targets - self.mean) / self.scale, reduction="none")
        musical = _mean_over(mask, (error * self.weights).mean(-1), self.config.seen_weight)
        logits = self.acoustic(states).float().unflatten(-1, (self.config.n_codebooks, -1))
        entropy = functional.cross_entropy(logits.permute(0, 3, 2, 1), batch.codes, reduction="none").mean(1)
        acoustic = _mean_over(mask, entropy, self.config.seen_weight)
        metrics = {
            "acoustic": float(acoustic.detach()),
            "musical_seen": float(error[~mask].mean().detach()),
            "musical_masked": float(error[mask].mean().detach()),
        }
        return self.config.musical_weight * musical + 0.25 * acoustic, metrics


def normalised(audio: Tensor, config: MertTrainingConfig) -> Tensor:
    """[B, T] at mean 0 and variance 1, padded so that frame i of the model is centred on (i + 0.5) hops."""
    audio = (audio - audio.mean(-1, keepdim=True)) / (audio.var(-1, keepdim=True) + 1e-7).sqrt()
    reach = config.kernel + 2 * config.hop - config.hop
    return functional.pad(audio, (reach // 2, reach - reach // 2))


def span_mask(rng: np.random.Generator, batch: int, n_frames: int, rate: float, span: int) -> Tensor:
    """[B, A] bool: spans of `span` frames at random positions, about `rate` of all frames."""
    starts = rng.random((batch, n_frames)) < -np.log(1 - rate) / span
    mask = np.zeros((batch, n_frames + span), dtype=bool)
    for offset in range(span):
        mask[:, offset : offset + n_frames] |= starts
    return torch.from_numpy(mask[:, :n_frames])


def cluster_teacher(frames: np.ndarray, config: MertTrainingConfig) -> AcousticTeacher:
    """Residual k-means of log-mel frames [N, M], the codec's stand-in; `out/clusters.npy` keeps it for a resume."""
    path = Path(config.out) / "clusters.npy"
    if not path.is_file():
        save_array(path, _residual_clusters(frames - frames.mean(1, keepdims=True), config))
    codebooks: np.ndarray = np.load(path)

    def teach(samples: np.ndarray, mel: np.ndarray) -> np.ndarray:
        rest = mel.astype(np.float32)
        rest = rest - rest.mean(1, keepdims=True)
        codes = []
        for book in codebooks:
            codes.append(((book**2).sum(1) - 2 * rest @ book.T).argmin(1))
            rest = rest - book[codes[-1]]
        return np.stack(codes).astype(np.int16)

    return teach


def _residual_clusters(rest: np.ndarray, config: MertTrainingConfig) -> np.ndarray:
    """[K, V, M] centroids; codebook k clusters what the ones before it left."""
    from sklearn.cluster import MiniBatchKMeans

    codebooks = []
    for stage in range(config.n_codebooks):
        means = MiniBatchKMeans(config.codebook_size, batch_size=4096, n_init=1, random_state=stage).fit(rest)
        codebooks.append(means.cluster_centers_.astype(np.float32))
        rest = rest - codebooks[-1][means.labels_]
    return np.stack(codebooks)


def codec_teacher(config: MertTrainingConfig) -> AcousticTeacher:
    """The first `n_codebooks` codebooks of the trained codec, which must share the model's frame rate.

    Raises:
        InputError: the codec's rates do not fit.
    """
    codec = Codec.from_pretrained(str(config.codec), n_codebooks=config.n_codebooks)
    if (codec.sample_rate, codec.hop) != (config.sample_rate, config.hop):
        raise InputError(
            f"The codec {config.codec} has hop {codec.hop} at {codec.sample_rate} Hz; as a teacher it needs"
            f" {config.hop} at {config.sample_rate} Hz."
        )

    def teach(samples: np.ndarray, mel: np.ndarray) -> np.ndarray:
        audio = torch.from_numpy(samples.astype(np.float32) / 32767)[None, None]
        return codec.encode(audio.expand(1, codec.channels, -1))[0].numpy().astype(np.int16)

    return teach


def export_mert(model: Any, config: MertTrainingConfig, folder: Path) -> Path:
    """Write config.json, model.safetensors (fp16) and preprocessor_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    save_half(model, folder)
    write_json(
        folder / "preprocessor_config.json",
        {
            "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            "feature_size": 1,
            "sampling_rate": config.sample_rate,
            "padding_value": 0.0,
            "padding_side": "right",
            "do_normalize": True,
            "return_attention_mask": False,
        },
    )
    return folder


def _mean_over(mask: Tensor, values: Tensor, seen_weight: float) -> Tensor:
    weight = torch.where(mask, 1.0, seen_weight)
    return (values * weight).sum() / weight.sum()
