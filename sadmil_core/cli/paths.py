"""Paths given on the command line: are they there, and what do they hold?"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import typer

from sadmil_core.cli.console import complain
from sadmil_core.cli.progress_bar import progress_bar

if TYPE_CHECKING:
    from pathlib import Path

    from sadmil_core.dicom import SeriesIndex


def require_reachable(paths: list[Path]) -> None:
    """Refuses a path that is not there.

    Raises:
        typer.BadParameter: It is not.
    """
    for path in paths:
        if not os.path.lexists(path):
            raise typer.BadParameter(
                f"{path} does not exist or cannot be reached", param_hint="PATH"
            )


def index_paths(paths: list[Path]) -> tuple[SeriesIndex | None, int]:
    """Indexes all paths as one, so that a series given twice or file by file is read once.

    A path without CT is reported and counted, and does not stop the rest.

    Returns:
        The index, or None where no path holds CT; and how many do not.
    """
    from sadmil_core.dicom import index_folder, merge_indexes, require_entries
    from sadmil_core.errors import InputError

    indexes: list[SeriesIndex] = []
    failures = 0
    for path in paths:
        try:
            with progress_bar() as progress:
                indexes.append(require_entries(index_folder(path, progress)))
        except InputError as error:
            failures += 1
            complain(str(error))
    return (merge_indexes(indexes) if indexes else None), failures
