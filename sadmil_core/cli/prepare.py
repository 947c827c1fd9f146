"""``sadmil prepare``: a manifest's scans into a store to train from."""

from __future__ import annotations

import re
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from sadmil_core.cli.console import complain
from sadmil_core.cli.progress_bar import progress_bar

if TYPE_CHECKING:
    from sadmil_core.data.prepare import PrepareReport
    from sadmil_core.preprocess import PreprocessConfig


def prepare(
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST", help="CSV or Parquet.", show_default=False)
    ],
    store: Annotated[
        Path,
        typer.Option(
            metavar="PATH", help="The store's folder; made, or added to.", show_default=False
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE", help="Keep the pixels that this model sees.", show_default=False
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="CONFIG.toml", help="Keep what this training run sees.", show_default=False
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="ROWS,COLUMNS",
            help="Keep Hounsfield units resampled to this size (resample = 'hu'). Without any of "
            "these: the scanner's own pixels, for any input size.",
            show_default=False,
        ),
    ] = None,
    spacing: Annotated[
        float | None,
        typer.Option(
            metavar="MM",
            help="With --size: pixels of this size, centred on the head.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0, help="Processes; by default half as many as cores.", show_default=False
        ),
    ] = None,
) -> None:
    """Put the scans of a manifest into a store; run it again to go on or to add more.

    Exit status: 0 every scan is in the store, 1 some are not, 2 wrong usage.
    """
    from sadmil_core.data.manifest import read_manifest
    from sadmil_core.data.prepare import ScanSource
    from sadmil_core.data.prepare import prepare as prepare_scans

    preprocess = _preprocess(model, config, size, spacing)
    found = read_manifest(manifest)
    for warning in found.warnings:
        complain(warning)
    with progress_bar() as progress:
        report = prepare_scans(
            [ScanSource.of(scan) for scan in found.scans], store, preprocess, workers, progress
        )
    _tell(report, store, preprocess)
    if report.failed:
        raise typer.Exit(1)


def _preprocess(
    model: str | None, config: Path | None, size: str | None, spacing: float | None
) -> PreprocessConfig:
    from sadmil_core.checkpoint import read_header
    from sadmil_core.modelstore import resolve_model
    from sadmil_core.preprocess import PreprocessConfig

    if sum(option is not None for option in (model, config, size)) > 1:
        raise typer.BadParameter(
            "a model, or a config, has a size of its own: give one of --model, --config, --size"
        )
    if spacing is not None and size is None:
        raise typer.BadParameter("needs --size", param_hint="--spacing")
    if config is not None:
        from sadmil_core.training.config import read_training_config
        from sadmil_core.training.run import preprocess_of

        return preprocess_of(read_training_config(config), config.parent)
    if model is not None:
        return read_header(resolve_model(model)).preprocess
    if size is None:
        return PreprocessConfig()
    match = re.fullmatch(r"(\d{1,5})[,x](\d{1,5})", size.strip())
    if match is None:
        raise typer.BadParameter(f"{size!r} is not ROWS,COLUMNS", param_hint="--size")
    try:
        return PreprocessConfig(
            size=(int(match[1]), int(match[2])),
            resample="hu",
            pixel_spacing_mm=spacing,
            crop="none" if spacing is None else "head",
        )
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--size") from error


def _tell(report: PrepareReport, store: Path, config: PreprocessConfig) -> None:
    for name, warnings in report.warnings.items():
        for warning in warnings:
            complain(f"{name}: {warning}")
    for name, reason in report.failed.items():
        complain(f"{name} was not prepared: {reason}")
    typer.echo(
        f"{store}: {config.grid}; {len(report.prepared)} scan(s) prepared, "
        f"{len(report.unchanged)} there and unchanged, {len(report.failed)} failed."
    )
