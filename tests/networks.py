"""Small random networks, so that tests of the model take milliseconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from sadmil_core.checkpoint import CheckpointHeader, Provenance
from sadmil_core.model.config import (
    AttentionConfig,
    ConvEncoderConfig,
    HeadConfig,
    ModelConfig,
)
from sadmil_core.model.sadmil import SaDmil
from sadmil_core.model.trained import TrainedModel, load_checkpoint, save_checkpoint
from sadmil_core.preprocess import PreprocessConfig
from sadmil_core.result import DecisionRule

if TYPE_CHECKING:
    from pathlib import Path

SIZE = (32, 32)


def small_config(
    *,
    bag_padding: int = 0,
    activation: Any = "linear",
    gated: bool = True,
    output: Any = "flatten",
    head_hidden: int = 8,
    dropout: float = 0.3,
) -> ModelConfig:
    return ModelConfig(
        encoder=ConvEncoderConfig(
            channels=(4, 8),
            kernels=(5, 3),
            padding=("same", "valid"),
            dropout=(0.0, dropout),
            output=output,
        ),
        attention=AttentionConfig(hidden=16, gated=gated),
        head=HeadConfig(
            hidden=head_hidden, activation=activation, dropout=0.25 if dropout else 0.0
        ),
        input_size=SIZE,
        bag_padding=bag_padding,
    )


def small_network(seed: int = 0, **config: Any) -> SaDmil:
    """A network in evaluation mode whose BatchNorm statistics are not the trivial ones."""
    generator = torch.Generator().manual_seed(seed)
    module = SaDmil(small_config(**config))
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if not tensor.is_floating_point():
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            scale = 0.2 if tensor.ndim > 1 else 0.5
            positive = name.endswith(("norm.weight", "running_var"))
            tensor.copy_(noise.abs() + 0.1 if positive else noise * scale)
    return module.eval().requires_grad_(False)


def small_header(module: SaDmil, **changes: Any) -> CheckpointHeader:
    values: dict[str, Any] = {
        "name": "small",
        "model": module.config,
        "preprocess": PreprocessConfig(size=SIZE),
        "rule": DecisionRule(),
        "supervision": "scan",
        "provenance": Provenance(description="random weights"),
    }
    return CheckpointHeader(**(values | changes))


def save_small(
    path: Path, seed: int = 0, header: dict[str, Any] | None = None, **config: Any
) -> Path:
    """Writes a checkpoint of a small random network."""
    module = small_network(seed, **config)
    save_checkpoint(path, module, small_header(module, **(header or {})))
    return path


def trained_small(path: Path, seed: int = 0, **options: Any) -> TrainedModel:
    """A small random network, through a file as in life."""
    return load_checkpoint(save_small(path, seed, **options))
