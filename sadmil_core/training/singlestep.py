"""A training step alone, to be made again and again on the same bags: what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sadmil_core.model.sadmil import SaDmil
from sadmil_core.training.objective import ClassWeights, combine, term_weights
from sadmil_core.training.passes import forward_terms

if TYPE_CHECKING:
    from torch import Tensor

    from sadmil_core.data.bags import Batch
    from sadmil_core.training.config import TrainingConfig


class SingleStep:
    """A training step and a reading of one variant; all start from the same weights.

    Args:
        config: With a model; its objective, precision and activation checkpointing count.
        batch: On the device.
        device: Where.
    """

    def __init__(self, config: TrainingConfig, batch: Batch, device: torch.device) -> None:
        torch.manual_seed(0)
        if config.model is None:
            raise ValueError("a step alone needs a model in its config")
        self._config, self._batch, self._device = config, batch, device
        self._module: SaDmil = SaDmil(config.model).to(device)
        self._module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._module.set_activation_checkpointing(config.optimizer.activation_checkpointing)
        self._optimizer = torch.optim.AdamW(self._module.parameters(), lr=1e-6)

    def train(self) -> None:
        """One step, as the loop makes it."""
        self._module.train()
        self._optimizer.zero_grad(set_to_none=True)
        self._loss().backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()

    def infer(self) -> None:
        """One reading of the same bags."""
        self._module.eval()
        with torch.inference_mode():
            self._module(
                self._batch.instances,
                self._batch.mask_BS,
                edges=self._batch.edges,
                position_mm_BS=self._batch.position_mm_BS,
            )

    def kept_bytes(self) -> int:
        """What autograd keeps of one forward pass, each storage once."""
        own = {p.untyped_storage().data_ptr() for p in self._module.parameters()}
        own.add(self._batch.instances.untyped_storage().data_ptr())
        kept: dict[int, int] = {}
        alive: list[Tensor] = []  # so that no storage is given away and counted under one address

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
                alive.append(tensor)
            return tensor

        self._module.train()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            self._loss()
        return sum(kept.values())

    def peak_mb(self) -> float | None:
        """The most a card holds in a step; None on a CPU."""
        if self._device.type != "cuda":
            return None
        torch.cuda.reset_peak_memory_stats(self._device)
        self.train()
        torch.cuda.synchronize(self._device)
        return float(torch.cuda.max_memory_allocated(self._device)) / 1e6

    def _loss(self) -> Tensor:
        classes = ClassWeights()
        sums = forward_terms(self._module, self._batch, self._config, classes)
        loss, _ = combine(self._config.objective, sums, term_weights(self._batch, classes))
        return loss
