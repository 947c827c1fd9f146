"""One rank of a small run, in double precision: python -m tests.training_rank FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import safetensors.torch
import torch

from sadmil_core.preprocess import PreprocessConfig
from sadmil_core.training import loop
from sadmil_core.training.config import DataConfig, LengthConfig, OptimizerConfig, TrainingConfig
from sadmil_core.training.fit import Splits, fit
from sadmil_core.training.objective_config import ObjectiveConfig
from sadmil_core.training.ranks import joined_ranks
from tests.bag_lists import BagList, square_scans
from tests.networks import SIZE, small_config

GRADIENTS: dict[str, torch.Tensor] = {}


class RecordingTrainer(loop.Trainer):
    """Keeps the gradients of each step, and computes in double precision."""

    def _update(self, parts: torch.Tensor) -> bool:
        for name, p in self.module.named_parameters():
            if p.grad is not None:
                GRADIENTS[f"{self.standing.step}.{name}"] = p.grad.clone(
                    memory_format=torch.contiguous_format
                )
        return super()._update(parts)


def main() -> None:
    """Trains two epochs of seven scans, three a step: the last step has one."""
    from sadmil_core.training import fit as fit_module

    torch.set_default_dtype(torch.float64)
    fit_module.Trainer = RecordingTrainer  # type: ignore[misc]
    folder = Path(sys.argv[1])
    config = TrainingConfig(
        name="ranks",
        data=DataConfig(manifest="-", bags_per_step=3, bags_per_batch=1),
        model=small_config(output="max", dropout=0.0),
        objective=ObjectiveConfig(alpha=0.3, order=2, slice_weight=0.5, attention_weight=0.2),
        optimizer=OptimizerConfig(lr=1e-3, freeze_norm=True, attention_l2=0.01),
        length=LengthConfig(epochs=2, patience=0),
    )
    splits = Splits(
        train=BagList(square_scans(7, 1, dtype=torch.float64)),
        validation=BagList(square_scans(5, 2, dtype=torch.float64)),
    )
    with joined_ranks(torch.device("cpu")) as ranks:
        fit(config, splits, folder, ranks, preprocess=PreprocessConfig(size=SIZE))
        if ranks.is_first:
            safetensors.torch.save_file(GRADIENTS, folder / "gradients.safetensors")


if __name__ == "__main__":
    main()
