"""Prediction of a 32-slice scan with the published network, against the plain module."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from sadmil_core.bench import Comparison, compare
from sadmil_core.bench.series import synthetic_volume
from sadmil_core.checkpoint import CheckpointHeader
from sadmil_core.model.config import published_config
from sadmil_core.model.sadmil import SaDmil
from sadmil_core.model.trained import TrainedModel
from sadmil_core.predict import Predictor
from sadmil_core.preprocess import PreprocessConfig, make_bag
from sadmil_core.result import DecisionRule

if TYPE_CHECKING:
    from sadmil_core.dicom import CTVolume
    from sadmil_core.model.encoder import ConvBlock, ConvEncoder

_SLICES = 32


def untrained_published_network(seed: int = 0) -> TrainedModel:
    """The published architecture with random weights: as fast or slow as the real ones."""
    torch.manual_seed(seed)
    header = CheckpointHeader(
        name="untrained",
        model=published_config(),
        preprocess=PreprocessConfig(),
        rule=DecisionRule(),
        supervision="scan",
    )
    return TrainedModel(module=SaDmil(header.model).eval(), header=header)


def plain_prediction(model: TrainedModel, volume: CTVolume) -> float:
    """What one would write first: the whole bag at once, default layout, pooling last."""
    module = model.module
    bag = make_bag(volume, model.header.preprocess)
    with torch.inference_mode():
        y = torch.from_numpy(bag.instances(0, len(bag)))
        for part in cast("ConvEncoder", module.encoder).blocks:
            block = cast("ConvBlock", part)
            y = block.pool(block.norm(torch.relu(block.conv(y))))
        h_SD = y.permute(0, 2, 3, 1).flatten(1)
        zero = torch.zeros(1, 3, *module.config.input_size)
        return float(module.pool(h_SD, module.encode(zero)[0]).logit)


def compare_prediction(runs: int = 5) -> list[Comparison]:
    """fp32 on two threads, and bf16 beside it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        model, volume = untrained_published_network(), synthetic_volume(_SLICES)
        fast = Predictor(model, device="cpu")
        half = Predictor(model, device="cpu", precision="bf16")
        difference = abs(fast.run(volume).scan_logit - plain_prediction(model, volume))
        if difference > 1e-4:
            raise RuntimeError(f"the two ways differ by {difference} in the scan logit")
        if not np.isfinite(half.run(volume).scan_logit):
            raise RuntimeError("bf16 gave no finite logit")
        plain = "plain module, default memory format"
        return [
            compare(
                f"predict {_SLICES} x 512 x 512, fp32, 2 threads",
                lambda: fast.run(volume),
                lambda: plain_prediction(model, volume),
                other=plain,
                limit=0.35,
                runs=runs,
            ),
            compare(
                f"predict {_SLICES} x 512 x 512, bf16, 2 threads",
                lambda: half.run(volume),
                lambda: plain_prediction(model, volume),
                other=plain,
                limit=None,
                runs=runs,
            ),
        ]
    finally:
        torch.set_num_threads(threads)
