"""A network with its weights and the configs it was trained with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sadmil_core.checkpoint import CheckpointHeader, read_checkpoint, write_checkpoint
from sadmil_core.errors import CheckpointError
from sadmil_core.model.backbone import BackboneEncoder
from sadmil_core.model.sadmil import SaDmil

if TYPE_CHECKING:
    from pathlib import Path

    from sadmil_core.model.config import ModelConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModel:
    """A network ready to predict.

    Attributes:
        module: In evaluation mode, on the CPU, fp32.
        header: Its configs, decision rule and provenance.
    """

    module: SaDmil
    header: CheckpointHeader


def initial_model(config: ModelConfig) -> SaDmil:
    """A network to be trained: random weights, and those its backbone is to start from.

    Raises:
        ModelError: The backbone's library or weights cannot be had.
    """
    module = SaDmil(config)
    if isinstance(module.encoder, BackboneEncoder):
        module.encoder.load_initial_weights(config.input_size)
    return module


def load_checkpoint(path: Path) -> TrainedModel:
    """Reads a checkpoint into a network.

    Raises:
        CheckpointError: The file is not a checkpoint, is damaged, or its tensors do not fit
            the network its own header describes.
        ModelError: Its encoder is of a library that is not installed.
    """
    header, tensors = read_checkpoint(path)
    try:
        module = SaDmil(header.model)
        module.load_state_dict({name: torch.from_numpy(t) for name, t in tensors.items()})
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} holds weights of another network than its header describes.",
            remedy="Convert or train it again.",
            detail=str(error),
        ) from error
    return TrainedModel(module=module.eval(), header=header)


def save_checkpoint(path: Path, module: SaDmil, header: CheckpointHeader) -> CheckpointHeader:
    """Writes a network and its configs; returns the header with the hash filled in.

    Raises:
        WriteError: The system refused; nothing is left behind.
    """
    tensors = {name: t.detach().cpu().numpy() for name, t in module.state_dict().items()}
    return write_checkpoint(path, header, tensors)
