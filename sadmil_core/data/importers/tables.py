"""What the importers share: tables of labels read strictly, and notes that name what they mean."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from sadmil_core.data.scans import SUBTYPES, any_positive
from sadmil_core.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from sadmil_core.data.scans import SliceLabel

_SHOWN_NAMES, _SHOWN_FAULTS = 10, 50
_LABELS = {"": None, "0": False, "1": True, "0.0": False, "1.0": True}


class FaultyLabels:
    """The bad rows of a table, gathered so that all are told at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = 0
        self._shown: list[str] = []

    def add(self, line: int, message: str) -> None:
        """Notes one fault of a line."""
        self._count += 1
        if len(self._shown) < _SHOWN_FAULTS:
            self._shown.append(f"  line {line}: {message}")

    def label(self, line: int, column: str, cell: str) -> bool | None:
        """The label a cell holds; another text than 0, 1 or nothing is a fault."""
        if cell.strip() not in _LABELS:
            self.add(line, f"{column} is {cell[:20]!r}; it must be 0, 1 or blank")
            return None
        return _LABELS[cell.strip()]

    def raise_if_any(self) -> None:
        """Refuses the table.

        Raises:
            ManifestError: Rows of it are bad: they are listed, with line numbers.
        """
        if not self._count:
            return
        more = self._count - len(self._shown)
        shown = [*self._shown, f"  and {more} more"] if more else self._shown
        raise ManifestError(
            f"{self._count} row(s) of {self._path} cannot be understood:\n"
            + "\n".join(shown)
            + "\n",
            remedy="Download the table again, or mend these rows.",
        )


def read_rows(path: Path, required: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table, one at a time.

    Args:
        path: A CSV file in UTF-8.
        required: The columns that are wanted, in this order.

    Yields:
        The number of the line, counted from 1, and the cells of these columns, stripped; a cell
        that a short row lacks is empty.

    Raises:
        ManifestError: It cannot be read, or has not all of the columns.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            names = [name.strip() for name in next(reader, [])]
            places = _places(path, names, required)
            for row in reader:
                if any(row):
                    yield (
                        reader.line_num,
                        [row[k].strip() if k < len(row) else "" for k in places],
                    )
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(
            f"{path} is not a CSV file in UTF-8: {error}.",
            remedy="Take the table as it was published.",
        ) from error


def _places(path: Path, names: Sequence[str], required: Sequence[str]) -> list[int]:
    missing = [name for name in required if name not in names]
    if missing:
        raise ManifestError(
            f"{path} has no column {', '.join(missing)}; its first line is "
            f"{','.join(names)[:80]!r}.",
            remedy="Give the table of the data set this command is for.",
        )
    return [names.index(name) for name in required]


def require_folder(path: Path) -> None:
    """Refuses a path that is no folder.

    Raises:
        ManifestError: It is none.
    """
    if not path.is_dir():
        raise ManifestError(f"{path} is not a folder.", remedy="Check the path.")


def name_some(what: str, names: Iterable[str]) -> list[str]:
    """A note that counts things and names the first of them; none where there are none."""
    found = list(names)
    if not found:
        return []
    more = len(found) - _SHOWN_NAMES
    rest = f" and {more} more" if more > 0 else ""
    return [f"{len(found)} {what}: {', '.join(found[:_SHOWN_NAMES])}{rest}"]


def subtypes_of_slices(slices: Sequence[SliceLabel]) -> dict[str, bool | None]:
    """The subtypes of a scan by those of all its slices."""
    return {kind: any_positive(each.subtypes.get(kind) for each in slices) for kind in SUBTYPES}
