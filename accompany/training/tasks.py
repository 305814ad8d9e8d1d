"""Training tasks on tokens: the listener and both stages, each with its config."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from accompany.common.checks import did_you_mean
from accompany.common.config import check_range
from accompany.data.loading.crops import LoadingConfig
from accompany.errors import InputError
from accompany.stages.acoustic import AcousticConfig, AcousticStage
from accompany.stages.listener import Listener, ListenerConfig
from accompany.stages.lora import LoraConfig
from accompany.stages.semantic import SemanticConfig, SemanticStage
from accompany.training.stages.module import OptimizerConfig, RunConfig


@dataclass(frozen=True)
class TrainConfig(RunConfig):
    """Settings of every task: a run's length and devices, its data and its optimiser.

    Attributes:
        tokens: tokens folder of `accompany tokenize`.
        run_dir: gets checkpoints, logs and the trained model; empty for runs/TASK.
        bundle: model (name or folder) whose frozen parts compute musical metrics in validation; empty for none.
        init: model (name or folder) to start from: its stage, with its sizes, is trained on; empty for random weights.
        sample_songs: folder of songs that the whole model plays for while it trains; needs a complete `bundle`.
        sample_every: steps between these samples.
        sample_items: songs that it plays for.
        loading: crops and their variation; its batch_size is that of a step, all devices and parts together.
        optimizer: AdamW, its schedule, the average of the weights.
        lora: an adapter to train in place of the model; needs `init`.
    """

    tokens: str = "tokens"
    run_dir: str = ""
    bundle: str = ""
    init: str = ""
    sample_songs: str = ""
    sample_every: int = 1000
    sample_items: int = 3
    loading: LoadingConfig = field(default_factory=LoadingConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)

    def __post_init__(self) -> None:
        """Refuse what cannot be combined."""
        super().__post_init__()
        if not self.tokens:
            raise ValueError("tokens must name a folder that accompany tokenize made")
        check_range(self, "sample_every sample_items", least=1, most=10**9)
        if self.sample_songs and not self.bundle:
            raise ValueError("sample_songs needs a whole model to play with; name it, as in bundle=tiny")
        if self.lora.rank and not self.init:
            raise ValueError("an adapter adapts a model; name it, as in init=tiny")
        if self.loading.batch_size % self.accumulate:
            raise ValueError(
                f"loading.batch_size={self.loading.batch_size} cannot be worked through in accumulate="
                f"{self.accumulate} equal parts; make it a multiple"
            )


@dataclass(frozen=True)
class ListenerTraining(TrainConfig):
    """Training of the listener; songs without accompaniment will do."""

    model: ListenerConfig = field(default_factory=ListenerConfig)


@dataclass(frozen=True)
class SemanticTraining(TrainConfig):
    """Training of the semantic stage."""

    model: SemanticConfig = field(default_factory=SemanticConfig)


@dataclass(frozen=True)
class AcousticTraining(TrainConfig):
    """Training of the acoustic stage.

    Attributes:
        codebooks: predict the first so many of the codec's codebooks; 0 for all.
        codec: folder of the codec whose codebooks the tokens' embeddings start from; empty for a random start.
    """

    codebooks: int = 0
    codec: str = ""
    model: AcousticConfig = field(default_factory=AcousticConfig)

    def __post_init__(self) -> None:
        """Refuse what cannot be combined."""
        super().__post_init__()
        check_range(self, "codebooks", least=0, most=1024)
        if self.codec and self.model.mode == "masked":
            raise ValueError("codec is a start for mode depth only")
        if self.codec and self.init:
            raise ValueError("codec and init are both a start; leave one out")


@dataclass(frozen=True)
class Task:
    """A thing that can be trained: its config's type and its model's."""

    config: type[TrainConfig]
    model: type[nn.Module]
    needs_band: bool


TASKS = {
    "listener": Task(ListenerTraining, Listener, needs_band=False),
    "semantic": Task(SemanticTraining, SemanticStage, needs_band=True),
    "acoustic": Task(AcousticTraining, AcousticStage, needs_band=True),
}


def find_task(name: str) -> Task:
    """The task of this name; InputError with the known ones."""
    if name not in TASKS:
        raise InputError(
            f"There is no task '{name}'{did_you_mean(name, TASKS) or '.'} Train one of {', '.join(TASKS)}."
        )
    return TASKS[name]
