"""Activation times gradient on the last feature map, and where its cells lie.

Of the Grad-CAM family (Selvaraju et al., ICCV 2017, arXiv 1610.02391) this is the member that
does not average the gradient over the map first (HiResCAM, Draelos and Carin, arXiv 2011.08891):
behind layers that know places, as the published network's flattened map has, an average would
show places that the score does not depend on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sadmil_core.errors import ModelError
from sadmil_core.explain.explanation import Lattice
from sadmil_core.model.config import ConvEncoderConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from sadmil_core.model.trained import TrainedModel


def require_cells(model: TrainedModel) -> ConvEncoderConfig:
    """Checks that a model's encoder has a last feature map to look at.

    Raises:
        ModelError: It has none.
    """
    encoder = model.header.model.encoder
    if not isinstance(encoder, ConvEncoderConfig):
        raise ModelError(
            f"The encoder of the model {model.header.name!r} gives no feature map for Grad-CAM.",
            remedy="Explain the slice by occlusion.",
        )
    return encoder


def cell_lattice(encoder: ConvEncoderConfig) -> Lattice:
    """Where the cells of the last feature map look: the middles of their receptive fields.

    Without padding a convolution cuts the margin off, so that the cells of the published network
    cover the middle of a slice and must not be stretched over all of it.
    """
    first, step = 0.0, 1.0
    blocks = zip(encoder.kernels, encoder.padding, encoder.strides, strict=True)
    for kernel, padding, stride in blocks:
        margin = kernel // 2 if padding == "same" else 0
        first += ((kernel - 1) / 2 - margin) * step
        first += (stride - 1) / 2 * step  # the middle of what the maximum is taken of
        step *= stride
    return Lattice(first=first, step=step)


def cell_shares(
    model: TrainedModel,
    x_CHW: NDArray[np.float32],
    logit_of: Callable[[torch.Tensor], torch.Tensor],
) -> NDArray[np.float32]:
    """Activation times gradient, summed over channels, for each cell of one slice.

    Args:
        model: With a convolutional encoder.
        x_CHW: The slice as the network sees it.
        logit_of: The scan logit as a differentiable function of the slice's features, (D,).

    Returns:
        (h, w) float32, in units of the scan logit.

    Raises:
        ModelError: The encoder gives no feature map.
    """
    require_cells(model)
    encoder = model.module.encoder
    with torch.no_grad():
        y_NDhw = encoder.cells(torch.from_numpy(x_CHW)[None])
    y_NDhw.requires_grad_()
    logit = logit_of(encoder.reduce(y_NDhw)[0])
    (gradient_NDhw,) = torch.autograd.grad(logit, y_NDhw)
    shares: NDArray[np.float32] = (gradient_NDhw * y_NDhw.detach()).sum(dim=1)[0].numpy()
    return shares
