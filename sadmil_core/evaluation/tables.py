"""Tables from disk as columns of text, and a ledger of what is wrong with them."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sadmil_core.errors import EvaluationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table as text.

    Attributes:
        path: Its file.
        columns: The cells by column name, all of one length.
        lines: Where each row stands in the file, counted from 1.
    """

    path: Path
    columns: dict[str, list[str]]
    lines: list[int]

    def __len__(self) -> int:
        return len(self.lines)

    def has(self, *names: str) -> bool:
        """Whether all these columns are there."""
        return all(name in self.columns for name in names)

    def column(self, name: str) -> list[str]:
        """A column; blank cells where it is not there."""
        return self.columns.get(name) or [""] * len(self)


@dataclass(slots=True)
class Ledger:
    """What is wrong with a table, gathered so that a user hears it all at once."""

    table: Table
    problems: list[tuple[int, str]] = field(default_factory=list)

    def add(self, row: int, problem: str) -> None:
        """Notes what is wrong with a row, 0-based."""
        self.problems.append((self.table.lines[row], problem))

    def raise_if_any(self) -> None:
        """Raises what was gathered.

        Raises:
            EvaluationError: Something was.
        """
        if not self.problems:
            return
        shown = [f"line {line}: {text}" for line, text in sorted(self.problems)[:_SHOWN]]
        more = len(self.problems) - len(shown)
        if more:
            shown.append(f"and {more} more")
        count = len(self.problems)
        raise EvaluationError(
            f"{self.table.path} has {count} bad row{'s' * (count > 1)}:\n  " + "\n  ".join(shown)
        )

    def number(
        self, row: int, name: str, *, low: float = -math.inf, high: float = math.inf
    ) -> float:
        """A cell as a number in [low, high]; NaN for blank, and for bad ones, which are noted."""
        text = self.table.column(name)[row].strip()
        if not text:
            return math.nan
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and low <= value <= high):
            limits = "" if math.isinf(low) else f" from {low:g}"
            limits += "" if math.isinf(high) else f" to {high:g}"
            self.add(row, f"{name} is {text[:30]!r}, not a number{limits}")
            return math.nan
        return value

    def flag(self, row: int, name: str) -> bool | None:
        """A cell as true or false; None for blank, and for bad ones, which are noted."""
        text = self.table.column(name)[row].strip().lower()
        if text in ("true", "1", "1.0"):
            return True
        if text in ("false", "0", "0.0"):
            return False
        if text:
            self.add(row, f"{name} is {text[:30]!r}, neither 0 nor 1")
        return None


def read_table(path: Path) -> Table:
    """Reads a CSV or Parquet file, by its suffix.

    Raises:
        EvaluationError: It cannot be read, or is no table.
    """
    try:
        table = _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    except OSError as error:
        raise EvaluationError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not len(table):
        raise EvaluationError(f"{path} holds no rows.")
    return table


def _read_csv(path: Path) -> Table:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return parse_csv(stream, path)


def parse_csv(stream: Iterable[str], path: Path) -> Table:
    """The lines of a CSV file as a table.

    Args:
        stream: Its lines, their ends untouched.
        path: What to call it.

    Raises:
        EvaluationError: It is no CSV, or rows are longer or shorter than the first.
    """
    try:
        rows = csv.reader(stream, strict=True)
        header = [name.strip() for name in next(rows, [])]
        cells, lines = [], []
        for row in rows:
            if row:
                cells.append(row)
                lines.append(rows.line_num)
    except (UnicodeDecodeError, csv.Error) as error:
        raise EvaluationError(
            f"{path} is not a CSV file in UTF-8: {error}.",
            remedy="Save it as CSV, separated by commas.",
        ) from error
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise EvaluationError(f"{path} has the column {', '.join(twice)} more than once.")
    ragged = Ledger(Table(path=path, columns={}, lines=lines))
    for row_index, row in enumerate(cells):
        if len(row) != len(header):
            ragged.add(row_index, f"{len(row)} cells under {len(header)} columns")
    ragged.raise_if_any()
    columns: Sequence[Sequence[str]] = list(zip(*cells, strict=True)) or [()] * len(header)
    return Table(
        path=path,
        columns={name: list(column) for name, column in zip(header, columns, strict=True)},
        lines=lines,
    )


def _read_parquet(path: Path) -> Table:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except pyarrow.ArrowInvalid as error:
        raise EvaluationError(f"{path} is not a Parquet file: {error}.") from error
    columns = {
        name: [_text(value) for value in table.column(name).to_pylist()]
        for name in table.column_names
    }
    return Table(path=path, columns=columns, lines=list(range(1, table.num_rows + 1)))


def _text(value: object) -> str:
    """A value as a CSV cell would show it."""
    if value is None or value != value:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
