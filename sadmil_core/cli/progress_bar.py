"""A progress bar on standard error that speaks the core's Progress protocol."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sadmil_core.progress import Progress


@contextmanager
def progress_bar(prefix: str = "") -> Iterator[Progress]:
    """Shows a bar while the block runs; nothing where standard error is not a terminal.

    Args:
        prefix: Stands before each phase, for example which series of how many.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with RichProgress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(prefix, total=None)

        def report(done: int, total: int, phase: str) -> None:
            text = f"{prefix} {phase}".strip()
            if bar.tasks[0].description != text:
                bar.reset(task, description=text, total=total)
            bar.update(task, completed=done, total=total)

        yield report
