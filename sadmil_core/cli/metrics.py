"""``sadmil metrics``: predictions judged against labels, with baselines and intervals."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from sadmil_core.cli.assessed import print_assessment, require_resamples, write_reports
from sadmil_core.cli.outputs import require_no_input, require_writable

if TYPE_CHECKING:
    from sadmil_core.evaluation.labels import LabelledScan
    from sadmil_core.evaluation.predictions import PredictionTable
    from sadmil_core.evaluation.values import EvaluationSet


def metrics(
    tables: Annotated[
        list[Path],
        typer.Argument(
            metavar="PREDICTIONS... LABELS",
            help="Slice reports of `sadmil predict` (CSV or Parquet) or the authors' tables, one a "
            "model; last the labels: a manifest, or the authors' table.",
        ),
    ],
    name: Annotated[
        list[str] | None,
        typer.Option(help="What to call a model; once for each table, in their order."),
    ] = None,
    validation: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PREDICTIONS",
            help="Predictions of validation scans, on which thresholds are frozen; once for each "
            "model, in their order.",
        ),
    ] = None,
    validation_labels: Annotated[
        Path | None,
        typer.Option(metavar="LABELS", help="Labels of those; else the same table of labels."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Judge the scans of this split only, where the labels name splits."),
    ] = None,
    seeds: Annotated[
        bool,
        typer.Option(
            "--seeds",
            help="Names that differ in a number at their end only are seeds of one model.",
        ),
    ] = False,
    json: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write all numbers as JSON.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write a report with figures.")
    ] = None,
    bootstrap: Annotated[int, typer.Option(help="Resamples of the patients.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Of the resamples.")] = 0,
) -> None:
    """Judge predictions against labels: metrics, four baselines, intervals, signatures.

    Exit status: 0 done, 1 a table cannot be used, 2 wrong usage.
    """
    require_resamples(bootstrap)
    if len(tables) < 2:
        raise typer.BadParameter(
            "give predictions, then labels", param_hint="PREDICTIONS... LABELS"
        )
    *predicted, labelled = tables
    inputs = [*tables, *(validation or ()), *([validation_labels] if validation_labels else ())]
    for path, option in ((json, "--json"), (html, "--html")):
        require_writable(path, option)
        require_no_input(inputs, path, option)
    if json is not None and html is not None and json.resolve() == html.resolve():
        raise typer.BadParameter("is the same file as --json", param_hint="--html")
    _require_each(len(predicted), name, "--name")
    _require_each(len(predicted), validation, "--validation")

    from sadmil_core.evaluation.assessment import assess
    from sadmil_core.evaluation.labels import read_labels
    from sadmil_core.evaluation.predictions import read_predictions

    found = [read_predictions(path) for path in predicted]
    names = _names(found, name)
    sets = _join(found, read_labels(labelled, split=split), names)
    frozen = {}
    if validation:
        where = validation_labels or labelled
        known = read_labels(where, split=None if validation_labels else "val")
        frozen_sets = _join([read_predictions(path) for path in validation], known, names)
        frozen = {each.name: each for each in frozen_sets}
    assessment = assess(sets, validation=frozen, seeds=seeds, resamples=bootstrap, seed=seed)
    # Printed first: a full disk must not cost what was computed.
    print_assessment(assessment)
    write_reports(assessment, json=json, html=html, title="Evaluation")


def _join(
    tables: list[PredictionTable], labels: tuple[LabelledScan, ...], names: list[str]
) -> list[EvaluationSet]:
    from sadmil_core.evaluation.labels import join

    return [join(table, labels, name=each) for table, each in zip(tables, names, strict=True)]


def _require_each(models: int, given: list[str] | list[Path] | None, option: str) -> None:
    if given and len(given) != models:
        raise typer.BadParameter(
            f"given {len(given)} times for {models} tables of predictions", param_hint=option
        )


def _names(tables: list[PredictionTable], given: list[str] | None) -> list[str]:
    """The models' names: as given, else as the tables say, else the files'; all different.

    Raises:
        typer.BadParameter: Given names are the same, or those of baselines.
    """
    from sadmil_core.evaluation.scorers import BASELINES

    if given:
        if len(set(given)) < len(given) or set(given) & set(BASELINES):
            raise typer.BadParameter(
                "names must differ from each other and from the baselines'", param_hint="--name"
            )
        return given
    names = [table.model_id or table.path.stem for table in tables]
    if len(set(names)) < len(names):
        names = [table.path.stem for table in tables]
    if len(set(names)) < len(names):
        names = [f"{each} #{at}" for at, each in enumerate(names, start=1)]
    return [f"{each} (model)" if each in BASELINES else each for each in names]
