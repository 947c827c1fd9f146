"""Tables of text cells: CSV in UTF-8, or Parquet; rows know where they stand."""

from __future__ import annotations

import csv
import io
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sadmil_core.atomic import replacing
from sadmil_core.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

PARQUET_SUFFIXES = frozenset({".parquet", ".pq"})
_BATCH = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """An open table.

    Attributes:
        path: The file.
        columns: Their names.
        unit: What rows are counted in, for messages: line or row.
        rows: Number, counted from 1, and stripped cells of each row that is not empty. A row of
            a CSV file may have too few or too many cells.
    """

    path: Path
    columns: tuple[str, ...]
    unit: str
    rows: Iterator[tuple[int, list[str]]]

    def require(self, names: Iterable[str]) -> None:
        """Refuses a table without these columns.

        Raises:
            ManifestError: One of them is not there.
        """
        missing = [name for name in names if name not in self.columns]
        if missing:
            raise ManifestError(
                f"{self.path} has no column {' and no column '.join(missing)}: its columns are "
                f"{','.join(self.columns)[:200]!r}.",
                remedy="The first line must name the columns, separated by commas.",
            )

    def dicts(self) -> Iterator[tuple[int, dict[str, str]]]:
        """The rows by name of column; missing cells are empty.

        Raises:
            ManifestError: A row has more cells than there are columns.
        """
        width = len(self.columns)
        for line, cells in self.rows:
            if len(cells) > width:
                raise ManifestError(
                    f"{self.path}, {self.unit} {line}: {len(cells)} cells for {width} columns.",
                    remedy="Put cells that hold commas into quotes.",
                )
            yield line, dict(zip(self.columns, cells + [""] * (width - len(cells)), strict=True))


@contextmanager
def open_table(path: Path) -> Iterator[Table]:
    """Opens a table for reading.

    Args:
        path: A Parquet file by its suffix (.parquet, .pq), else CSV in UTF-8.

    Raises:
        ManifestError: It cannot be read, or is no such file; also while rows are drawn.
    """
    try:
        if path.suffix.lower() in PARQUET_SUFFIXES:
            yield _parquet(path)
        else:
            with path.open(encoding="utf-8-sig", newline="") as stream:
                yield _csv(path, stream)
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(
            f"{path} is not a CSV file in UTF-8: {error}.",
            remedy="Save it as CSV, separated by commas.",
        ) from error


def _csv(path: Path, stream: io.TextIOBase) -> Table:
    reader = csv.reader(stream, strict=True)
    columns = [name.strip() for name in next(reader, [])]
    _require_distinct(path, columns)

    def rows() -> Iterator[tuple[int, list[str]]]:
        for cells in reader:
            if cells:
                yield reader.line_num, [cell.strip() for cell in cells]

    return Table(path=path, columns=tuple(columns), unit="line", rows=rows())


def _require_distinct(path: Path, columns: Sequence[str]) -> None:
    repeated = sorted({name for name in columns if name and columns.count(name) > 1})
    if repeated:
        raise ManifestError(f"{path} has the column {repeated[0]} more than once.")


def _parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except pa.ArrowException as error:
        raise ManifestError(f"{path} is not a Parquet file: {error}.") from error
    columns = tuple(file.schema_arrow.names)
    _require_distinct(path, columns)

    def rows() -> Iterator[tuple[int, list[str]]]:
        number = 0
        try:
            for batch in file.iter_batches(batch_size=_BATCH):
                texts = [_texts(column) for column in batch.columns]
                for cells in zip(*texts, strict=True):
                    number += 1
                    yield number, list(cells)
        except pa.ArrowException as error:
            raise ManifestError(f"{path} is damaged: {error}.") from error

    return Table(path=path, columns=columns, unit="row", rows=rows())


def _texts(column: Any) -> list[str]:
    """Cells as a CSV file would have them; what is missing, or no number, is blank."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    if pa.types.is_floating(column.type):  # what pandas makes of whole numbers with blanks
        column = pc.if_else(pc.is_nan(column), None, column)
    texts: list[str] = column.cast(pa.string()).fill_null("").to_pylist()
    return [text.strip() for text in texts]


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Writes a table whole or not at all.

    Args:
        path: Parquet by its suffix, all columns strings, blank as null; else CSV.
        columns: Their names.
        rows: Their cells.

    Raises:
        WriteError: The system refused.
        ManifestError: A cell holds what is no text, as file names of an unknown encoding do.
    """
    try:
        with replacing(path) as stream:
            if path.suffix.lower() in PARQUET_SUFFIXES:
                _write_parquet(stream, columns, rows)
            else:
                text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
                writer = csv.writer(text, lineterminator="\n")
                writer.writerow(columns)
                writer.writerows(rows)
                text.flush()
                text.detach()
    except UnicodeEncodeError as error:
        raise ManifestError(
            f"{path} cannot be written: {error.object[:80]!a} is no text in Unicode.",
            remedy="Rename the file or folder of that name.",
        ) from error


def _write_parquet(stream: Any, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    import itertools

    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.string()) for name in columns])
    rows = iter(rows)
    with pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        while batch := list(itertools.islice(rows, _BATCH)):
            cells = [[text or None for text in column] for column in zip(*batch, strict=True)]
            writer.write_batch(pa.record_batch(cells, schema=schema))
