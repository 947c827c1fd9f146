"""``sadmil predict``: read every CT series below the given paths."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from sadmil_core.cli import predict_options as options
from sadmil_core.cli.batch import FolderReading, read_into_folder
from sadmil_core.cli.paths import index_paths, require_reachable
from sadmil_core.cli.predict_reports import Reports
from sadmil_core.cli.predict_table import complain_of_readouts, print_records
from sadmil_core.cli.progress_bar import progress_bar
from sadmil_core.modelstore import DEFAULT_MODEL, resolve_model

if TYPE_CHECKING:
    from pathlib import Path

    from sadmil_core.dicom import CTVolume, SeriesIndex
    from sadmil_core.named_series import NamedSeries
    from sadmil_core.report import ScanRecord


def predict(
    paths: options.Paths,
    model: options.ModelName = DEFAULT_MODEL,
    device: options.DeviceOption = options.Device.AUTO,
    precision: options.PrecisionOption = options.Precision.FP32,
    csv: options.CsvOut = None,
    json: options.JsonOut = None,
    pdf: options.PdfOut = None,
    identifiers: options.Identifiers = None,
    mend_quirk: options.MendQuirk = True,
    score_unfit: options.ScoreUnfit = False,
    manifest: options.ManifestPath = None,
    out: options.OutFolder = None,
    shard: options.ShardOption = None,
    table_format: options.FormatOption = options.TableFormat.PARQUET,
    retry_failed: options.RetryFailed = False,
    threads: options.Threads = None,
) -> None:
    """Read every CT series with SA-DMIL. Research use only, not for diagnosis.

    Exit status: 0 every study has an answer, 1 some have none or files were lost, 2 wrong usage.
    """
    reports = Reports(csv=csv, json=json, pdf=pdf, identifiers=identifiers)
    reports.require_writable()
    if out is None and (shard or retry_failed or threads):
        said = "is needed for --shard, --retry-failed and --threads"
        raise typer.BadParameter(said, param_hint="--out")
    if out is not None and (reports.paths or identifiers is not None):
        said = "writes reports of its own: leave out --csv, --json, --pdf and --identifiers"
        raise typer.BadParameter(said, param_hint="--out")
    require_reachable(paths)
    scoring = options.Scoring(
        named=_read_manifest(manifest),
        checkpoint=resolve_model(model),
        device=device,
        precision=precision,
        mend_quirk=mend_quirk,
        score_unfit=score_unfit,
        manifest=manifest,
    )
    if out is None:
        failures = _read_at_once(paths, scoring, reports)
    else:
        reading = FolderReading(
            out=out,
            shard=shard,
            table_format=table_format,
            retry_failed=retry_failed,
            threads=threads,
        )
        failures = read_into_folder(paths, scoring, reading)
    if failures:
        raise typer.Exit(1)


def _read_at_once(paths: list[Path], scoring: options.Scoring, reports: Reports) -> int:
    """Reads everything, then reports; returns how much failed."""
    index, failures = index_paths(paths)
    if index is None:
        return failures
    inputs = {scoring.checkpoint, *(h.path for h in index.headers)}
    inputs |= {archive.source for archive in index.archives}
    reports.require_no_input(inputs | ({scoring.manifest} if scoring.manifest else set()))
    records = _read_all(index, scoring, reports)
    from sadmil_core.readout import choose_readouts
    from sadmil_core.report.record import all_skipped

    readouts = choose_readouts((record.candidate for record in records), scoring.named)
    # Printed first: a full disk must not cost what was computed.
    skipped = all_skipped(index.skipped, records)
    lost = [file for file in skipped if file.reason.is_failure]
    print_records(records, readouts, lost)
    complain_of_readouts(readouts, scoring.named)
    reports.write(records, readouts, skipped)
    failures += len(lost) + sum(not readout.has_answer for readout in readouts)
    return failures + sum(record.result is None and not record.passed_over for record in records)


def _read_all(index: SeriesIndex, scoring: options.Scoring, reports: Reports) -> list[ScanRecord]:
    predictor = scoring.predictor()
    records: list[ScanRecord] = []
    for number, entry in enumerate(index.entries, start=1):
        volumes: list[CTVolume] = []
        with progress_bar(f"series {number}/{len(index.entries)}:") as progress:
            record = scoring.read(entry, predictor, progress, volumes.append)
        records.append(record)
        reports.keep(record, volumes[0] if volumes else None, predictor.model.header)
    return records


def _read_manifest(path: Path | None) -> dict[str, NamedSeries]:
    from sadmil_core.named_series import read_manifest

    return {} if path is None else read_manifest(path)
