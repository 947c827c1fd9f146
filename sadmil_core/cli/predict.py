"""``sadmil predict``: read every CT series below the given paths."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from sadmil_core import RESEARCH_USE_NOTICE
from sadmil_core.cli.console import complain, wide_console
from sadmil_core.cli.paths import index_paths, require_reachable
from sadmil_core.cli.progress_bar import progress_bar
from sadmil_core.modelstore import DEFAULT_MODEL, resolve_model

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sadmil_core.dicom import SeriesIndex, SkippedFile
    from sadmil_core.named_series import NamedSeries
    from sadmil_core.predict import Predictor
    from sadmil_core.readout import StudyReadout
    from sadmil_core.report import ScanRecord


class Device(StrEnum):
    """Choices of ``--device``."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


class Precision(StrEnum):
    """Choices of ``--precision``."""

    FP32 = "fp32"
    BF16 = "bf16"


def predict(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...", help="Files, folders or zip archives; each may hold many studies."
        ),
    ],
    model: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="An installed model, or a checkpoint file.")
    ] = DEFAULT_MODEL,
    device: Annotated[
        Device, typer.Option(help="Where to run; auto takes CUDA, then MPS, then the CPU.")
    ] = Device.AUTO,
    precision: Annotated[
        Precision, typer.Option(help="bf16 is faster where the hardware has it.")
    ] = Precision.FP32,
    csv: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write the slice report as CSV.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write the report as JSON.")
    ] = None,
    mend_quirk: Annotated[
        bool,
        typer.Option(
            "--mend-quirk/--no-mend-quirk",
            help="Undo the RSNA 12-bit defect where it shows.",
        ),
    ] = True,
    score_unfit: Annotated[
        bool, typer.Option("--score-unfit", help="Score what is unfit too; the report says so.")
    ] = False,
    manifest: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Table of scan_id, series_instance_uid[, stack_index]: the series that speaks "
            "for each study. Else the fittest does.",
        ),
    ] = None,
) -> None:
    """Read every CT series with SA-DMIL. Research use only, not for diagnosis.

    Exit status: 0 every study has an answer, 1 some have none or files were lost, 2 wrong usage.
    """
    _require_folder(csv, "--csv")
    _require_folder(json, "--json")
    if csv is not None and json is not None and csv.resolve() == json.resolve():
        raise typer.BadParameter("is the same file as --csv", param_hint="--json")
    require_reachable(paths)
    named = _read_manifest(manifest)
    checkpoint = resolve_model(model)
    index, failures = index_paths(paths)
    records: list[ScanRecord] = []
    if index is not None:
        inputs = {checkpoint, *(h.path for h in index.headers), *([manifest] if manifest else [])}
        inputs |= {archive.source for archive in index.archives}
        _require_no_input(inputs, csv, json)
        entries = index.entries
        predictor = _predictor(checkpoint, device, precision)
        from sadmil_core.reading import read_stack
        from sadmil_core.readout import choose_readouts

        for number, entry in enumerate(entries, start=1):
            with progress_bar(f"series {number}/{len(entries)}:") as progress:
                record = read_stack(
                    entry, predictor, progress, mend_quirk=mend_quirk, score_unfit=score_unfit
                )
            records.append(record)
        readouts = choose_readouts((record.candidate for record in records), named)
        # Printed first: a full disk must not cost what was computed.
        skipped = _all_skipped(index, records)
        lost = [file for file in skipped if file.reason.is_failure]
        _print(records, readouts, lost)
        _complain_of_readouts(readouts, named)
        _write(records, readouts, skipped, csv, json)
        failures += len(lost) + sum(not readout.has_answer for readout in readouts)
        failures += sum(record.result is None and not record.passed_over for record in records)
    if failures:
        raise typer.Exit(1)


def _read_manifest(path: Path | None) -> dict[str, NamedSeries]:
    from sadmil_core.named_series import read_manifest

    return {} if path is None else read_manifest(path)


def _all_skipped(index: SeriesIndex, records: list[ScanRecord]) -> list[SkippedFile]:
    """The files passed over while indexing, and those whose pixels could not be decoded."""
    found = {file.path: file for file in index.skipped}
    for record in records:
        found.update({file.path: file for file in record.entry.skipped})
    return [found[path] for path in sorted(found)]


def _require_folder(path: Path | None, option: str) -> None:
    """Refuses an output that cannot be written before hours of work, not after."""
    if path is not None and (os.path.isdir(path) or not os.path.isdir(path.resolve().parent)):
        folder = os.path.isdir(path)
        problem = (
            "is a folder"
            if folder
            else "lies in a folder that does not exist or may not be entered"
        )
        raise typer.BadParameter(f"{path} {problem}", param_hint=option)


def _require_no_input(inputs: set[Path], *outputs: Path | None) -> None:
    """Refuses a report that would replace a scan or the model."""
    resolved = {path.resolve() for path in inputs}
    for path in outputs:
        if path is not None and path.resolve() in resolved:
            raise typer.BadParameter(f"{path} is one of the input files", param_hint="OUT")


def _predictor(checkpoint: Path, device: Device, precision: Precision) -> Predictor:
    from sadmil_core.model.trained import load_checkpoint
    from sadmil_core.predict import Predictor as TorchPredictor

    return TorchPredictor(
        load_checkpoint(checkpoint), device=device.value, precision=precision.value
    )


def _write(
    records: list[ScanRecord],
    readouts: tuple[StudyReadout, ...],
    skipped: Iterable[SkippedFile],
    csv: Path | None,
    json: Path | None,
) -> None:
    from sadmil_core.report import write_csv, write_json

    if csv is not None:
        write_csv(records, csv, readouts=readouts)
    if json is not None:
        write_json(records, json, skipped=skipped, readouts=readouts)


def _print(
    records: list[ScanRecord],
    readouts: tuple[StudyReadout, ...],
    failures: Iterable[SkippedFile],
) -> None:
    from sadmil_core.dicom import WarningCode

    table = Table(box=SIMPLE_HEAD, caption=RESEARCH_USE_NOTICE, caption_justify="left")
    for name in (
        "series (study)",
        "slices",
        "fit",
        "p",
        "scan",
        "marked slices",
        "peak",
        "read-out",
    ):
        table.add_column(name, overflow="fold")
    for record in records:
        reasons = (each.reason for each in readouts if each.is_of(record.entry))
        table.add_row(*map(Text, (*_summary(record), next(reasons, "-"))))
    if records:
        wide_console().print(table)
    for record in records:
        _complain_of_series(record)
    if any(WarningCode.UNFIT in record.warning_codes for record in records):
        complain("Use --score-unfit to score what is unfit all the same.")
    for file in failures:
        complain(f"{file.path}: {file.reason}: {file.message}")


def _complain_of_series(record: ScanRecord) -> None:
    """Says the warnings of a series and, where it was scored, why to doubt its numbers."""
    from sadmil_core.fitness import FitnessLevel

    said = [(str(warning.code), warning.message) for warning in record.warnings]
    if record.result is not None:
        said += [
            (str(reason.code), reason.message)
            for reason in record.fitness.reasons
            # The warnings name what makes it unfit, and some of the doubts.
            if reason.level is FitnessLevel.CAUTION and reason.code not in record.warning_codes
        ]
    for code, message in said:
        complain(f"{record.entry.series_instance_uid}: {code}: {message}")


def _complain_of_readouts(
    readouts: tuple[StudyReadout, ...], named: dict[str, NamedSeries]
) -> None:
    """Says which studies have no answer, and which the manifest names in vain."""
    for readout in readouts:
        if not readout.has_answer:
            complain(f"study {readout.scan_id}: {readout.reason}: {readout.message}")
    for scan_id in sorted(named.keys() - {readout.scan_id for readout in readouts}):
        complain(f"study {scan_id}: the manifest names {named[scan_id]}; the study is not here")


def _summary(record: ScanRecord) -> tuple[str, ...]:
    from sadmil_core.result import describe_runs, slice_number

    entry, result = record.entry, record.result
    stack = f" #{entry.stack_index}" if entry.stack_index else ""
    name = f"{entry.series_instance_uid}{stack} ({entry.study_instance_uid})"
    count, fit = str(len(entry.slices)), str(record.fitness.level)
    if result is None:
        return name, count, fit, "-", "not scored", "-", "-"
    sign = ">" if result.scan_positive else "<="
    return (
        name,
        count,
        fit,
        f"{result.scan_probability:.5f} {sign} {result.rule.scan_threshold:g}",
        "POSITIVE" if result.scan_positive else "negative",
        describe_runs(result.slice_positive) or "none",
        str(slice_number(result.peak)),
    )
