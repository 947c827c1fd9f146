"""The reports of ``sadmil predict``: which, with or without identifiers, and their writing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import combinations
from typing import TYPE_CHECKING

import typer

from sadmil_core.cli.outputs import require_no_input, require_writable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sadmil_core.checkpoint import CheckpointHeader
    from sadmil_core.dicom import CTVolume, SkippedFile
    from sadmil_core.readout import StudyReadout
    from sadmil_core.report import ScanRecord
    from sadmil_core.report.page import Page
    from sadmil_core.report.pseudonyms import Pseudonyms


@dataclass(slots=True, kw_only=True)
class Reports:
    """What is to be written, and what is gathered for it on the way.

    Attributes:
        csv: The slice report.
        json: The same with more.
        pdf: A page for each series.
        identifiers: Whether they are in; None for the usual: in the tables, not on the page.
    """

    csv: Path | None
    json: Path | None
    pdf: Path | None
    identifiers: bool | None
    _pages: list[Page] = field(default_factory=list)
    _hashes: Pseudonyms | None = None

    @property
    def paths(self) -> dict[str, Path]:
        """The files by option."""
        named = {"--csv": self.csv, "--json": self.json, "--pdf": self.pdf}
        return {option: path for option, path in named.items() if path is not None}

    def require_writable(self) -> None:
        """Refuses what cannot be written before hours of work, not after.

        Raises:
            typer.BadParameter: A file that is a folder, lies in none, or is named twice.
        """
        for option, path in self.paths.items():
            require_writable(path, option)
        for (first, a), (second, b) in combinations(self.paths.items(), 2):
            if a.resolve() == b.resolve():
                raise typer.BadParameter(f"is the same file as {first}", param_hint=second)

    def require_no_input(self, inputs: Iterable[Path]) -> None:
        """Refuses a report that would replace a scan or the model.

        Raises:
            typer.BadParameter: It would.
        """
        inputs = list(inputs)
        for path in self.paths.values():
            require_no_input(inputs, path, "OUT")

    def keep(self, record: ScanRecord, volume: CTVolume | None, header: CheckpointHeader) -> None:
        """Gathers a series' page, if one is wanted; of its pixels a few slices."""
        if self.pdf is None:
            return
        from sadmil_core.dicom import read_identity
        from sadmil_core.report.page import make_page

        named = bool(self.identifiers)
        self._pages.append(
            make_page(
                record,
                volume,
                header,
                made_at=datetime.now(UTC),
                pseudonyms=None if named else self._pseudonyms(),
                identity=read_identity(record.entry.slices[0].path) if named else None,
            )
        )

    def write(
        self,
        records: list[ScanRecord],
        readouts: tuple[StudyReadout, ...],
        skipped: Iterable[SkippedFile],
    ) -> None:
        """Writes what is wanted.

        Raises:
            WriteError: The system refused.
        """
        from sadmil_core.report import write_csv, write_json

        if self.pdf is not None:
            from sadmil_core.report.pdf import write_pdf

            write_pdf(self._pages, self.pdf)
        if self.identifiers is False:
            hashes = self._pseudonyms()
            records = [hashes.hide_record(record) for record in records]
            readouts = tuple(hashes.hide_readout(readout) for readout in readouts)
            skipped = [hashes.hide_skipped(file) for file in skipped]
        if self.csv is not None:
            write_csv(records, self.csv, readouts=readouts)
        if self.json is not None:
            write_json(records, self.json, skipped=skipped, readouts=readouts)

    def _pseudonyms(self) -> Pseudonyms:
        """One key for all reports of a run: what belongs together can be told."""
        from sadmil_core.report.pseudonyms import Pseudonyms

        self._hashes = self._hashes or Pseudonyms()
        return self._hashes
