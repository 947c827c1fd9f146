"""``sadmil manifest rsna|cq500|ct-ich|torchmil``: published data sets as manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sadmil_core.cli.manifest import Out, write_import
from sadmil_core.cli.progress_bar import progress_bar


def add_importers(app: typer.Typer) -> None:
    """Adds the commands to ``sadmil manifest``."""
    app.command("rsna")(rsna)
    app.command("cq500")(cq500)
    app.command("ct-ich")(ct_ich)
    app.command("torchmil")(torchmil)


def rsna(
    labels: Annotated[Path, typer.Argument(metavar="stage_2_train.csv", show_default=False)],
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Of the .dcm files.", show_default=False)
    ],
    out: Out,
    links: Annotated[
        Path | None,
        typer.Option(
            "--links",
            metavar="FOLDER",
            help="Make a folder of links for each scan there, and name these in the manifest.",
        ),
    ] = None,
) -> None:
    """The RSNA 2019 challenge: labels by image, scans by study and series.

    All images of the challenge lie in one folder; with --links each scan gets one of its own,
    so that preparing a scan need not look through all of them.
    """
    from sadmil_core.data.importers.rsna import import_rsna

    with progress_bar() as progress:
        result = import_rsna(labels, folder, progress, links=links)
    write_import(result, out)


def cq500(
    reads: Annotated[Path, typer.Argument(metavar="reads.csv", show_default=False)],
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="With the folders of the scans.", show_default=False),
    ],
    out: Out,
) -> None:
    """CQ500: the majority of three readers, the fittest series of each scan."""
    from sadmil_core.data.importers.cq500 import import_cq500

    with progress_bar() as progress:
        result = import_cq500(reads, folder, progress)
    write_import(result, out)


def ct_ich(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Of the unpacked data set.", show_default=False),
    ],
    out: Out,
) -> None:
    """CT-ICH of PhysioNet: labels by slice, with masks."""
    from sadmil_core.data.importers.ctich import import_ct_ich

    with progress_bar() as progress:
        result = import_ct_ich(folder, progress)
    write_import(result, out)


def torchmil(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Of the unpacked data set.", show_default=False),
    ],
    out: Out,
    features: Annotated[
        str,
        typer.Option("--features", help="Which, if there are several, for example resnet50."),
    ] = "",
) -> None:
    """Bags of features as torchmil publishes them."""
    from sadmil_core.data.importers.torchmil import import_torchmil

    with progress_bar() as progress:
        result = import_torchmil(folder, features, progress)
    write_import(result, out)
