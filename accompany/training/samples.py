"""Audio samples during training: the whole model, with the current stage, plays for the same few songs."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import lightning.pytorch as lightning
import numpy as np
from lightning.pytorch.callbacks import Callback

from accompany import audio
from accompany.api import Band, Take
from accompany.errors import InputError
from accompany.models.parts import load_part_of
from accompany.models.pretrained import Bundle, find_bundle, load_bundle, read_bundle

if TYPE_CHECKING:
    from accompany.evaluation.clip_metrics import ReferenceClip
    from accompany.evaluation.testset import Clip
    from accompany.training.tasks import TrainConfig

_log = logging.getLogger(__name__)

FOLDER, METRICS_FILE = "samples", "samples.jsonl"
SHOWN = ("harmony", "consonance", "beat_f", "onset_correlation", "silent_share")
"""Fit to the true chords, to the voice and to the beat, and silence; see `evaluation.clip_metrics`."""
_SECONDS = 10.0


class Samples(Callback):
    """Every `sample_every` steps: sound, a plot and metrics of fit, as files in the run and in its loggers.

    Args:
        task: part that is trained.
        config: `bundle`, `sample_songs`, `sample_every`, `sample_items` and `seed` count.
        run_dir: gets samples/STEP/ and samples.jsonl.

    Raises:
        InputError: the bundle lacks a part, or there are no usable songs.
    """

    def __init__(self, task: str, config: TrainConfig, run_dir: Path) -> None:
        from accompany.evaluation.testset import load_clips

        self.task, self.config, self.run_dir = task, config, run_dir
        info = read_bundle(find_bundle(config.bundle))
        there = {part.name for part in info.parts} | {task}
        missing = [name for name in Bundle.PARTS if name not in there]
        if missing:
            raise InputError(f"sample_songs needs a whole model, but {config.bundle} has no {', '.join(missing)}.")
        codec = load_part_of(info.part("codec"), "cpu")
        self.clips: list[Clip] = load_clips(
            [config.sample_songs], sample_rate=codec.sample_rate, seconds=_SECONDS, limit=config.sample_items
        )
        self._references: list[ReferenceClip] = []
        self._parts: dict[str, Any] = {}

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, *_: Any) -> None:
        """Play, when it is time."""
        step = trainer.global_step
        if step % self.config.sample_every or trainer.fit_loop._should_accumulate() or self._has(step):
            return
        stage = module.whole_average()  # every process takes part where the weights are shared out
        if trainer.is_global_zero:
            self._play(trainer, stage, step)

    def _has(self, step: int) -> bool:
        return (self.run_dir / FOLDER / f"{step:07d}" / METRICS_FILE).is_file()

    def _play(self, trainer: lightning.Trainer, stage: Any, step: int) -> None:
        from accompany.evaluation.clip_metrics import measure, prepare_reference
        from accompany.evaluation.plots import plot_take
        from accompany.evaluation.rows import RowOutput

        band = self._band(stage, str(trainer.strategy.root_device.type))
        self._references = self._references or [prepare_reference(clip, None) for clip in self.clips]
        folder = self.run_dir / FOLDER / f"{step:07d}"
        folder.mkdir(parents=True, exist_ok=True)
        rows = []
        for number, (clip, reference) in enumerate(zip(self.clips, self._references, strict=True)):
            take = band.generate((clip.vocal, clip.sample_rate), clip.prompt, seed=self.config.seed)
            sound = audio.fit_length(take.samples.mean(0), len(clip.vocal))
            metrics = measure(RowOutput(clip, sound), reference, None)
            rows.append({name: round(metrics[name], 4) for name in SHOWN if name in metrics})
            take.save_mix(folder / f"{number}.flac")
            plot_take(folder / f"{number}.png", take, f"step {step}: {clip.prompt}")
            _show(trainer, f"sample/{number}", take, folder / f"{number}.png", step)
        means = {name: float(np.mean([row[name] for row in rows if name in row])) for name in SHOWN if name in rows[0]}
        for logger in trainer.loggers:
            logger.log_metrics({f"sample/{name}": value for name, value in means.items()}, step)
        for path in (folder / METRICS_FILE, self.run_dir / METRICS_FILE):
            with path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"step": step, **means}) + "\n")
        _log.info("Step %d plays: %s", step, ", ".join(f"{name} {value:.2f}" for name, value in means.items()))

    def _band(self, stage: Any, device: str) -> Band:
        """The bundle with `stage` as that part; its other parts are loaded once."""
        if not self._parts:
            info = read_bundle(find_bundle(self.config.bundle))
            if self.task in {part.name for part in info.parts}:
                bundle = cast(Bundle, load_bundle(info.path, device))
            else:
                bundle = _without(info, self.task, device)
            self._parts = {item.name: getattr(bundle, item.name) for item in dataclasses.fields(bundle)}
        return Band(Bundle(**{**self._parts, self.task: stage}))


def _without(info: Any, task: str, device: str) -> Bundle:
    """A bundle that has all parts but the one in training."""
    from accompany.encoders.melody import Melody
    from accompany.models.parts import load_part_of

    parts = {name: load_part_of(info.part(name), device) for name in Bundle.BUILT if name != task}
    return Bundle(info.name, info.path, device, info, Melody().to(device), **{**parts, task: None})


def _show(trainer: lightning.Trainer, name: str, take: Take, plot: Path, step: int) -> None:
    """Sound and plot into TensorBoard and Weights & Biases."""
    from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            board = cast(Any, logger.experiment)
            board.add_audio(name, take.mix.mean(0), step, take.sample_rate)
            board.add_image(name, _pixels(plot), step, dataformats="HWC")
        elif isinstance(logger, WandbLogger):
            logger.log_audio(name, [str(plot.with_suffix(".flac"))], step=step)
            logger.log_image(f"{name}/picture", [str(plot)], step=step)


def _pixels(plot: Path) -> np.ndarray:
    from matplotlib import image

    return np.asarray(image.imread(plot)[..., :3])
