"""The ``sadmil`` command: subcommands, logging, and errors turned into one line and a status.

Exit status: 0 for success, 1 where something failed, 2 for wrong usage, 130 when interrupted.
"""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer
from rich.console import Console

from sadmil_core import RESEARCH_USE_NOTICE, __version__
from sadmil_core.cli import (
    bench,
    demo,
    evaluate,
    features,
    index,
    metrics,
    predict,
    prepare,
    train,
    train_default,
)
from sadmil_core.cli.experiment import experiment_app
from sadmil_core.cli.labels import labels_app
from sadmil_core.cli.manifest import manifest_app
from sadmil_core.cli.synth import synth_app
from sadmil_core.cli.weights import weights_app
from sadmil_core.errors import SadmilError
from sadmil_core.openmp import wait_passively
from sadmil_core.progress import Cancelled

INTERRUPTED = 130

app = typer.Typer(
    name="sadmil",
    help=f"Read head CT with SA-DMIL. {RESEARCH_USE_NOTICE}.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("index")(index.index)
app.command("predict")(predict.predict)
app.command("evaluate")(evaluate.evaluate)
app.command("metrics")(metrics.metrics)
app.add_typer(weights_app, name="weights")
app.add_typer(manifest_app, name="manifest")
app.add_typer(labels_app, name="labels")
app.add_typer(experiment_app, name="experiment")
app.command("prepare")(prepare.prepare)
app.command("features")(features.features)
app.command("train")(train.train)
app.command("train-default")(train_default.train_default)
app.add_typer(synth_app, name="synth")
app.command("demo")(demo.demo)
app.command("bench")(bench.bench)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sadmil {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what is done.")] = False,
) -> None:
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )


def main() -> None:
    """Runs the command line; the console script's entry point."""
    wait_passively()
    errors = Console(stderr=True, highlight=False)
    try:
        app()
    except SadmilError as error:
        errors.print(f"sadmil: {error}", style="red", markup=False, soft_wrap=True)
        if error.detail and logging.getLogger().isEnabledFor(logging.DEBUG):
            errors.print(error.detail, markup=False, soft_wrap=True)
        sys.exit(1)
    except Cancelled:
        sys.exit(INTERRUPTED)
    except OSError as error:
        # What no part of the program has foreseen: most often a folder one may not enter.
        where = f"{error.filename}: " if error.filename else ""
        errors.print(f"sadmil: {where}{error.strerror or error}.", style="red", soft_wrap=True)
        sys.exit(1)
