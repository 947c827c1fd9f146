"""Reports without identifiers: UIDs and file names become keyed hashes.

UIDs can be tried one by one by whoever has a list of them, so a plain hash would lead back to
its patient. With one key the hashes agree, so that the table, the JSON and the page of one export
belong together; another key gives others.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sadmil_core.dicom import CodedWarning

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sadmil_core.dicom import SkippedFile, SliceHeader, StackEntry
    from sadmil_core.readout import StudyReadout
    from sadmil_core.report.record import ScanRecord

_KEY_BYTES = 32
_HASH_BYTES = 8
_SHORT = 5  # a file's name of less than this, without a letter, is but a number
UID = re.compile(r"(?<![\w.])[0-2](?:\.\d+){4,}(?![\w.]*\w)")
"""A UID within a text: five numbers at least, so that versions are none."""
# A root, a drive or a share, then everything up to the last separator before a quote or an end.
_PATH = re.compile(r"""(?:[A-Za-z]:\\|(?<![\w.<])/|\\\\)(?:[^'":;<>|\n]*[/\\])?[^\s'":;,<>|]*""")


class Pseudonyms:
    """Makes hashes of identifiers with one key, and puts them in place of these.

    Args:
        key: Secret bytes; drawn where none are given.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key or secrets.token_bytes(_KEY_BYTES)

    def of(self, text: str) -> str:
        """The hash of an identifier, 16 letters; empty for an empty one."""
        if not text:
            return ""
        data = text.encode("utf-8", "surrogateescape")
        return hashlib.blake2b(data, key=self._key, digest_size=_HASH_BYTES).hexdigest()

    def hide_record(self, record: ScanRecord) -> ScanRecord:
        """The same record, leading to nobody."""
        names = _names(record.entry)
        entry = self._entry(record.entry, names)
        result, failure = record.result, record.failure
        if result is not None:
            result = replace(result, entry=entry, warnings=self._said(result.warnings, names))
        if failure is not None:
            failure = CodedWarning(failure.code, self.scrub(failure.message, names))
        return replace(record, entry=entry, result=result, failure=failure)

    def hide_readout(self, readout: StudyReadout) -> StudyReadout:
        """The same choice, of hashes."""
        series = readout.series_instance_uid
        return replace(
            readout,
            scan_id=self.of(readout.scan_id),
            series_instance_uid=None if series is None else self.of(series),
            message=self.scrub(readout.message),
        )

    def hide_skipped(self, skipped: SkippedFile) -> SkippedFile:
        """The same file passed over, by a hash of its path."""
        names = (str(skipped.path), skipped.path.name)
        return replace(
            skipped,
            path=Path(self.of(str(skipped.path))),
            message=self.scrub(skipped.message, names),
            series_instance_uid=self.of(skipped.series_instance_uid),
        )

    def scrub(self, text: str, names: Iterable[str] = ()) -> str:
        """A text with hashes in place of these names, and of all UIDs and paths.

        Args:
            text: A sentence for people.
            names: Of files and folders; those that are short numbers are left, for a sentence
                has such numbers of its own.
        """
        wanted = {n for n in names if len(n) >= _SHORT or any(map(str.isalpha, n))}
        if wanted:
            longest_first = sorted(wanted, key=len, reverse=True)
            known = "|".join(re.escape(name) for name in longest_first)
            text = re.sub(rf"(?<!\w)(?:{known})(?!\w)", self._matched, text)
        return UID.sub(self._matched, _PATH.sub(self._matched, text))

    def _matched(self, match: re.Match[str]) -> str:
        return self.of(match.group())

    def _entry(self, entry: StackEntry, names: tuple[str, ...]) -> StackEntry:
        return replace(
            entry,
            slices=tuple(self._header(header) for header in entry.slices),
            warnings=self._said(entry.warnings, names),
            skipped=tuple(map(self.hide_skipped, entry.skipped)),
            archives=(),
        )

    def _header(self, header: SliceHeader) -> SliceHeader:
        return replace(
            header,
            path=Path(self.of(str(header.path))),
            study_instance_uid=self.of(header.study_instance_uid),
            series_instance_uid=self.of(header.series_instance_uid),
            sop_instance_uid=self.of(header.sop_instance_uid),
            description="",
        )

    def _said(
        self, warnings: Iterable[CodedWarning], names: tuple[str, ...]
    ) -> tuple[CodedWarning, ...]:
        return tuple(CodedWarning(w.code, self.scrub(w.message, names)) for w in warnings)


def _names(entry: StackEntry) -> tuple[str, ...]:
    """What the files and folders of a stack are called, within archives too."""
    paths = {header.path for header in entry.slices} | {file.path for file in entry.skipped}
    paths |= {entry.shown(path) for path in paths}
    names = {name for path in paths for name in (str(path), path.name, path.parent.name)}
    return tuple(sorted(names))
