"""Files a command is to write: refused before the work, not after."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def require_writable(path: Path | None, option: str) -> None:
    """Refuses an output that is a folder, or lies in none.

    Raises:
        typer.BadParameter: It cannot be written.
    """
    if path is None:
        return
    if os.path.isdir(path):
        raise typer.BadParameter(f"{path} is a folder", param_hint=option)
    if not os.path.isdir(path.resolve().parent):
        raise typer.BadParameter(
            f"{path} lies in a folder that does not exist or may not be entered", param_hint=option
        )


def require_no_input(inputs: Iterable[Path], output: Path | None, option: str) -> None:
    """Refuses an output that would replace an input.

    Raises:
        typer.BadParameter: It would.
    """
    if output is not None and output.resolve() in {path.resolve() for path in inputs}:
        raise typer.BadParameter(f"{output} is one of the input files", param_hint=option)
