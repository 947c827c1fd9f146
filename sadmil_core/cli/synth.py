"""``sadmil synth``: synthetic hemorrhage, for training, testing and teaching."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from sadmil_core.cli.console import complain
from sadmil_core.cli.progress_bar import progress_bar

if TYPE_CHECKING:
    from sadmil_core.synth.cohort import CohortReport

synth_app = typer.Typer(
    help="Make synthetic hemorrhage: inserted into real scans, or in made-up heads.",
    no_args_is_help=True,
)


@synth_app.command("insert")
def insert(
    hosts: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER", help="Head CTs without a bleed, in DICOM.", show_default=False
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="OUT",
            help="New or empty, or an earlier run, which is gone on with.",
            show_default=False,
        ),
    ],
    scans: Annotated[
        int, typer.Option(min=1, help="How many scans there shall be.", show_default=False)
    ],
    seed: Annotated[int, typer.Option(min=0, help="The same one, the same scans.")] = 0,
    size: Annotated[
        int,
        typer.Option(min=0, help="At most so many rows and columns; 0 for the hosts' own."),
    ] = 256,
    positive: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the scans that bleed.")
    ] = 0.41,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes; by default as many as cores.", show_default=False),
    ] = None,
) -> None:
    """Put bleeds, and what only looks like them, into real scans; run it again to go on.

    Exit status: 0 all scans are there, 1 some could not be made, 2 wrong usage.
    """
    from sadmil_core.synth.insert_cohort import insert_cohort

    with progress_bar() as progress:
        report = insert_cohort(
            hosts,
            out,
            scans=scans,
            seed=seed,
            size=size or None,
            positive_share=positive,
            workers=workers or os.cpu_count() or 1,
            progress=progress,
        )
    _tell(report, scans)


class Arm(StrEnum):
    """Where bleeds lie."""

    NATURAL = "natural"
    UNIFORM = "uniform"


@synth_app.command("phantom")
def phantom(
    out: Annotated[
        Path,
        typer.Option(
            metavar="OUT",
            help="New or empty, or an earlier run, which is gone on with.",
            show_default=False,
        ),
    ],
    scans: Annotated[
        int, typer.Option(min=1, help="How many scans there shall be.", show_default=False)
    ],
    seed: Annotated[int, typer.Option(min=0, help="The same one, the same scans.")] = 0,
    arm: Annotated[
        Arm,
        typer.Option(
            help="natural: whole heads, bleeds where they occur; uniform: parts of heads, so "
            "that bleeds lie anywhere along the stack equally often."
        ),
    ] = Arm.NATURAL,
    size: Annotated[int, typer.Option(min=96, max=1024, help="Rows and columns.")] = 256,
    positive: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the scans that bleed.")
    ] = 0.41,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes; by default as many as cores.", show_default=False),
    ] = None,
) -> None:
    """Make whole heads with no patient at all, with bleeds and what only looks like them.

    Exit status: 0 all scans are there, 1 some could not be made, 2 wrong usage.
    """
    from sadmil_core.synth.phantom_cohort import phantom_cohort

    with progress_bar() as progress:
        report = phantom_cohort(
            out,
            scans=scans,
            seed=seed,
            arm=arm.value,
            size=size,
            positive_share=positive,
            workers=workers or os.cpu_count() or 1,
            progress=progress,
        )
    _tell(report, scans)


@synth_app.command("report")
def report(
    synthetic: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER",
            help="Synthetic scans: what insert or phantom wrote, or any DICOM.",
            show_default=False,
        ),
    ],
    real: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Real head CTs.", show_default=False)
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="OUT",
            help="Where the report goes. Keep it to yourself: it holds pictures of the real scans.",
            show_default=False,
        ),
    ],
    scans: Annotated[int, typer.Option(min=1, help="At most so many of each kind.")] = 60,
    size: Annotated[
        int, typer.Option(min=64, help="Scans are averaged to at most so many rows and columns.")
    ] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Of scans, patches and pairs drawn.")] = 0,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes; by default as many as cores.", show_default=False),
    ] = None,
) -> None:
    """Measure how far synthetic scans are from real ones, with figures and pictures side by side.

    Exit status: 0 the report is written, 1 it could not be, 2 wrong usage.
    """
    from sadmil_core.synth.realism_report import write_realism_report

    with progress_bar() as progress:
        written = write_realism_report(
            synthetic,
            real,
            out,
            seed=seed,
            size=size,
            scans=scans,
            workers=workers or os.cpu_count() or 1,
            progress=progress,
        )
    for name, reason in written.skipped:
        complain(f"{name}: {reason}")
    typer.echo(f"{written.page}")


def _tell(report: CohortReport, scans: int) -> None:
    for name, reason in report.skipped:
        complain(f"{name}: {reason}")
    typer.echo(f"{report.written} scan(s) written, {report.kept} there already: {report.manifest}")
    if report.written + report.kept < scans:
        raise typer.Exit(1)
