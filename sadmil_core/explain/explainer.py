"""Explains slices of one scan to one model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from sadmil_core.explain.explanation import Explanation, Method, spread
from sadmil_core.explain.gradcam import cell_lattice, cell_shares, require_cells
from sadmil_core.explain.occlusion import CoveredSlice
from sadmil_core.pixelgrid import Grid, GridConfig, lay_grid
from sadmil_core.preprocess import make_bag
from sadmil_core.progress import Progress, no_progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sadmil_core.dicom import CTVolume
    from sadmil_core.explain.explanation import Lattice
    from sadmil_core.predict import Predictor
    from sadmil_core.preprocess import PreprocessConfig

_PHASE = "covering one place after another"


class Explainer:
    """Says which places of a slice moved the scan logit, the other slices being what they are.

    The scan is encoded when the first slice is asked about, and kept.

    Args:
        predictor: The model on its device.
        volume: The scan, as it was read by it.
    """

    def __init__(self, predictor: Predictor, volume: CTVolume) -> None:
        self._predictor, self._volume = predictor, volume
        config = predictor.model.header.preprocess
        self._bag = make_bag(volume, config)
        self._grid = input_grid(volume, config)
        self._h_SD: torch.Tensor | None = None

    def explain(self, index: int, method: Method, progress: Progress = no_progress) -> Explanation:
        """Explains one slice.

        Args:
            index: The slice, 0-based.
            method: See :class:`Explanation`.
            progress: Called after each chunk of slices or squares; may raise Cancelled.

        Raises:
            ModelError: The model's encoder gives no feature map, which ``grad-cam`` needs.
            DeviceError: Memory does not suffice, even on the CPU.
            Cancelled: From ``progress``.
        """
        if method == "grad-cam":
            require_cells(self._predictor.model)  # before the scan is encoded in vain
        if self._h_SD is None:
            self._h_SD = self._predictor.encode(self._bag, progress)
        x_CHW = self._bag.instances(index, index + 1)[0]
        by = self._by_gradient if method == "grad-cam" else self._by_occlusion
        moved_RC = by(index, x_CHW, self._h_SD, progress)
        moved_RC.flags.writeable = False
        return Explanation(
            method=method,
            slice_index=index,
            model=self._predictor.model.header.identity,
            moved_RC=moved_RC,
        )

    def _logit(self, h_SD: torch.Tensor) -> torch.Tensor:
        return self._predictor.pool(h_SD, self._volume.entry).logit

    def _by_gradient(
        self, index: int, x_CHW: NDArray[np.float32], h_SD: torch.Tensor, progress: Progress
    ) -> NDArray[np.float32]:
        model = self._predictor.model
        others = torch.arange(len(h_SD)) != index

        def logit_of(h_D: torch.Tensor) -> torch.Tensor:
            return self._logit(torch.where(others[:, None], h_SD, h_D))

        shares = cell_shares(model, x_CHW, logit_of)
        progress(1, 1, "reading the gradient")
        lattice = cell_lattice(require_cells(model))
        return self._spread(shares, (lattice, lattice))

    def _by_occlusion(
        self, index: int, x_CHW: NDArray[np.float32], h_SD: torch.Tensor, progress: Progress
    ) -> NDArray[np.float32]:
        covered = CoveredSlice(x_CHW)
        h_ND = h_SD[:0]
        if len(covered):
            h_ND = self._predictor.encode(covered, progress, _PHASE)
        with torch.inference_mode():
            untouched = float(self._logit(h_SD))
            falls = np.zeros(len(covered), dtype=np.float32)
            changed_SD = h_SD.clone()
            for k, h_D in enumerate(h_ND):
                changed_SD[index] = h_D
                falls[k] = untouched - float(self._logit(changed_SD))
        return self._spread(covered.as_map(falls), covered.lattices)

    def _spread(
        self, values: NDArray[np.float32], lattices: tuple[Lattice, Lattice]
    ) -> NDArray[np.float32]:
        rows, columns = self._volume.entry.shape[1:]
        return spread(values, lattices, self._grid, (rows, columns))


def input_grid(volume: CTVolume, config: PreprocessConfig) -> Grid:
    """Where the network's input lies on the stack's matrix.

    Args:
        volume: The scan.
        config: How its slices became the input.
    """
    if config.resample == "windowed":
        return lay_grid(volume, GridConfig(size=config.size))
    return lay_grid(volume, config.grid)
