"""Training of the small EnCodec from scratch on a CPU, in phases, and its export as `transformers.EncodecModel`.

1. autoencoder (off by default, since the linear start does its work): no codebooks; noise on the latents and a limit
   on their rate prepare them for quantisation.
2. joint: codebooks start as residual k-means of the latents, then encoder, codebooks and decoder learn together, each
   clip with a random number of codebooks.
3. decoder: encoder and codebooks stay, the decoder learns to make the most of the final codes.

Each phase ends after its steps or its minutes, whichever comes first. A killed run goes on from its run folder.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import EncodecConfig, EncodecModel

from accompany.common.config import MOST_SEED, check_range, to_dict, write_json
from accompany.common.files import complete
from accompany.errors import InputError
from accompany.training.encoders.amx import guard_strided_convs
from accompany.training.encoders.audio_dataset import RandomCrops, held_out_clips, song_folders, split_songs
from accompany.training.encoders.codec_metrics import reconstruction_metrics
from accompany.training.encoders.linear_init import init_linear
from accompany.training.encoders.loop import end_by, noted_stops, read_checkpoint
from accompany.training.encoders.losses import LossWeights, ReconstructionLoss, rate_bits
from accompany.training.encoders.quantizer import ResidualCodebooks

logger = logging.getLogger(__name__)

CODEBOOK_UPDATE_SHARE = 0.9
"""Share of the joint phase in which the codebooks still move."""


@dataclass(frozen=True)
class CodecPhaseConfig:
    """Length and learning rates of one phase; a phase of no steps is left out."""

    max_steps: int
    max_minutes: float
    lr: float
    final_lr: float

    def __post_init__(self) -> None:
        """Refuse lengths and rates that cannot be."""
        check_range(self, "max_steps", least=0, most=10**9)
        check_range(self, "max_minutes final_lr", least=0)
        check_range(self, "lr", above=0)


@dataclass(frozen=True)
class CodecModelConfig:
    """Shape of the codec; see `transformers.EncodecConfig`, whose names these are where they agree."""

    sample_rate: int = 24000
    upsampling_ratios: list[int] = field(default_factory=lambda: [5, 4, 3, 8])
    num_filters: int = 16
    hidden_size: int = 128
    num_lstm_layers: int = 1
    num_residual_layers: int = 0
    n_codebooks: int = 8
    codebook_size: int = 1024

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be."""
        check_range(self, "sample_rate", least=8000, most=192_000)
        check_range(self, "upsampling_ratios num_filters hidden_size n_codebooks", least=1, most=10**5)
        check_range(self, "num_lstm_layers num_residual_layers", least=0, most=1000)
        check_range(self, "codebook_size", least=2, most=10**6)
        if not self.upsampling_ratios:
            raise ValueError("upsampling_ratios must hold at least one ratio")

    @property
    def frame_rate(self) -> float:
        """Codec frames a second."""
        return self.sample_rate / float(np.prod(self.upsampling_ratios))


@dataclass(frozen=True)
class CodecTrainingConfig:
    """All of a codec training run.

    Attributes:
        songs: folders of song folders (`accompany synth`).
        out: the run folder: `state.pt`, `log.jsonl`, and the result in `export`.
        kinds: share of each kind of audio in the batches.
        held_out: songs kept apart for the metrics.
        export_codebooks: export the first so many of the codebooks; 0 for all.
        noise_std, max_rate_bits, rate_weight: of the latents while there are no codebooks.
        bf16: run the network in bfloat16 (pays on processors with AMX or AVX512-BF16).
    """

    songs: list[str]
    out: str
    model: CodecModelConfig = field(default_factory=CodecModelConfig)
    losses: LossWeights = field(default_factory=LossWeights)
    scales: list[list[int]] = field(default_factory=lambda: [[2048, 512, 128], [768, 256, 64], [192, 64, 24]])
    kinds: dict[str, float] = field(
        default_factory=lambda: {"accompaniment": 0.55, "mix": 0.15, "stems": 0.2, "vocals": 0.1}
    )
    batch_size: int = 8
    crop_s: float = 1.0
    held_out: int = 16
    export_codebooks: int = 0
    clip_s: float = 8.0
    autoencoder: CodecPhaseConfig = field(default_factory=lambda: CodecPhaseConfig(0, 0.0, 1e-4, 1e-4))
    joint: CodecPhaseConfig = field(default_factory=lambda: CodecPhaseConfig(12000, 45.0, 1e-4, 1e-5))
    decoder: CodecPhaseConfig = field(default_factory=lambda: CodecPhaseConfig(12000, 30.0, 2.5e-4, 1e-5))
    init_crops: int = 240
    warmup_steps: int = 50
    ema_decay: float = 0.995
    clip_norm: float = 10.0
    noise_std: float = 0.3
    max_rate_bits: float = 100.0
    rate_weight: float = 0.02
    commitment: float = 0.25
    full_depth_share: float = 0.6
    kmeans_vectors: int = 30000
    kmeans_iterations: int = 12
    bf16: bool = True
    evaluate_every: int = 200
    save_every_s: float = 60.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.songs:
            raise ValueError("songs must name at least one folder of songs")
        check_range(self, "batch_size held_out init_crops kmeans_vectors evaluate_every", least=1, most=10**9)
        check_range(self, "kmeans_iterations export_codebooks warmup_steps", least=0, most=10**9)
        check_range(self, "crop_s clip_s", above=0, most=3600)
        check_range(self, "full_depth_share", least=0, most=1)
        check_range(self, "ema_decay", least=0, below=1)
        check_range(self, "clip_norm save_every_s", above=0)
        check_range(self, "noise_std max_rate_bits rate_weight commitment", least=0)
        check_range(self, "seed", least=0, most=MOST_SEED)
        if not self.kinds or min(self.kinds.values()) < 0 or not 0 < sum(self.kinds.values()) < float("inf"):
            raise ValueError(f"kinds must name shares of at least 0, one of them above it, not {self.kinds}")
        if not 0 <= self.export_codebooks <= self.model.n_codebooks:
            raise ValueError("export_codebooks must lie in 0..model.n_codebooks")


def train_codec(config: CodecTrainingConfig) -> Path:
    """Run or resume the training; returns the folder of the exported `EncodecModel` (half precision).

    InputError when there are no songs, or too few to keep some apart.
    """
    trainer = CodecTrainer(config)
    trainer.run()
    return trainer.export(Path(config.out) / "export")


def build_model(config: CodecModelConfig) -> EncodecModel:
    """An untrained `EncodecModel` (non-causal, mono, weight norm) whose only bandwidth is that of all codebooks."""
    bits = int(np.log2(config.codebook_size))
    return EncodecModel(
        EncodecConfig(
            sampling_rate=config.sample_rate,
            audio_channels=1,
            normalize=False,
            use_causal_conv=False,
            use_conv_shortcut=False,
            num_filters=config.num_filters,
            upsampling_ratios=list(config.upsampling_ratios),
            hidden_size=config.hidden_size,
            num_lstm_layers=config.num_lstm_layers,
            num_residual_layers=config.num_residual_layers,
            codebook_size=config.codebook_size,
            target_bandwidths=[config.n_codebooks * bits * config.frame_rate / 1000],
        )
    )


class CodecTrainer:
    """State and steps of one run; `run()` goes through the phases, saving and measuring as it goes."""

    def __init__(self, config: CodecTrainingConfig) -> None:
        self.config = config
        self.folder = Path(config.out)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "config.json", to_dict(config))
        torch.manual_seed(config.seed)
        shape = config.model
        training, held_out = split_songs(song_folders(config.songs), config.held_out)
        self.crops = RandomCrops(training, config.kinds, sample_rate=shape.sample_rate, crop_s=config.crop_s)
        self.held_out = held_out_clips(held_out, sample_rate=shape.sample_rate, clip_s=config.clip_s)
        self.loss = ReconstructionLoss(
            shape.sample_rate, config.losses, tuple((n_fft, hop, n_mels) for n_fft, hop, n_mels in config.scales)
        )
        self.model = build_model(shape)
        self.average = copy.deepcopy(self.model)
        self.codebooks = ResidualCodebooks(shape.n_codebooks, shape.codebook_size, shape.hidden_size)
        self.phase, self.step, self.seconds = 0, 0, 0.0
        self.optimizer = self._new_optimizer()
        if not self._resume():
            crops = next(self.crops.batches(config.init_crops, config.seed))
            init_linear(self.model, crops, noise_std=config.noise_std, rate_bits=config.max_rate_bits)
            self.average.load_state_dict(self.model.state_dict())
        guard_strided_convs(self.model)

    @property
    def phases(self) -> tuple[tuple[str, CodecPhaseConfig], ...]:
        """Name and length of each phase, in order."""
        return tuple((name, getattr(self.config, name)) for name in ("autoencoder", "joint", "decoder"))

    def run(self) -> None:
        """Train to the end of the last phase; a finished run whose last phase was made longer goes on in it."""
        while True:
            name, phase = self.phases[self.phase]
            if self.step == 0:
                self._enter(name)
            if self.progress(phase) < 1.0:
                self._run_phase(name, phase)
                self._log(name, metrics=self.metrics(), terms={})
            if self.phase == len(self.phases) - 1:
                return self.save()
            self.phase, self.step, self.seconds = self.phase + 1, 0, 0.0
            self.save()

    def progress(self, phase: CodecPhaseConfig) -> float:
        """Progress of a phase, 0..1, by steps or by the clock."""
        if phase.max_steps <= 0 or phase.max_minutes <= 0:
            return 1.0
        return max(self.step / phase.max_steps, self.seconds / 60 / phase.max_minutes)

    def _run_phase(self, name: str, phase: CodecPhaseConfig) -> None:
        saved = started = time.monotonic()
        batches = self._batches()
        with noted_stops() as stops:
            while (progress := self.progress(phase)) < 1.0:
                terms = self._step(name, next(batches), self._lr(phase, progress), progress)
                self.step += 1
                now = time.monotonic()
                self.seconds, started = self.seconds + now - started, now
                if self.step % self.config.evaluate_every == 0:
                    self._log(name, metrics=self.metrics(), terms=terms)
                if stops or now - saved > self.config.save_every_s:
                    self.save()
                    saved = now
                if stops:
                    end_by(stops[0], self.step)

    def _batches(self) -> Iterator[Tensor]:
        """Batches from a seed that depends on where the run stands, so that a resumed run draws new crops."""
        seed = int(np.random.SeedSequence([self.config.seed, self.phase, self.step]).generate_state(1)[0])
        return self.crops.batches(self.config.batch_size, seed)

    def _lr(self, phase: CodecPhaseConfig, progress: float) -> float:
        cosine = 0.5 * (1.0 + np.cos(np.pi * progress))
        warm = min(1.0, (self.step + 1) / max(self.config.warmup_steps, 1))
        return float(warm * (phase.final_lr + (phase.lr - phase.final_lr) * cosine))

    def _enter(self, name: str) -> None:
        """Prepare a phase that starts: codebooks before `joint`; the averaged weights before `decoder`."""
        if name == "joint":
            self.fit_codebooks()
        if name == "decoder":
            self.model.load_state_dict(self.average.state_dict())
            self.model.encoder.requires_grad_(False)
        self.optimizer = self._new_optimizer()

    def fit_codebooks(self) -> None:
        """Residual k-means on the latents of training crops."""
        needed = self.config.kmeans_vectors
        latents: list[Tensor] = []
        batches = self._batches()
        with torch.no_grad(), self._autocast():
            while sum(len(x) for x in latents) < needed:
                states = self.model.encoder(next(batches).unsqueeze(1)).float()
                latents.append(states.transpose(1, 2).reshape(-1, states.shape[1]))
        vectors = torch.cat(latents)[:needed]
        generator = torch.Generator().manual_seed(self.config.seed)
        rest = self.codebooks.fit(vectors, iterations=self.config.kmeans_iterations, generator=generator)
        left = float(rest.square().sum() / (vectors - vectors.mean(0)).square().sum())
        logger.info("k-means codebooks leave %.1f%% of the latents' variance", 100 * left)

    def _step(self, name: str, audio: Tensor, lr: float, progress: float) -> dict[str, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        with self._autocast(), torch.set_grad_enabled(name != "decoder"):
            latents = self.model.encoder(audio.unsqueeze(1)).float()
        passed, extra = self._bottleneck(name, latents, progress)
        with self._autocast():
            output = self.model.decoder(passed).squeeze(1).float()
        loss, terms = self.loss(output, audio, envelope=name == "decoder")
        self.optimizer.zero_grad(set_to_none=True)
        (loss + extra).backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self._follow_average()
        terms |= {"loss": float(loss.detach()), "extra": float(extra.detach())}
        return terms | {"grad_norm": float(norm), "lr": lr}

    def _bottleneck(self, name: str, latents: Tensor, progress: float) -> tuple[Tensor, Tensor]:
        """Decoder input of this phase, and the extra loss of the latents."""
        if name == "autoencoder":
            over = (rate_bits(latents, self.config.noise_std) - self.config.max_rate_bits).relu()
            return latents + self.config.noise_std * torch.randn_like(latents), self.config.rate_weight * over
        n_used = self._draw_depths(len(latents))
        moves = name == "joint" and progress < CODEBOOK_UPDATE_SHARE
        quantized, commitment = self.codebooks(latents, n_used, update=moves)
        return quantized, self.config.commitment * commitment * float(name == "joint")

    def _draw_depths(self, n: int) -> Tensor:
        """Number of codebooks for each of `n` clips: all of them, or a random number."""
        most = self.config.model.n_codebooks
        full = torch.rand(n) < self.config.full_depth_share
        return torch.where(full, most, torch.randint(1, most + 1, (n,)))

    def _follow_average(self) -> None:
        decay = self.config.ema_decay
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1.0 - decay)

    def _autocast(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.config.bf16)

    def _new_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.model.parameters(), lr=0.0, betas=(0.8, 0.99))

    def metrics(self) -> dict[str, float]:
        """Metrics on the held-out clips with the averaged weights (without codebooks in the first phase)."""
        quantize = self.phases[self.phase][0] != "autoencoder"
        return reconstruction_metrics(self.average, self.held_out, self.codebooks if quantize else None)

    def export(self, folder: Path) -> Path:
        """Save the averaged model with its (first) codebooks in half precision; the folder appears when complete.

        The codebooks' running averages are left out: they are as large as the codebooks, and only the class's own
        training would read them.
        """
        shape = self.config.model
        model = build_model(replace(shape, n_codebooks=self.config.export_codebooks or shape.n_codebooks))
        for half in ("encoder", "decoder"):
            getattr(model, half).load_state_dict(getattr(self.average, half).state_dict())
        self.codebooks.export(model)
        partial = folder.with_name(f".{folder.name}.part")
        state = {name: tensor for name, tensor in model.half().state_dict().items() if not name.endswith("embed_avg")}
        model.save_pretrained(partial, state_dict=state)
        (partial / "model.safetensors").chmod(0o644)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
        return folder

    def save(self) -> None:
        """Write `state.pt`."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "codebooks": self.codebooks.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "position": [self.phase, self.step, self.seconds],
        }
        with complete(self.folder / "state.pt") as temporary:
            torch.save(state, temporary)

    def _resume(self) -> bool:
        path = self.folder / "state.pt"
        if not path.is_file():
            return False
        state = read_checkpoint(path)
        try:
            for name in ("model", "average", "codebooks", "optimizer"):
                getattr(self, name).load_state_dict(state[name])
        except (RuntimeError, ValueError, KeyError) as error:
            raise InputError(f"{path} is of a codec of another shape; choose another out, or delete it.") from error
        self.phase, self.step, self.seconds = state["position"]
        self.model.encoder.requires_grad_(self.phase < 2)
        logger.info("resuming in phase %d at step %d", self.phase, self.step)
        return True

    def _log(self, name: str, metrics: dict[str, float], terms: dict[str, float]) -> None:
        line = {"phase": name, "step": self.step, "minutes": self.seconds / 60, "figures": metrics, "terms": terms}
        with open(self.folder / "log.jsonl", "a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        logger.info("%s step %d: %s", name, self.step, {k: round(v, 3) for k, v in metrics.items()})
