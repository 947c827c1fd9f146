"""``sadmil labels``: what was marked in the viewer, counted and exported to train on."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from sadmil_core.cli.console import wide_console
from sadmil_core.cli.manifest_output import require_out, write_import
from sadmil_core.cli.paths import index_paths, require_reachable

labels_app = typer.Typer(
    help="Count and export the labels that readers have given in the viewer.",
    no_args_is_help=True,
)


@labels_app.command("list")
def list_labels() -> None:
    """Count what each reader has marked, and how much of it before the model was seen."""
    from rich.table import Table

    from sadmil_core.labels import Journal, LabelDatabase

    rows = Journal(LabelDatabase()).rows(only_last=True)
    if not rows:
        typer.echo("No labels yet: they are given in the viewer, in the menu Labels.")
        return
    table = Table("reader", "scans", "bleed", "slices", "bleed", "before the model", "notes")
    for reader in sorted({row.reader for row in rows}):
        mine = [row for row in rows if row.reader == reader]
        labels = [row for row in mine if row.item == "label"]
        scans = [row for row in labels if row.slice is None]
        slices = [row for row in labels if row.slice is not None]
        table.add_row(
            reader or "unnamed",
            str(len(scans)),
            str(sum(row.value == "1" for row in scans)),
            str(len(slices)),
            str(sum(row.value == "1" for row in slices)),
            f"{sum(not row.model for row in labels)} of {len(labels)}",
            str(sum(row.item == "note" for row in mine)),
        )
    wide_console().print(table)


@labels_app.command("export")
def export(
    images: Annotated[
        list[Path],
        typer.Argument(metavar="DICOM...", help="Where the scans lie.", show_default=False),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="FILE", help="The manifest to write.", show_default=False
        ),
    ],
    reader: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Whose labels. [default: all readers']"),
    ] = None,
    readings: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write every change, too: who, when, with which model in sight.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Bring labels and scans together: a manifest for `sadmil prepare` and `sadmil train`.

    Labels are kept by hashes of UIDs: the scans must be there to be named. Where readers
    contradict each other a label is left blank.

    Exit status: 0 written, 1 an error or no labelled scan among the files, 2 wrong usage.
    """
    require_out(out, *images)
    if readings is not None:
        require_out(readings, *images)
    require_reachable(images)
    from sadmil_core.data.folder import ImportResult
    from sadmil_core.labels import Journal, LabelDatabase, collect_scans, read_key
    from sadmil_core.labels.export import write_readings
    from sadmil_core.report.pseudonyms import Pseudonyms

    journal, hashes = Journal(LabelDatabase()), Pseudonyms(read_key())
    if reader is not None and reader not in journal.readers():
        known = ", ".join(name or '""' for name in journal.readers()) or "nobody yet"
        raise typer.BadParameter(f"no labels of {reader!r}; of: {known}", param_hint="--reader")
    index, _ = index_paths(images)
    entries = index.entries if index is not None else ()
    found = collect_scans(journal, hashes, entries, reader)
    write_import(ImportResult(scans=found.scans, notes=found.notes), out)
    if readings is not None:
        count = write_readings(journal, hashes, entries, readings)
        typer.echo(f"{readings}: {count} change(s)")
