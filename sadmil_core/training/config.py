"""The config of a training run, as its TOML file says it; plain values, no torch."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from sadmil_core.configs import from_mapping
from sadmil_core.data.augment import AugmentConfig
from sadmil_core.errors import ConfigError
from sadmil_core.model.config import ModelConfig  # noqa: TC001 - read at run time
from sadmil_core.preprocess import PreprocessConfig  # noqa: TC001 - as above
from sadmil_core.training.objective_config import ObjectiveConfig

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Where the bags come from, and how many make a step.

    Attributes:
        manifest: Table of scans, relative to the config's folder.
        store: Prepared images (`sadmil prepare`); empty where the manifest names features.
        bags_per_step: Scans of one optimizer step, over all ranks.
        bags_per_batch: Scans encoded at once on one rank; what is left of its share of a step
            follows in further batches whose gradients add up.
        workers: Threads that load while the network is busy; 0 loads in between.
    """

    manifest: str
    store: str = ""
    bags_per_step: int = 4
    bags_per_batch: int = 1
    workers: int = 2

    def __post_init__(self) -> None:
        if min(self.bags_per_step, self.bags_per_batch) < 1 or self.workers < 0:
            raise ValueError("bags_per_step and bags_per_batch must be positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig:
    """Adam or AdamW, with warm-up and a schedule.

    Attributes:
        kind: The optimizer; the authors used Adam.
        lr: Learning rate after the warm-up.
        weight_decay: Of AdamW decoupled, of Adam added to the gradient.
        attention_l2: Added to the loss as attention_l2 * |w|^2 over the attention's weights
            (the authors' .01).
        warmup_steps: Steps over which the learning rate rises from 0.
        schedule: ``constant``, or ``cosine`` down to 1 % at the last epoch.
        clip_norm: Largest norm of the whole gradient; 0 for no limit.
        ema_decay: Decay of a moving average of the weights, which is then validated and kept;
            0 for none.
        freeze_encoder: Leave the encoder's weights as they are.
        freeze_norm: BatchNorm uses its stored statistics and leaves them as they are.
        activation_checkpointing: Compute activations again on the way back rather than keep
            them: less memory, about a third more time.
    """

    kind: Literal["adam", "adamw"] = "adamw"
    lr: float = 1e-4
    weight_decay: float = 0.0
    attention_l2: float = 0.0
    warmup_steps: int = 0
    schedule: Literal["constant", "cosine"] = "constant"
    clip_norm: float = 0.0
    ema_decay: float = 0.0
    freeze_encoder: bool = False
    freeze_norm: bool = False
    activation_checkpointing: bool = False

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise ValueError(f"lr must be positive, not {self.lr}")
        if min(self.weight_decay, self.attention_l2, self.clip_norm, self.warmup_steps) < 0:
            raise ValueError(
                "weight_decay, attention_l2, clip_norm and warmup_steps must not be negative"
            )
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must lie in [0, 1), not {self.ema_decay}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthConfig:
    """When training ends.

    Attributes:
        epochs: At the latest after this many.
        patience: Epochs without a better validation loss before it ends; 0 never ends it early.
        save_every_steps: Steps between two saved states; one is saved after each epoch anyway.
        max_nonfinite: Consecutive steps without a finite gradient, which are left out, before
            the run is given up.
    """

    epochs: int = 100
    patience: int = 8
    save_every_steps: int = 200
    max_nonfinite: int = 10

    def __post_init__(self) -> None:
        if min(self.epochs, self.save_every_steps, self.max_nonfinite) < 1 or self.patience < 0:
            raise ValueError("epochs, save_every_steps and max_nonfinite must be positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """A whole run.

    Attributes:
        name: Of the model.
        data: Bags.
        model: The network; None where ``start`` brings it.
        start: A model's name or checkpoint file to go on from; empty to begin anew.
        preprocess: What the network sees; that of ``start``, if any, where it is None.
        objective: What is minimised.
        optimizer: How.
        augment: How far images are changed each time they are seen; by default not at all.
        length: How long.
        seed: Of weights, order, dropout and augmentation.
        precision: Of the convolutions.
        license: Of the weights, for the model card.
        training_data: What they were trained on, for the model card.
    """

    name: str
    data: DataConfig
    model: ModelConfig | None = None
    start: str = ""
    preprocess: PreprocessConfig | None = None
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    length: LengthConfig = field(default_factory=LengthConfig)
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    license: str = ""
    training_data: str = ""

    def __post_init__(self) -> None:
        if (self.model is None) == (not self.start):
            raise ValueError("give either a [model] or `start`, a checkpoint to go on from")


def require_served(config: TrainingConfig, model: ModelConfig) -> None:
    """Refuses a config that asks of a network what it has not.

    Args:
        config: The run.
        model: Its network; that of its ``start``, where it has one.

    Raises:
        ConfigError: A weight is given to a term the network cannot serve; all are listed.
    """
    objective = config.objective
    of_attention = {
        "objective.alpha": objective.smoothness_share,
        "objective.attention_weight": objective.attention_weight,
        "objective.guidance_weight": objective.guidance_weight,
        "optimizer.attention_l2": config.optimizer.attention_l2,
    }
    problems = []
    if not model.has_attention:
        problems += [
            f"{name} is {value:g}, and pooling {model.pooling!r} has no attention"
            for name, value in of_attention.items()
            if value > 0
        ]
    if objective.mask_weight > 0 and not model.gives_cells:
        problems.append(
            "objective.mask_weight needs an encoder that ends in a feature map (output max or "
            "mean) and no mixing of slices"
        )
    if objective.slice_weight > 0 and model.instance is None and not model.gives_evidence:
        problems.append("objective.slice_weight needs an instance head, or evidence by slice")
    if not model.reads_images and config.augment != AugmentConfig():
        problems.append("[augment] is for images, and these bags are features")
    if problems:
        raise ConfigError(
            f"The network cannot do what is asked of it: {'; '.join(problems)}.",
            remedy="docs/models.md says what goes with what.",
        )


def read_training_config(path: Path) -> TrainingConfig:
    """Reads a TOML file.

    Raises:
        ConfigError: It cannot be read, or says something that is not understood.
    """
    return parse_training_config(read_toml(path), str(path))


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        ConfigError: It cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}.") from error


def parse_training_config(tables: dict[str, Any], where: str) -> TrainingConfig:
    """A config from the tables of a TOML file.

    Raises:
        ConfigError: A key is unknown or missing, or a value is not one it can have.
    """
    try:
        return from_mapping(TrainingConfig, tables, "config")
    except ValueError as error:
        raise ConfigError(
            f"{where} cannot be used: {error}.",
            remedy="docs/training.md describes every key.",
        ) from error
