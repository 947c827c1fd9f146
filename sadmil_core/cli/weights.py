"""``sadmil weights``: import, fetch and list models."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from sadmil_core.modelstore import InstalledModel

weights_app = typer.Typer(
    help="The models there are, and how to get more.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a model of that name.")]


class Source(StrEnum):
    """What can be fetched."""

    PUBLISHED = "published"


@weights_app.command("import")
def import_weights(
    prefix: Annotated[
        Path,
        typer.Argument(
            metavar="PREFIX",
            help="A TensorFlow checkpoint of the published network: what its files' names "
            "begin with, or its .index file.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str, typer.Option("--name", help="What to call the model.", show_default=False)
    ],
    overwrite: Overwrite = False,
) -> None:
    """Convert a TensorFlow checkpoint of the published network, without TensorFlow."""
    from sadmil_core.published.mapping import import_bundle

    _say(f"Installed {name}: {import_bundle(prefix, name, overwrite=overwrite)}")


@weights_app.command("fetch")
def fetch(
    source: Annotated[
        Source,
        typer.Argument(
            help="`published`: the three checkpoints of the paper's authors (12 MB, MIT licence).",
            show_default=False,
        ),
    ],
    base_url: Annotated[
        str | None,
        typer.Option(
            "--base-url",
            metavar="URL",
            envvar="SADMIL_PUBLISHED_URL",
            help="A folder that holds the authors' files, in place of their repository.",
            show_default=False,
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Download, check and convert models; either all of them are installed or none."""
    from sadmil_core.cli.progress_bar import progress_bar
    from sadmil_core.published.fetch import fetch_published

    with progress_bar(source.value) as progress:
        paths = fetch_published(base_url=base_url, overwrite=overwrite, progress=progress)
    for path in paths:
        _say(f"Installed {path.stem}: {path}")


@weights_app.command("list")
def list_weights(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models that can be chosen by name, unusable ones with what is wrong."""
    from rich.console import Console

    from sadmil_core.modelstore import installed_models

    models = installed_models()
    if as_json:
        # Not through rich's JSON printer: a reader must get every character as it is.
        typer.echo(json.dumps([_as_mapping(model) for model in models], indent=2))
    elif models:
        Console().print(_table(models))
    else:
        _say("No models. `sadmil weights fetch published` downloads the authors' three.")


def _say(text: str) -> None:
    from rich.console import Console

    # Paths are neither wrapped nor read as markup, so that they can be copied.
    Console(highlight=False).print(text, markup=False, soft_wrap=True)


def _as_mapping(model: InstalledModel) -> dict[str, Any]:
    header = model.header
    return {
        "name": model.name,
        "path": str(model.path),
        "where": _where(model),
        "supervision": header.supervision if header else None,
        "sha256": header.model_sha256 if header else None,
        "license": header.provenance.license if header else None,
        "note": _note(model),
        "usable": header is not None,
    }


def _table(models: tuple[InstalledModel, ...]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_edge=False, pad_edge=False)
    for title in ("name", "where", "supervision", "sha256", "licence"):
        table.add_column(title, overflow="fold", no_wrap=title in ("where", "sha256"))
    table.add_column("note", overflow="fold", ratio=1)
    for model in models:
        header = model.header
        cells = (
            model.name,
            _where(model),
            header.supervision if header else "-",
            header.model_sha256[:12] if header else "-",
            (header.provenance.license if header else "") or "-",
            _note(model),
        )
        table.add_row(*map(Text, cells), style=None if header else "red")
    return table


def _where(model: InstalledModel) -> str:
    return "shipped" if model.shipped else "user"


def _note(model: InstalledModel) -> str:
    if model.header is None:
        return f"unusable: {model.problem}"
    provenance = model.header.provenance
    warning = "Synthetic heads only. " if provenance.phantoms_only else ""
    return warning + provenance.description
