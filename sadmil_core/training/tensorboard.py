"""The events of a run for TensorBoard, where its package is installed (the extra of that name)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sadmil_core.errors import TrainingError
from sadmil_core.training.events import EventLog, read_events

if TYPE_CHECKING:
    from pathlib import Path


class TensorBoardLog(EventLog):
    """An event log whose numbers go to TensorBoard, too.

    Args:
        path: The event log.
        folder: TensorBoard's files; what a run forgets when it goes on is purged there.

    Raises:
        TrainingError: The package is not installed.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        super().__init__(path)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise TrainingError(
                "TensorBoard is not installed.",
                remedy="Install the extra: pip install 'sadmil-viewer[tensorboard]'.",
                detail=str(error),
            ) from error
        self._folder, self._make = folder, SummaryWriter
        self._writer: SummaryWriter | None = None

    def cut(self, size: int) -> None:
        """As of any log; the steps that are to happen again are purged."""
        super().cut(size)
        events = read_events(self._path)
        step = events[-1]["step"] + 1 if events else 0
        self._writer = self._make(str(self._folder), purge_step=step)

    def write(self, event: str, step: int, **values: Any) -> None:
        """Adds an event to both."""
        super().write(event, step, **values)
        if self._writer is None:
            self._writer = self._make(str(self._folder))
        for name, value in _scalars(values, event):
            self._writer.add_scalar(name, value, step)
        if event != "step":
            self._writer.flush()


def _scalars(values: dict[str, Any], prefix: str) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += _scalars(value, f"{prefix}/{name}")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found.append((f"{prefix}/{name}", float(value)))
    return found
