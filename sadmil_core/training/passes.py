"""One forward pass over a batch, and one over a single scan to be looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sadmil_core.model.graph import build_graph
from sadmil_core.model.normal_guidance import normal_guidance
from sadmil_core.training.calibrate import ValidationScan
from sadmil_core.training.objective import ClassWeights, term_sums

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from sadmil_core.data.bags import Batch
    from sadmil_core.model.sadmil import BagOutput, SaDmil
    from sadmil_core.training.config import TrainingConfig


def forward_terms(
    module: SaDmil, batch: Batch, config: TrainingConfig, classes: ClassWeights
) -> dict[str, Tensor]:
    """The sums of the objective's terms over a batch.

    Args:
        module: On the device of the batch.
        batch: Bags.
        config: Of the run.
        classes: Weights of the classes.
    """
    return _terms(module, batch, config, classes)[1]


def read_bag(
    module: SaDmil, batch: Batch, config: TrainingConfig, classes: ClassWeights
) -> tuple[dict[str, Tensor], ValidationScan]:
    """Reads a batch of one scan.

    Returns:
        The sums of the terms, and the scan's numbers.
    """
    output, sums = _terms(module, batch, config, classes)
    scan = ValidationScan(
        scan_id=batch.scan_ids[0],
        logit=float(output.logit_B[0]),
        label=float(batch.label_B[0]),
        attention=_array(output.attention_BS[0]),
        attention_logit=_array(output.attention_logit_BS[0]),
        slice_label=_array(batch.slice_label_BS[0]),
    )
    return sums, scan


def _terms(
    module: SaDmil, batch: Batch, config: TrainingConfig, classes: ClassWeights
) -> tuple[BagOutput, dict[str, Tensor]]:
    objective, device = config.objective, batch.mask_BS.device
    by_cell = objective.mask_weight > 0 and batch.masks_NHW is not None
    with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        output = module(
            batch.instances,
            batch.mask_BS,
            edges=batch.edges,
            position_mm_BS=batch.position_mm_BS,
            cells=by_cell,
        )
    graph = guidance_B = None
    if objective.smoothness_share > 0:
        graph = build_graph(
            objective.graph,
            batch.mask_BS,
            position_mm_BS=batch.position_mm_BS,
            h_BSD=output.features_BSD,
            edges=batch.edges,
        )
    if objective.guidance_weight > 0:
        guidance_B = normal_guidance(output.attention_BS, batch.position_mm_BS, batch.mask_BS)
    own = output.slice_logit_BS
    sums = term_sums(
        objective,
        output,
        batch,
        classes,
        graph=graph,
        slice_logit_BS=output.evidence_BS if own is None else own,
        cell_logit_NHW=output.cell_logit_NHW,
        guidance_B=guidance_B,
        extra_loss=output.extra_loss,
    )
    return output, sums


def _array(values: Tensor) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return values.detach().float().cpu().numpy().copy()
