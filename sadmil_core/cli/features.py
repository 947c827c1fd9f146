"""``sadmil features``: a trained encoder's features of a store, as bags to train on."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from sadmil_core.cli.console import complain
from sadmil_core.cli.predict_options import Device, DeviceOption
from sadmil_core.cli.progress_bar import progress_bar


def features(
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST", help="CSV or Parquet.", show_default=False)
    ],
    store: Annotated[
        Path, typer.Option(metavar="PATH", help="From `sadmil prepare`.", show_default=False)
    ],
    model: Annotated[
        str,
        typer.Option(metavar="NAME|FILE", help="Whose encoder is used.", show_default=False),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Of features and their manifest.", show_default=False),
    ],
    device: DeviceOption = Device.AUTO,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads.", show_default=False)
    ] = None,
) -> None:
    """Encode the scans of a store once; run it again to go on or to add more.

    FOLDER/manifest.csv then names the features: `sadmil train` and `sadmil experiment` read it
    with an encoder of kind "features".

    Exit status: 0 done, 1 an error, 2 wrong usage, 130 or 143 stopped.
    """
    import torch

    from sadmil_core.data.features import write_features
    from sadmil_core.data.manifest import read_manifest
    from sadmil_core.devices import choose_device
    from sadmil_core.model.trained import load_checkpoint
    from sadmil_core.modelstore import resolve_model
    from sadmil_core.progress import Cancelled
    from sadmil_core.training.signals import listening

    if threads is not None:
        torch.set_num_threads(threads)
    found = read_manifest(manifest)
    for warning in found.warnings:
        complain(warning)
    trained = load_checkpoint(resolve_model(model))
    with listening() as stop, progress_bar() as progress:
        try:
            report = write_features(
                found.scans,
                store,
                trained,
                out,
                device=choose_device(device.value),
                stop=stop,
                progress=progress,
            )
        except Cancelled:
            complain(f"Stopped; {out} is kept, and the same command goes on.")
            raise typer.Exit(stop.exit_status or 143) from None
    typer.echo(
        f"{report.manifest}: {report.features} features of each slice; {report.written} scan(s) "
        f"encoded, {report.kept} there and unchanged. In a config: model.encoder.kind = "
        f"'features', model.encoder.features = {report.features}."
    )
