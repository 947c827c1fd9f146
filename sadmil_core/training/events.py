"""What happens in a run, as JSON lines: one object a line, each with a step and an event."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sadmil_core.atomic import replacing
from sadmil_core.errors import WriteError

if TYPE_CHECKING:
    from pathlib import Path


class EventLog:
    """A file that is added to line by line, and cut back to where a run goes on.

    Args:
        path: The file; made if need be.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return self._path.stat().st_size if self._path.is_file() else 0

    def cut(self, size: int) -> None:
        """Forgets what was written after the file had this length: it will happen again."""
        if self.size > size:
            with self._path.open("rb") as stream:
                kept = stream.read(size)
            with replacing(self._path) as stream:
                stream.write(kept)

    def write(self, event: str, step: int, **values: Any) -> None:
        """Adds an event.

        Raises:
            WriteError: The disk is full, or the like.
        """
        try:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(_line({"event": event, "step": step, **values}))
        except OSError as error:
            raise WriteError(
                f"{self._path} could not be written: {error.strerror or error}.",
                remedy="Free some space, then run the same command again: it goes on from the "
                "last saved state.",
            ) from error


def read_events(path: Path) -> list[dict[str, Any]]:
    """The events of a run so far; a last line cut short by a crash is passed over."""
    if not path.is_file():
        return []
    events: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and isinstance(event.get("step"), int):
            events.append(event)
    return events


def _line(event: dict[str, Any]) -> str:
    return json.dumps(event, allow_nan=False) + "\n"
