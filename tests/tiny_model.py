"""A network small enough to compute by hand: it looks for the brightest spot of a brain.

With h the largest value of v = max(0, 1.8 b - 2 s + 0.2) in a slice, of the brain window b and the
subdural window s, f = 4 tanh(4 h) and e = 20 h - 10. From 0 to 80 HU v is that of the brain window
itself: slices at 20 HU are dark to it (h = 0.25), slices with a spot of 70 HU bleed (h = 0.875).
To bone (b = s = 1) it is blind.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sadmil_core.checkpoint import CheckpointHeader, Provenance, write_checkpoint
from sadmil_core.model.config import AttentionConfig, ConvEncoderConfig, HeadConfig, ModelConfig
from sadmil_core.preprocess import PreprocessConfig
from sadmil_core.result import DecisionRule

SIZE = (32, 32)


def write_tiny_model(
    path: Path, *, name: str = "tiny", phantoms_only: bool = False, bias: float = -10.0
) -> CheckpointHeader:
    eps = 1e-3
    tensors = {
        "encoder.blocks.0.conv.weight": np.array([1.8, -2.0, 0.0], np.float32).reshape(1, 3, 1, 1),
        "encoder.blocks.0.conv.bias": np.full(1, 0.2, np.float32),
        "encoder.blocks.0.norm.weight": np.ones(1, np.float32),
        "encoder.blocks.0.norm.bias": np.zeros(1, np.float32),
        "encoder.blocks.0.norm.running_mean": np.zeros(1, np.float32),
        "encoder.blocks.0.norm.running_var": np.full(1, 1 - eps, np.float32),
        "encoder.blocks.0.norm.num_batches_tracked": np.array(1, np.int64),
        "attention.value.weight": np.array([[4.0]], np.float32),
        "attention.weight.weight": np.array([[4.0]], np.float32),
        "head.output.weight": np.array([[20.0]], np.float32),
        "head.output.bias": np.array([bias], np.float32),
    }
    header = CheckpointHeader(
        name=name,
        model=ModelConfig(
            encoder=ConvEncoderConfig(
                channels=(1,), kernels=(1,), padding=("valid",), dropout=(0.0,), output="max"
            ),
            attention=AttentionConfig(hidden=1, gated=False),
            head=HeadConfig(hidden=0, dropout=0.0),
            input_size=SIZE,
        ),
        preprocess=PreprocessConfig(size=SIZE),
        rule=DecisionRule(),
        supervision="scan",
        provenance=Provenance(description="A test model.", phantoms_only=phantoms_only),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_checkpoint(path, header, tensors)
