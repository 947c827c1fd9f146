"""``sadmil manifest``: tables of scans and labels, made, looked at and split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sadmil_core.cli.console import complain
from sadmil_core.cli.manifest_import import add_importers
from sadmil_core.cli.manifest_output import print_manifest, require_out

manifest_app = typer.Typer(
    help="Make, check and split manifests: tables of scans and what is known of them.",
    no_args_is_help=True,
)
add_importers(manifest_app)

_Manifest = Annotated[
    Path, typer.Argument(metavar="MANIFEST", help="CSV or Parquet.", show_default=False)
]
_LISTED = 20


@manifest_app.command("check")
def check(
    manifest: _Manifest,
    files: Annotated[
        bool, typer.Option("--files", help="Look whether what it names is there, too.")
    ] = False,
) -> None:
    """Look at every row, list all that is wrong, and count what is there.

    Exit status: 0 it can be used, 1 it cannot or files are missing, 2 wrong usage.
    """
    from sadmil_core.data.manifest import missing_files, read_manifest

    found = read_manifest(manifest)
    for warning in found.warnings:
        complain(warning)
    print_manifest(found.scans, f"{manifest} can be used")
    if not files:
        return
    missing = missing_files(found.scans)
    for path in missing[:_LISTED]:
        complain(f"{path} is not there")
    if len(missing) > _LISTED:
        complain(f"and {len(missing) - _LISTED} more")
    if missing:
        raise typer.Exit(1)


@manifest_app.command("split")
def split(
    manifest: _Manifest,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="The manifest to write; of folds one each, -fold0, -fold1 ... in its name.",
            show_default=False,
        ),
    ],
    fractions: Annotated[
        str, typer.Option(metavar="TRAIN,VAL[,TEST]", help="Shares of the patients.")
    ] = "0.7,0.15,0.15",
    folds: Annotated[
        int, typer.Option(help="Folds for cross-validation, in place of fractions.", min=0)
    ] = 0,
    seed: Annotated[int, typer.Option(help="Another one gives another split.")] = 0,
    keep: Annotated[
        str,
        typer.Option(metavar="SPLIT", help="A split, most often test, whose patients stay in it."),
    ] = "",
) -> None:
    """Split by patient: every patient in one part, classes, sites and subtypes alike in all.

    The same whatever the order of the rows.
    """
    require_out(out, manifest)
    from sadmil_core.data.manifest import SPLITS, read_manifest, write_manifest
    from sadmil_core.data.splits import fold_scans, split_scans

    if keep not in ("", *SPLITS):
        raise typer.BadParameter(f"{keep!r} is none of {', '.join(SPLITS)}", param_hint="--keep")
    if keep and folds:
        raise typer.BadParameter("goes with fractions, not with folds", param_hint="--keep")
    scans = read_manifest(manifest).scans
    try:
        if folds:
            parts = fold_scans(scans, folds, seed=seed)
        else:
            shares = [float(share) for share in fractions.split(",")]
            parts = (split_scans(scans, shares, seed=seed, keep={keep} - {""}),)
    except ValueError as error:
        hint = "--folds" if folds else "--fractions"
        raise typer.BadParameter(str(error), param_hint=hint) from error
    for number, part in enumerate(parts):
        path = out.with_stem(f"{out.stem}-fold{number}") if folds else out
        write_manifest(part, path)
        print_manifest(part, f"{path} written")
