"""``sadmil evaluate``: the scans of a manifest read by models, and the answers judged."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from sadmil_core.cli.assessed import print_assessment, require_resamples, write_reports
from sadmil_core.cli.console import complain
from sadmil_core.cli.predict_options import Device, Precision
from sadmil_core.cli.progress_bar import progress_bar

if TYPE_CHECKING:
    from sadmil_core.cli.evaluated import Answer, Reading, ScanReader
    from sadmil_core.data.manifest import ManifestScan
    from sadmil_core.evaluation.noise import NoiseFlips
    from sadmil_core.evaluation.values import EvaluationSet
    from sadmil_core.predict import Predictor


def evaluate(
    manifest: Annotated[
        Path, typer.Option(metavar="TABLE", help="The scans, their paths and their labels.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="Answers by scan, so that a run can go on; predictions, numbers, report.",
        ),
    ],
    model: Annotated[
        list[str],
        typer.Option(metavar="NAME|FILE", help="A model or checkpoint; may be given repeatedly."),
    ],
    split: Annotated[
        str, typer.Option(help="Which scans to judge, where the manifest has splits.")
    ] = "test",
    validation_split: Annotated[
        str | None,
        typer.Option(metavar="SPLIT", help="Read these scans too, and freeze thresholds on them."),
    ] = None,
    device: Annotated[Device, typer.Option(help="Where to run.")] = Device.AUTO,
    precision: Annotated[Precision, typer.Option(help="Of the encoder.")] = Precision.FP32,
    score_unfit: Annotated[
        bool, typer.Option("--score-unfit", help="Score what is unfit too.")
    ] = False,
    noise_hu: Annotated[
        float,
        typer.Option(
            min=0.0, metavar="SD", help="Read each scan with noise added too, and count flips."
        ),
    ] = 0.0,
    noise_repeats: Annotated[int, typer.Option(min=1, help="How often, with other noise.")] = 1,
    seeds: Annotated[
        bool,
        typer.Option(
            "--seeds", help="Models whose names differ in a number at their end are seeds of one."
        ),
    ] = False,
    bootstrap: Annotated[int, typer.Option(help="Resamples of the patients.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Of the resamples and of the noise.")] = 0,
) -> None:
    """Read the scans of a manifest with models, and judge them. Can be killed and run again.

    Exit status: 0 all scans were read, 1 some were not or something failed, 2 wrong usage.
    """
    require_resamples(bootstrap)
    from sadmil_core.atomic import make_folder
    from sadmil_core.cli.evaluated import Reading, ScanReader
    from sadmil_core.data.manifest import read_manifest
    from sadmil_core.errors import ManifestError
    from sadmil_core.evaluation.assessment import assess

    table = read_manifest(manifest)
    for warning in table.warnings:
        complain(warning)
    wanted = _of_split(table.scans, split)
    frozen_on = _of_split(table.scans, validation_split) if validation_split else []
    if not wanted or (validation_split and not frozen_on):
        lacking = validation_split if wanted else split
        raise ManifestError(f"{manifest} has no scan of the split {lacking!r}.")
    predictors = _predictors(model, device, precision)
    names = _names(predictors)
    make_folder(out)
    how = Reading(
        noise_hu=noise_hu,
        repeats=noise_repeats,
        seed=seed,
        score_unfit=score_unfit,
        precision=precision.value,
    )
    reader = ScanReader(predictors, out / "scans", how)
    answers = _read_all(reader, wanted, "scan")
    sets = [_set(name, reader, wanted, answers, predictors, at) for at, name in enumerate(names)]
    frozen = {}
    if frozen_on:
        # Noise is a question about the scans that are judged.
        quiet = ScanReader(predictors, out / "scans", replace(how, noise_hu=0.0))
        known = _read_all(quiet, frozen_on, "validation scan")
        frozen = {
            name: _set(name, quiet, frozen_on, known, predictors, at)
            for at, name in enumerate(names)
        }
    assessment = assess(sets, validation=frozen, seeds=seeds, resamples=bootstrap, seed=seed)
    noise = _noise(names, answers, how)
    print_assessment(assessment, noise)
    write_reports(
        assessment,
        json=out / "metrics.json",
        html=out / "report.html",
        title=f"Evaluation: {manifest.name}, {split}",
        noise=noise,
    )
    for at, name in enumerate(names):
        _write_predictions(out / f"predictions-{_file_name(name)}.csv", answers, at)
    if any(answer.problem for each in answers for answer in each):
        raise typer.Exit(1)


def _of_split(scans: tuple[ManifestScan, ...], split: str) -> list[ManifestScan]:
    """The scans of a split; all of them where no scan has one. By path, so as to index once."""
    chosen = [scan for scan in scans if scan.split == split]
    if not any(scan.split for scan in scans):
        chosen = list(scans)
    return sorted(chosen, key=lambda scan: (str(scan.path), scan.scan_id))


def _predictors(models: list[str], device: Device, precision: Precision) -> list[Predictor]:
    from sadmil_core.model.trained import load_checkpoint
    from sadmil_core.modelstore import resolve_model
    from sadmil_core.predict import Predictor as TorchPredictor

    paths = [resolve_model(each) for each in models]
    return [
        TorchPredictor(load_checkpoint(path), device=device.value, precision=precision.value)
        for path in paths
    ]


def _names(predictors: list[Predictor]) -> list[str]:
    """The models' names, told apart by their hash where they are the same.

    Raises:
        typer.BadParameter: The same weights are given twice.
    """
    headers = [predictor.model.header for predictor in predictors]
    if len({header.model_sha256 for header in headers}) < len(headers):
        raise typer.BadParameter("the same weights are given twice", param_hint="--model")
    names = [header.name for header in headers]
    return [
        f"{header.name} ({header.model_sha256[:8]})"
        if names.count(header.name) > 1
        else header.name
        for header in headers
    ]


def _read_all(reader: ScanReader, scans: list[ManifestScan], what: str) -> list[tuple[Answer, ...]]:
    answers = []
    for number, scan in enumerate(scans, start=1):
        with progress_bar(f"{what} {number}/{len(scans)}:") as progress:
            answers.append(reader.read(scan, progress))
        for problem in dict.fromkeys(answer.problem for answer in answers[-1] if answer.problem):
            complain(f"{scan.scan_id}: not scored: {problem}")
    return answers


def _set(
    name: str,
    reader: ScanReader,
    scans: list[ManifestScan],
    answers: list[tuple[Answer, ...]],
    predictors: list[Predictor],
    at: int,
) -> EvaluationSet:
    """The answers of one model beside the labels of the manifest."""
    from sadmil_core.errors import EvaluationError
    from sadmil_core.evaluation.labels import labelled_scan, lay
    from sadmil_core.evaluation.values import EvaluationSet as Values

    pairs = []
    for scan, each in zip(scans, answers, strict=True):
        prediction = each[at].prediction(reader.place(scan, predictors[at]))
        if prediction is not None:
            pairs.append(lay(prediction, labelled_scan(scan)))
    if not pairs:
        raise EvaluationError(f"No scan could be scored with {name}: there is nothing to judge.")
    missing = len(scans) - len(pairs)
    return Values(
        name=name,
        predictions=tuple(prediction for prediction, _ in pairs),
        truths=tuple(truth for _, truth in pairs),
        notes=(f"{missing} of {len(scans)} scans were not scored and are left out",)
        if missing
        else (),
    )


def _noise(
    names: list[str], answers: list[tuple[Answer, ...]], how: Reading
) -> dict[str, NoiseFlips]:
    from sadmil_core.evaluation.noise import NoiseFlips as Flips

    if not how.noise_hu:
        return {}
    found = {}
    for at, name in enumerate(names):
        scans = [flips for each in answers if (flips := each[at].noise) is not None]
        found[name] = Flips.of(how.noise_hu, scans)
    return found


def _write_predictions(path: Path, answers: list[tuple[Answer, ...]], at: int) -> None:
    """The slice reports of all scans in one table."""
    from sadmil_core.atomic import replacing

    tables = [each[at].csv.partition("\n") for each in answers if each[at].csv]
    with replacing(path) as stream:
        for number, (header, _, rows) in enumerate(tables):
            text = rows if number else f"{header}\n{rows}"
            stream.write(text.encode("utf-8", "backslashreplace"))


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-")
