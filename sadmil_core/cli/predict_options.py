"""The options of ``sadmil predict``, and what they come to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sadmil_core.dicom import CTVolume, StackEntry
    from sadmil_core.named_series import NamedSeries
    from sadmil_core.predict import Predictor
    from sadmil_core.progress import Progress
    from sadmil_core.report import ScanRecord

_FOLDER = "Reading into a folder"


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


class TableFormat(StrEnum):
    """Choices of ``--format``."""

    PARQUET = "parquet"
    CSV = "csv"


Paths = Annotated[
    list[Path],
    typer.Argument(
        metavar="PATH...", help="Files, folders or zip archives; each may hold many studies."
    ),
]
ModelName = Annotated[
    str, typer.Option(metavar="NAME|FILE", help="An installed model, or a checkpoint file.")
]
DeviceOption = Annotated[
    Device, typer.Option(help="Where to run; auto takes CUDA, then MPS, then the CPU.")
]
PrecisionOption = Annotated[
    Precision, typer.Option(help="bf16 is faster where the hardware has it.")
]
CsvOut = Annotated[Path | None, typer.Option(metavar="OUT", help="Write the slice report as CSV.")]
JsonOut = Annotated[Path | None, typer.Option(metavar="OUT", help="Write the report as JSON.")]
PdfOut = Annotated[
    Path | None, typer.Option(metavar="OUT", help="Write a page for each series as PDF.")
]
Identifiers = Annotated[
    bool | None,
    typer.Option(
        "--identifiers/--no-identifiers",
        help="Whether reports have UIDs and file names, and the PDF the patient, or hashes. "
        "Else CSV and JSON have them and the PDF does not.",
    ),
]
MendQuirk = Annotated[
    bool,
    typer.Option(
        "--mend-quirk/--no-mend-quirk", help="Undo the RSNA 12-bit defect where it shows."
    ),
]
ScoreUnfit = Annotated[
    bool, typer.Option("--score-unfit", help="Score what is unfit too; the report says so.")
]
ManifestPath = Annotated[
    Path | None,
    typer.Option(
        metavar="CSV",
        help="Table of scan_id, series_instance_uid[, stack_index]: the series that speaks "
        "for each study. Else the fittest does.",
    ),
]
OutFolder = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Read a whole archive into a folder of results, by one process or many; run it "
        "again to go on where it was stopped.",
        rich_help_panel=_FOLDER,
    ),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Read part I, from 0, of N. Else torchrun's RANK and WORLD_SIZE say it.",
        rich_help_panel=_FOLDER,
    ),
]
FormatOption = Annotated[
    TableFormat, typer.Option("--format", help="Of the shards' tables.", rich_help_panel=_FOLDER)
]
RetryFailed = Annotated[
    bool,
    typer.Option(
        "--retry-failed",
        help="Read again what could not be read or scored.",
        rich_help_panel=_FOLDER,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="CPU threads of each process. Else the cores are shared out among torchrun's.",
        rich_help_panel=_FOLDER,
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """How stacks are read.

    Attributes:
        checkpoint: The model's file.
        device: Where it runs.
        precision: ``fp32`` or ``bf16``.
        mend_quirk: Undo the RSNA 12-bit defect.
        score_unfit: Score what is unfit, too.
        manifest: The file that names series, or None.
        named: What it names, by StudyInstanceUID.
    """

    checkpoint: Path
    device: Device
    precision: Precision
    mend_quirk: bool
    score_unfit: bool
    manifest: Path | None
    named: Mapping[str, NamedSeries]

    def predictor(self, device: str | None = None) -> Predictor:
        """Loads the model.

        Args:
            device: In place of the chosen one: one of several cards.
        """
        from sadmil_core.model.trained import load_checkpoint
        from sadmil_core.predict import Predictor as TorchPredictor

        return TorchPredictor(
            load_checkpoint(self.checkpoint),
            device=device or self.device.value,
            precision=self.precision.value,
        )

    def read(
        self,
        entry: StackEntry,
        predictor: Predictor,
        progress: Progress,
        on_volume: Callable[[CTVolume], None] | None = None,
    ) -> ScanRecord:
        """Reads one stack; its pixels are shown to ``on_volume`` before they are let go."""
        from sadmil_core.reading import read_stack

        return read_stack(
            entry,
            predictor,
            progress,
            mend_quirk=self.mend_quirk,
            score_unfit=self.score_unfit,
            on_volume=on_volume,
        )
