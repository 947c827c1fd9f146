"""The state of a run between two steps, in one safetensors file that is whole or not there.

Weights, their moving average, the optimizer's moments, and where the run stands. Random numbers
have no state (see ``order``). Nothing is pickled.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import safetensors
import safetensors.torch
import torch

from sadmil_core.atomic import replacing
from sadmil_core.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor, nn

_KEY = "sadmil_training"
_VERSION = 1


@dataclass(slots=True, kw_only=True)
class Standing:
    """Where a run stands.

    Attributes:
        epoch: The one under way, from 0.
        step_of_epoch: Steps done of it.
        step: Steps done altogether.
        nonfinite: Consecutive steps that were left out.
        best_loss: The lowest validation loss so far; None before the first.
        best_epoch: Its epoch.
        stale_epochs: Epochs since.
        seconds: Time trained, over all starts.
        waited_s: How much of it the network waited for bags.
        log_bytes: The length of the event log; what came after is to happen again.
        sums: The terms' sums over this epoch's steps, for its mean.
    """

    epoch: int = 0
    step_of_epoch: int = 0
    step: int = 0
    nonfinite: int = 0
    best_loss: float | None = None
    best_epoch: int = -1
    stale_epochs: int = 0
    seconds: float = 0.0
    waited_s: float = 0.0
    log_bytes: int = 0
    sums: dict[str, float] = field(default_factory=dict)


def save_state(
    path: Path,
    config_sha256: str,
    standing: Standing,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Mapping[str, Tensor] | None,
    buffers: Sequence[Mapping[str, Tensor]] = (),
) -> None:
    """Writes the state; an older one is replaced only by a whole one.

    Args:
        path: The file.
        config_sha256: Of the run.
        standing: Where it stands.
        module: The network.
        optimizer: Its optimizer.
        average: The moving average, where there is one.
        buffers: What each rank's network has measured (BatchNorm), in the order of the ranks.

    Raises:
        WriteError: The system refused; the older state is untouched.
    """
    tensors = {f"module.{k}": v for k, v in module.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in (average or {}).items()}
    for rank, measured in enumerate(buffers):
        tensors |= {f"rank{rank}.{k}": v for k, v in measured.items()}
    for name, p in module.named_parameters():
        for key, value in optimizer.state.get(p, {}).items():
            tensors[f"optimizer.{name}.{key}"] = torch.as_tensor(value)
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    document = {
        "version": _VERSION,
        "config_sha256": config_sha256,
        "standing": asdict(standing),
    }
    payload = safetensors.torch.save(tensors, metadata={_KEY: json.dumps(document)})
    with replacing(path) as stream:
        stream.write(payload)


def load_state(
    path: Path,
    config_sha256: str,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: dict[str, Tensor] | None,
    rank: int = 0,
) -> Standing:
    """Puts a saved state into a network, its optimizer and its average.

    Args:
        path: The file.
        config_sha256: Of the run.
        module: The network.
        optimizer: Its optimizer.
        average: The moving average, where there is one.
        rank: Whose measurements to take; the first rank's where it was not there.

    Returns:
        Where the run stands.

    Raises:
        TrainingError: The file is no such state, or one of another config.
    """
    document, tensors = _read(path)
    if document.get("version") != _VERSION or document.get("config_sha256") != config_sha256:
        raise TrainingError(
            f"{path.parent} holds a run of another config.",
            remedy="Choose another --out, or delete that folder to begin anew.",
        )
    parts: dict[str, dict[str, Tensor]] = {"module": {}, "average": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = tensor
    module.load_state_dict(parts["module"] | parts.get(f"rank{rank}", {}))
    if average is not None:
        for name, tensor in parts["average"].items():
            average[name].copy_(tensor)
    parameters = dict(module.named_parameters())
    for name, tensor in parts["optimizer"].items():
        parameter, _, key = name.rpartition(".")
        p = parameters[parameter]
        # Adam counts its steps on the CPU wherever its moments are.
        optimizer.state[p][key] = tensor if key == "step" else tensor.to(p.device)
    return Standing(**document["standing"])


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safetensors.safe_open(path, framework="pt") as opened:
            document = json.loads((opened.metadata() or {})[_KEY])
            return document, {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
        raise TrainingError(
            f"{path} is not the state of a training run.",
            remedy="Delete it to begin anew.",
            detail=str(error),
        ) from error
