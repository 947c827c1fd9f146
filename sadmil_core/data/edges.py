"""The edges between the instances of a bag, as a manifest names them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from sadmil_core.errors import ManifestError
from sadmil_core.model.graph import EdgeList

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def read_edges(path: Path, count: int, kept: NDArray[np.intp] | None = None) -> EdgeList:
    """Reads ``pairs`` (E, 2), whole numbers, and ``weights`` (E,) of a .npz file.

    Args:
        path: The file.
        count: S, how many instances the bag has.
        kept: Those that stay, ascending; None for all.

    Returns:
        The edges between instances that stay, by their new numbers.

    Raises:
        ManifestError: The file cannot be read, or is of other instances.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            pairs, weights = arrays["pairs"], arrays["weights"].astype(np.float32)
        if pairs.shape != (len(weights), 2) or pairs.dtype.kind not in "iu":
            raise ValueError(f"pairs are {pairs.dtype} {pairs.shape}, weights {weights.shape}")
        if not (np.isfinite(weights) & (weights >= 0)).all():
            raise ValueError("weights must be finite and not negative")
        if pairs.size and not (pairs.min() >= 0 and pairs.max() < count):
            raise ValueError(f"it names slices beyond the {count} there are")
    except (OSError, ValueError, KeyError) as error:
        raise ManifestError(
            f"The edges {path} cannot be used: {error}.",
            remedy="Write pairs (E, 2), whole numbers, and weights (E,) with numpy.savez.",
        ) from error
    if kept is None:
        kept = np.arange(count)
    number = np.full(count, -1, np.int64)
    number[kept] = np.arange(len(kept))
    pairs = number[pairs]
    stays = (pairs >= 0).all(axis=1)
    return EdgeList(
        pairs_E2=torch.from_numpy(pairs[stays]), weights_E=torch.from_numpy(weights[stays])
    )
