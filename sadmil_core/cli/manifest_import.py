"""``sadmil manifest rsna|cq500|ct-ich|torchmil|folder``: data sets as manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sadmil_core.cli.manifest_output import require_out, write_import
from sadmil_core.cli.paths import require_reachable
from sadmil_core.cli.progress_bar import progress_bar

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
    app.command("folder")(folder_of_scans)


def rsna(
    labels: Annotated[Path, typer.Argument(metavar="stage_2_train.csv", show_default=False)],
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Of the .dcm files.", show_default=False)
    ],
    out: _Out,
) -> None:
    """The RSNA 2019 challenge: labels by image, scans by study and series."""
    require_out(out, labels)
    from sadmil_core.data.importers.rsna import import_rsna

    with progress_bar() as progress:
        result = import_rsna(labels, folder, progress)
    write_import(result, out)


def cq500(
    reads: Annotated[Path, typer.Argument(metavar="reads.csv", show_default=False)],
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="With the folders of the scans.", show_default=False),
    ],
    out: _Out,
) -> None:
    """CQ500: the majority of three readers, the fittest series of each scan."""
    require_out(out, reads)
    from sadmil_core.data.importers.cq500 import import_cq500

    with progress_bar() as progress:
        result = import_cq500(reads, folder, progress)
    write_import(result, out)


def ct_ich(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Of the unpacked data set.", show_default=False),
    ],
    out: _Out,
) -> None:
    """CT-ICH of PhysioNet: labels by slice, with masks."""
    require_out(out)
    from sadmil_core.data.importers.ctich import import_ct_ich

    with progress_bar() as progress:
        result = import_ct_ich(folder, progress)
    write_import(result, out)


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
    require_out(out)
    from sadmil_core.data.importers.torchmil import import_torchmil

    with progress_bar() as progress:
        result = import_torchmil(folder, features, progress)
    write_import(result, out)


def folder_of_scans(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DICOM",
            help="The folder of the scans, in any subfolders; or a zip archive.",
            show_default=False,
        ),
    ],
    labels: Annotated[
        Path,
        typer.Option(
            metavar="TABLE",
            help="CSV or Parquet with a row for each scan, each slice, or both.",
            show_default=False,
        ),
    ],
    out: _Out,
    id_column: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Names the scan: StudyInstanceUID, AccessionNumber, PatientID or folder. "
            "[default: scan_id and the like]",
        ),
    ] = "",
    label_column: Annotated[
        str, typer.Option(metavar="NAME", help="0, 1 or blank. [default: scan_label and the like]")
    ] = "",
    slice_id_column: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Names the slice: SOPInstanceUID or file. [default: sop_instance_uid or file]",
        ),
    ] = "",
    slice_label_column: Annotated[
        str, typer.Option(metavar="NAME", help="0, 1 or blank. [default: slice_label or slice_any]")
    ] = "",
    site: Annotated[str, typer.Option(help="Where the scans were made, for subgroups.")] = "",
    hash_patients: Annotated[
        bool,
        typer.Option(
            "--hash-patients",
            help="Write hashes in place of PatientID, with a key that nobody keeps.",
        ),
    ] = False,
) -> None:
    """A hospital's scans: a folder of DICOM and a table of labels.

    Labels without a scan and scans without a label are both listed.
    """
    require_out(out, labels)
    require_reachable([folder])
    from sadmil_core.data.folder import import_folder
    from sadmil_core.data.labels import LabelColumns

    columns = LabelColumns(
        scan_id=id_column,
        scan_label=label_column,
        slice_id=slice_id_column,
        slice_label=slice_label_column,
    )
    with progress_bar() as progress:
        result = import_folder(
            folder, labels, columns, progress, site=site, hash_patients=hash_patients
        )
    write_import(result, out)
