"""Loading a model to be asked; torch is imported here, on a worker thread, and not before."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from sadmil_core.devices import DeviceChoice, Precision
    from sadmil_core.predict import Predictor


def load_predictor(path: Path, device: DeviceChoice, precision: Precision) -> Predictor:
    """Loads a model onto a device.

    Raises:
        CheckpointError: The file is not a checkpoint, or is damaged.
        ModelError: It cannot be run here.
        DeviceError: The device is not there, or lacks the precision.
    """
    from sadmil_core.model.trained import load_checkpoint
    from sadmil_core.predict import Predictor

    return Predictor(load_checkpoint(path), device=device, precision=precision)
