"""What ``sadmil metrics`` and ``sadmil evaluate`` share: the table, and the files they write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from sadmil_core import RESEARCH_USE_NOTICE
from sadmil_core.cli.console import complain, wide_console

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sadmil_core.evaluation.assessment import Assessment
    from sadmil_core.evaluation.noise import NoiseFlips


def require_resamples(count: int) -> None:
    """Refuses fewer resamples than an interval needs.

    Raises:
        typer.BadParameter: They are too few.
    """
    from sadmil_core.evaluation.bootstrap import MIN_RESAMPLES

    if count < MIN_RESAMPLES:
        raise typer.BadParameter(
            f"{count} resamples are too few for the ends of a 95 % interval: at least "
            f"{MIN_RESAMPLES}",
            param_hint="--bootstrap",
        )


def print_assessment(assessment: Assessment, noise: Mapping[str, NoiseFlips] | None = None) -> None:
    """Prints numbers with intervals, baselines beside them, and what was shown."""
    from sadmil_core.evaluation.report_html import result_grids
    from sadmil_core.evaluation.sentences import facts, shown

    console = wide_console()
    console.print(Text(facts(assessment)))
    for grid in result_grids(assessment):
        table = Table(box=SIMPLE_HEAD, title=grid.caption, title_justify="left")
        for at, name in enumerate(grid.head):
            table.add_column(name, justify="right" if at else "left", overflow="fold")
        for row in grid.rows:
            cells = (f"{cell.text} {cell.interval}".strip() for cell in row.cells)
            table.add_row(*map(Text, (row.title, *cells)))
        console.print(table)
        for note in grid.footnotes:
            console.print(Text(note))
    for sentence in shown(assessment):
        console.print(Text(f"- {sentence}"))
    for name, flips in (noise or {}).items():
        console.print(Text(f"- {name}: {flips.message}"))
    console.print(Text(RESEARCH_USE_NOTICE))
    for note in assessment.notes:
        complain(note)
    for model in assessment.models:
        for note in model.data.notes:
            complain(f"{model.name}: {note}")


def write_reports(
    assessment: Assessment,
    *,
    json: Path | None,
    html: Path | None,
    title: str,
    noise: Mapping[str, NoiseFlips] | None = None,
) -> None:
    """Writes the files that were asked for.

    Raises:
        WriteError: The system refused one.
    """
    from sadmil_core.evaluation.document import write_metrics
    from sadmil_core.evaluation.report_html import write_html

    if json is not None:
        write_metrics(assessment, json, noise=noise)
    if html is not None:
        write_html(assessment, html, title=title, noise=noise)
