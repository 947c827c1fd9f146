"""Slice tables as files: CSV as the slice report is, and Parquet with the same columns."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from sadmil_core.atomic import replacing
from sadmil_core.report import COLUMNS
from sadmil_core.report.slices_csv import csv_line, row_line
from sadmil_core.report.slices_json import document_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

_INTEGERS = {"schema_version", "stack_index", "slice_index", "frame_number", "instance_number"}
_DOUBLES = {"z_mm", "position_mm", "scan_probability", "scan_threshold"}
_SINGLES = {
    "attention",
    "attention_logit",
    "attention_sd",
    "attention_threshold",
    "slice_score",
    "slice_probability",
    "evidence",
    "contribution",
}
_FLAGS = {"slice_positive", "scan_positive", "study_readout", "research_use_only"}
_TYPES = {
    **dict.fromkeys(_INTEGERS, pa.int64()),
    **dict.fromkeys(_DOUBLES, pa.float64()),
    **dict.fromkeys(_SINGLES, pa.float32()),
    **dict.fromkeys(_FLAGS, pa.bool_()),
}
SCHEMA = pa.schema([(column, _TYPES.get(column, pa.string())) for column in COLUMNS])
"""Of the Parquet tables. Cells that are blank in CSV are null."""
_GROUP_ROWS, _BATCH_ROWS = 1 << 15, 1 << 10


class SliceTable(Protocol):
    """A table that is being written."""

    def add(self, scan: Mapping[str, Any]) -> None:
        """Adds the rows of one stack, given as its document in the JSON report."""


@contextmanager
def csv_table(path: Path) -> Iterator[SliceTable]:
    """A CSV file that is there, whole, when the block ends well.

    Raises:
        WriteError: The system refused.
    """
    with replacing(path) as stream:
        stream.write(csv_line(COLUMNS).encode())
        yield _CsvTable(stream)


@contextmanager
def parquet_table(path: Path) -> Iterator[SliceTable]:
    """The same as Parquet, in groups of rows of a bounded size.

    Raises:
        WriteError: The system refused.
    """
    with replacing(path) as stream, pq.ParquetWriter(stream, SCHEMA) as writer:
        table = _ParquetTable(writer)
        yield table
        table.flush()


class _CsvTable:
    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def add(self, scan: Mapping[str, Any]) -> None:
        text = "".join(map(row_line, document_rows(scan)))
        self._stream.write(text.encode("utf-8", "backslashreplace"))


class _ParquetTable:
    """Keeps a group of rows in Arrow's form, which takes a fraction of Python's memory."""

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer
        self._rows: list[dict[str, Any]] = []
        self._batches: list[pa.RecordBatch] = []
        self._count = 0

    def add(self, scan: Mapping[str, Any]) -> None:
        self._rows += map(_storable, document_rows(scan))
        if len(self._rows) >= _BATCH_ROWS:
            self._pack()
        if self._count >= _GROUP_ROWS:
            self.flush()

    def flush(self) -> None:
        self._pack()
        if self._batches:
            self._writer.write_table(pa.Table.from_batches(self._batches))
        self._batches, self._count = [], 0

    def _pack(self) -> None:
        if self._rows:
            self._batches.append(pa.RecordBatch.from_pylist(self._rows, schema=SCHEMA))
            self._count += len(self._rows)
            self._rows = []


def _storable(row: Mapping[str, Any]) -> dict[str, Any]:
    return {column: _cell(value) for column, value in row.items()}


def _cell(value: Any) -> Any:
    """A value that Arrow takes: bytes of no encoding escaped, absurd integers left blank."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return None
    return value
