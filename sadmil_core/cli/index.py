"""``sadmil index``: what a folder holds, and what is odd about it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from sadmil_core import RESEARCH_USE_NOTICE
from sadmil_core.cli.console import complain, wide_console
from sadmil_core.cli.paths import index_paths, require_reachable
from sadmil_core.cli.progress_bar import progress_bar

if TYPE_CHECKING:
    from sadmil_core.dicom import SeriesIndex, SkipReason, StackEntry
    from sadmil_core.fitness import Fitness

_COLUMNS = (
    "series (study)",
    "slices",
    "matrix",
    "spacing mm",
    "tilt",
    "missing",
    "fit",
    "warnings",
)


def index(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...",
            help="Files, folders or zip archives; each may hold many studies.",
            show_default=False,
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    pixels: Annotated[
        bool,
        typer.Option(
            "--pixels", help="Load every series, too: for the whole verdict on its fitness."
        ),
    ] = False,
) -> None:
    """List studies and series, their geometry, warnings, and the files that are of no use.

    Reads headers only, unless --pixels is given. Exit status: 0 all understood, 1 some CT data
    may be missing, 2 wrong usage.
    """
    require_reachable(paths)
    found, failures = index_paths(paths)
    if found is None:
        raise typer.Exit(1)
    from sadmil_core.fitness import fitness_of_entry
    from sadmil_core.report.index_json import index_text

    entries: list[StackEntry] = list(found.entries)
    verdicts = [fitness_of_entry(entry) for entry in entries]
    if pixels:
        failures += _look_at_pixels(entries, verdicts)
    if as_json:
        from dataclasses import replace

        text = index_text(replace(found, entries=tuple(entries)), verdicts)
        # As bytes: a path may hold what is no text, and the escape is JSON's own.
        typer.echo(text.encode("utf-8", "backslashreplace"), nl=False)
    else:
        _print(found, entries, verdicts)
    if failures or found.failures or not entries:
        raise typer.Exit(1)


def _look_at_pixels(entries: list[StackEntry], verdicts: list[Fitness]) -> int:
    """Loads each series for what only its pixels tell; returns how many could not be loaded."""
    from sadmil_core.dicom import load_volume
    from sadmil_core.errors import DecodeError
    from sadmil_core.fitness import fitness_of_volume

    failures = 0
    for number, entry in enumerate(entries):
        try:
            with progress_bar(f"series {number + 1}/{len(entries)}:") as progress:
                volume = load_volume(entry, progress)
        except DecodeError as error:
            complain(str(error))
            failures += 1
            continue
        entries[number], verdicts[number] = volume.entry, fitness_of_volume(volume)
        failures += len(volume.entry.slices) < len(entry.slices)
    return failures


def _print(found: SeriesIndex, entries: list[StackEntry], verdicts: list[Fitness]) -> None:
    studies = len({entry.study_instance_uid for entry in entries})
    caption = (
        f"{studies} studies, {len(entries)} series, "
        f"{sum(len(entry.slices) for entry in entries)} slices. {RESEARCH_USE_NOTICE}."
    )
    table = Table(box=SIMPLE_HEAD, caption=caption, caption_justify="left")
    for name in _COLUMNS:
        table.add_column(name, overflow="fold")
    for entry, fitness in zip(entries, verdicts, strict=True):
        table.add_row(*map(Text, _row(entry, fitness)))
    console = wide_console()
    console.print(table)
    for entry, fitness in zip(entries, verdicts, strict=True):
        said = {(str(w.code), w.message): "" for w in entry.warnings}
        said |= {
            (str(r.code), r.message): f"{r.level}: "
            for r in fitness.reasons
            # Most doubts about fitness repeat what a warning has said already.
            if str(r.code) not in entry.warning_codes
        }
        for (code, message), level in said.items():
            line = f"{_name(entry)}: {level}{code}: {message}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    _print_skipped(found)


def _print_skipped(found: SeriesIndex) -> None:
    harmless: Counter[SkipReason] = Counter()
    for file in found.skipped:
        if file.reason.is_failure:
            complain(f"{file.path}: {file.reason}: {file.message}")
        else:
            harmless[file.reason] += 1
    for reason, count in harmless.most_common():
        complain(f"{count} file(s) passed over: {reason}")


def _row(entry: StackEntry, fitness: Fitness) -> tuple[str, ...]:
    geometry, (slices, rows, columns) = entry.geometry, entry.shape
    return (
        f"{_name(entry)} ({entry.study_instance_uid})",
        str(slices),
        f"{rows} x {columns}",
        _spacing(entry),
        f"{geometry.tilt_deg:+.1f}°" if geometry.has_orientation else "?",
        str(sum(geometry.missing_after)) if geometry.has_positions else "?",
        str(fitness.level),
        "; ".join(entry.warning_codes) or "-",
    )


def _name(entry: StackEntry) -> str:
    stack = f" #{entry.stack_index}" if entry.stack_index else ""
    return f"{entry.series_instance_uid}{stack}"


def _spacing(entry: StackEntry) -> str:
    """The distance of neighbours along the normal: one number where it is even."""
    from sadmil_core.dicom.geometry import spacing_is_even

    steps = entry.geometry.spacings_mm
    if not steps or not entry.geometry.has_positions:
        return "-" if entry.geometry.has_positions else "?"
    if spacing_is_even(steps):
        return f"{entry.geometry.spacing_mm:.2f}"
    return f"{min(steps):.2f} to {max(steps):.2f}"
