"""``sadmil bench``: measured ratios as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from enum import Enum
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from sadmil_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sadmil_core.bench import Comparison


Measured = tuple[list["Comparison"], dict[str, Any]]


class Part(Enum):
    """What can be measured alone."""

    READING = "reading"
    LARGE = "large"
    DECODING = "decoding"
    PREDICTING = "predicting"
    TRAINING = "training"
    WINDOW = "window"


def bench(
    out: Annotated[
        Path | None, typer.Option(metavar="JSON", help="Write the document to a file, too.")
    ] = None,
    window: Annotated[
        bool, typer.Option("--window/--no-window", help="Measure the viewer as well.")
    ] = True,
    only: Annotated[
        list[Part] | None,
        typer.Option(help="Measure this part alone; may be repeated.", show_default=False),
    ] = None,
) -> None:
    """Measure speed against what one would otherwise use; prints a JSON document."""
    _require_extra()
    from sadmil_core.atomic import replacing
    from sadmil_core.bench import as_document

    note = Console(stderr=True, highlight=False).print
    chosen = only or [part for part in Part if window or part is not Part.WINDOW]
    comparisons: list[Comparison] = []
    extra: dict[str, Any] = {}
    for part, measure in _MEASURES.items():
        if part in chosen:
            note(f"{part.value} ...")
            compared, more = measure()
            comparisons += compared
            extra |= more
    text = json.dumps(as_document(comparisons, extra), indent=1)
    typer.echo(text)
    if out is not None:
        with replacing(out) as stream:
            stream.write(f"{text}\n".encode())


def _reading() -> Measured:
    from sadmil_core.bench.compressed import compare_compressed
    from sadmil_core.bench.loading import compare_loading, first_slice_share

    return compare_loading() + compare_compressed(), {"first_slice": first_slice_share()}


def _large() -> Measured:
    from sadmil_core.bench.large import index_rate, large_study

    return [], {"index": index_rate(), "large_study": large_study()}


def _decoding() -> Measured:
    from sadmil_core.bench.compressed import decoder_table

    return [], {"decoders": decoder_table()}


def _predicting() -> Measured:
    from sadmil_core.bench.prediction import compare_prediction

    return compare_prediction(), {}


def _training() -> Measured:
    from sadmil_core.bench.loader import measure_loader
    from sadmil_core.bench.training import inference_operations, measure_training

    comparisons, memory = measure_training()
    return comparisons, {
        "training_memory": memory,
        "inference_operations": inference_operations(),
        "loader": measure_loader(),
    }


def _window() -> Measured:
    return [], {"window": _measure_window()}


_MEASURES: dict[Part, Callable[[], Measured]] = {
    Part.READING: _reading,
    Part.LARGE: _large,
    Part.DECODING: _decoding,
    Part.PREDICTING: _predicting,
    Part.TRAINING: _training,
    Part.WINDOW: _window,
}


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
        [sys.executable, "-m", "viewer.bench"], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        return {"error": f"python -m viewer.bench ended with {done.returncode}"}
    return json.loads(done.stdout)
