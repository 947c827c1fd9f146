"""What the commands of ``sadmil manifest`` write and print."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from sadmil_core.cli.console import complain, wide_console

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sadmil_core.data.folder import ImportResult
    from sadmil_core.data.scans import ManifestScan

_SUFFIXES = (".csv", ".parquet", ".pq")


def require_out(out: Path, *inputs: Path) -> None:
    """Refuses a manifest that cannot be written before hours of reading, not after.

    Raises:
        typer.BadParameter: Its name or place is no good, or it would replace an input.
    """
    problem = ""
    if out.suffix.lower() not in _SUFFIXES:
        problem = "is neither .csv nor .parquet by its name"
    elif os.path.isdir(out):
        problem = "is a folder"
    elif not os.path.isdir(out.resolve().parent):
        problem = "lies in a folder that does not exist or may not be entered"
    elif out.resolve() in {path.resolve() for path in inputs}:
        problem = "is one of the input files"
    if problem:
        raise typer.BadParameter(f"{out} {problem}", param_hint="--out")


def write_import(result: ImportResult, out: Path) -> None:
    """Writes the manifest and looks at it again; what was left out goes to standard error.

    Raises:
        ManifestError: Nothing is left to be written, or what was written is not sound: all that
            is wrong with it is listed.
    """
    from sadmil_core.data.manifest import read_manifest, write_manifest
    from sadmil_core.errors import ManifestError

    for note in result.notes:
        complain(note)
    if not result.scans:
        raise ManifestError("No scan is left, and no manifest was written.")
    write_manifest(result.scans, out)
    print_manifest(read_manifest(out).scans, f"{out} written")


def print_manifest(scans: Iterable[ManifestScan], title: str) -> None:
    """Prints how many scans, patients and slices there are, by split."""
    from sadmil_core.data.manifest import describe_scans

    head, *rows = describe_scans(scans)
    table = Table(box=SIMPLE_HEAD, title=Text(title), title_justify="left")
    for name in head:
        table.add_column(name, justify="left" if name == "split" else "right")
    for row in rows:
        table.add_row(*row)
    wide_console().print(table)
