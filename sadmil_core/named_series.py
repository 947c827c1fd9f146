"""A manifest: a CSV table that names the series to be read out for each study."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sadmil_core.errors import ManifestError

if TYPE_CHECKING:
    from pathlib import Path

    from sadmil_core.dicom import StackEntry

_STUDY, _SERIES, _STACK = "scan_id", "series_instance_uid", "stack_index"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSeries:
    """The series that a manifest names for a study.

    Attributes:
        line: Where it says so, counted from 1.
        series_instance_uid: The series.
        stack_index: The stack of it; None for the fittest of its stacks.
    """

    line: int
    series_instance_uid: str
    stack_index: int | None = None

    def fits(self, entry: StackEntry) -> bool:
        """Whether a stack of the study is the named one, or one of the named ones."""
        same_series = entry.series_instance_uid == self.series_instance_uid
        return same_series and self.stack_index in (None, entry.stack_index)

    def __str__(self) -> str:
        stack = "" if self.stack_index is None else f" #{self.stack_index}"
        return f"series {self.series_instance_uid}{stack} (line {self.line})"


def read_manifest(path: Path) -> dict[str, NamedSeries]:
    """Reads a manifest.

    Args:
        path: A CSV file in UTF-8 with the columns ``scan_id`` (StudyInstanceUID),
            ``series_instance_uid`` and, if need be, ``stack_index``. Others are passed over.

    Returns:
        The named series by StudyInstanceUID.

    Raises:
        ManifestError: The file cannot be read, or is not such a table.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return _named_series(path, csv.DictReader(stream, strict=True))
    except OSError as error:
        raise ManifestError(
            f"The manifest {path} cannot be read: {error.strerror or error}."
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(
            f"The manifest {path} is not a CSV file in UTF-8: {error}.",
            remedy="Save it as CSV, separated by commas.",
        ) from error


def _named_series(path: Path, rows: csv.DictReader[str]) -> dict[str, NamedSeries]:
    columns = [name.strip() for name in rows.fieldnames or ()]
    missing = [name for name in (_STUDY, _SERIES) if name not in columns]
    if missing:
        raise ManifestError(
            f"The manifest {path} has no column {' or '.join(missing)}: its first line is "
            f"{','.join(columns)[:80]!r}.",
            remedy=f"Its columns must be {_STUDY},{_SERIES} and may be {_STACK}.",
        )
    rows.fieldnames = columns
    named: dict[str, NamedSeries] = {}
    for row in rows:
        where = f"The manifest {path}, line {rows.line_num}"
        cells = {name: (row.get(name) or "").strip() for name in (_STUDY, _SERIES, _STACK)}
        for name in (_STUDY, _SERIES):
            if not cells[name]:
                raise ManifestError(f"{where}: {name} is empty.")
        if cells[_STACK] and not re.fullmatch("[0-9]{1,9}", cells[_STACK]):
            raise ManifestError(
                f"{where}: {_STACK} is {cells[_STACK][:20]!r}, not a whole number from 0."
            )
        before = named.get(cells[_STUDY])
        if before is not None:
            raise ManifestError(
                f"{where}: the study {cells[_STUDY]} is named in line {before.line} too.",
                remedy="Name one series for each study.",
            )
        named[cells[_STUDY]] = NamedSeries(
            line=rows.line_num,
            series_instance_uid=cells[_SERIES],
            stack_index=int(cells[_STACK]) if cells[_STACK] else None,
        )
    if not named:
        raise ManifestError(f"The manifest {path} names no series.")
    return named
