"""``sadmil manifest rsna|cq500|ct-ich|torchmil``: published data sets as manifests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sadmil_core.cli.console import complain
from sadmil_core.cli.progress_bar import progress_bar

if TYPE_CHECKING:
    from sadmil_core.data.folder import ImportResult

_Out = Annotated[
    Path,
    typer.Option(
        "--out", "-o", metavar="FILE", help="The manifest: .csv or .parquet.", show_default=False
    ),
]


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
    out: _Out,
) -> None:
    """The RSNA 2019 challenge: labels by image, scans by study and series."""
    from sadmil_core.data.importers.rsna import import_rsna

    with progress_bar() as progress:
        result = import_rsna(labels, folder, progress)
    _write(result, out)


def cq500(
    reads: Annotated[Path, typer.Argument(metavar="reads.csv", show_default=False)],
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="With the folders of the scans.", show_default=False),
    ],
    out: _Out,
) -> None:
    """CQ500: the majority of three readers, the fittest series of each scan."""
    from sadmil_core.data.importers.cq500 import import_cq500

    with progress_bar() as progress:
        result = import_cq500(reads, folder, progress)
    _write(result, out)


def ct_ich(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Of the unpacked data set.", show_default=False),
    ],
    out: _Out,
) -> None:
    """CT-ICH of PhysioNet: labels by slice, with masks."""
    from sadmil_core.data.importers.ctich import import_ct_ich

    with progress_bar() as progress:
        result = import_ct_ich(folder, progress)
    _write(result, out)


def torchmil(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Of the unpacked data set.", show_default=False),
    ],
    out: _Out,
    features: Annotated[
        str,
        typer.Option("--features", help="Which, if there are several, for example resnet50."),
    ] = "",
) -> None:
    """Bags of features as torchmil publishes them."""
    from sadmil_core.data.importers.torchmil import import_torchmil

    with progress_bar() as progress:
        result = import_torchmil(folder, features, progress)
    _write(result, out)


def _write(result: ImportResult, out: Path) -> None:
    """Writes the manifest; what was left out goes to standard error."""
    from sadmil_core.data.manifestfile import write_manifest
    from sadmil_core.errors import ManifestError

    for note in result.notes:
        complain(note)
    if not result.scans:
        raise ManifestError("No scan is left, and no manifest was written.")
    write_manifest(result.scans, out)
    labels = [scan.label for scan in result.scans]
    patients = len({scan.patient for scan in result.scans})
    typer.echo(
        f"{out}: {len(labels)} scans of {patients} patients, {labels.count(True)} positive, "
        f"{labels.count(False)} negative, {labels.count(None)} unlabelled"
    )
