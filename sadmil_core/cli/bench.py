"""``sadmil bench``: measured ratios as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated, Any

import typer
from rich.console import Console

from sadmil_core.errors import InputError


def bench(
    out: Annotated[
        Path | None, typer.Option(metavar="JSON", help="Write the document to a file, too.")
    ] = None,
    window: Annotated[
        bool, typer.Option("--window/--no-window", help="Measure the viewer as well.")
    ] = True,
) -> None:
    """Measure speed against what one would otherwise use; prints a JSON document."""
    _require_extra()
    from sadmil_core.atomic import replacing
    from sadmil_core.bench import as_document
    from sadmil_core.bench.compressed import compare_compressed, decoder_table
    from sadmil_core.bench.large import index_rate, large_study
    from sadmil_core.bench.loading import compare_loading, first_slice_share
    from sadmil_core.bench.prediction import compare_prediction

    note = Console(stderr=True, highlight=False).print
    note("reading series ...")
    comparisons = compare_loading()
    extra: dict[str, Any] = {"first_slice": first_slice_share()}
    comparisons += compare_compressed()
    note("reading large folders ...")
    extra |= {"index": index_rate(), "large_study": large_study()}
    note("decoding ...")
    extra["decoders"] = decoder_table()
    note("predicting ...")
    comparisons += compare_prediction()
    if window:
        note("drawing ...")
        extra["window"] = _measure_window()
    text = json.dumps(as_document(comparisons, extra), indent=1)
    typer.echo(text)
    if out is not None:
        with replacing(out) as stream:
            stream.write(f"{text}\n".encode())


def _require_extra() -> None:
    try:
        import imagecodecs  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"The benchmark needs {error.name}, which is not installed.",
            remedy="pip install 'sadmil-viewer[bench]'",
        ) from error


def _measure_window() -> Any:
    """The viewer's own measurements, in a process of their own: the core imports no Qt."""
    done = subprocess.run(
        [sys.executable, "-m", "viewer.bench"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        return {"error": done.stderr.strip().splitlines()[-1:] or ["no output"]}
    return json.loads(done.stdout)
