"""DICOMDIR: the directory of a disc, and the files it lists (PS3.3 annex F).

Discs are copied with other letters, with extensions added or lost, and not always whole; and a
directory is a file from elsewhere, whose paths must not lead out of its folder.
"""

from __future__ import annotations

import os
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydicom import dcmread
from pydicom.uid import MediaStorageDirectoryStorage

from sadmil_core.dicom.codes import SkippedFile, SkipReason
from sadmil_core.dicom.elements import read_elements
from sadmil_core.dicom.header import DICOM_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydicom import Dataset

_RECORDS = "DirectoryRecordSequence"
_CLASS_ELEMENT = b"\x02\x00\x02\x00UI"
_DRIVE = re.compile(r"[A-Za-z]:")
_VERSION = re.compile(r";\d+$")
"""What ISO 9660 writes behind a file's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedFiles:
    """What a DICOMDIR lists.

    Attributes:
        files: Those that are there, in the order of their records.
        skipped: Those that are not, or that lie elsewhere; where the directory itself is of no
            use, it alone.
    """

    files: tuple[Path, ...]
    skipped: tuple[SkippedFile, ...]

    @property
    def is_usable(self) -> bool:
        """Whether it lists a file that is there; else the folder must speak for itself."""
        return bool(self.files)


def is_dicomdir(path: Path) -> bool:
    """Whether a file is a DICOMDIR: by its Media Storage SOP Class, whatever it is called.

    One that lost its class and is still called so counts, too. A file that cannot be read does
    not.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(2048)
    except OSError:
        return False
    place = head.find(_CLASS_ELEMENT, 132)
    if head[128:132] != b"DICM" or place < 0:
        return path.name.upper() == "DICOMDIR"
    length = int.from_bytes(head[place + 6 : place + 8], "little")
    value = head[place + 8 : place + 8 + length]
    return value.rstrip(b"\0 ") == MediaStorageDirectoryStorage.encode()


def read_dicomdir(path: Path) -> ListedFiles:
    """Finds the files that a DICOMDIR lists, below its own folder alone.

    Names are compared without regard to case, to a usual extension and to ISO 9660's ``;1``.
    Records are taken as a flat list: broken links between them cost no file.

    Args:
        path: A DICOMDIR.

    Returns:
        The files. Never raises for what is in it.
    """
    try:
        with path.open("rb") as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's, of values nobody uses
            # pydicom takes what is there of a truncated sequence for all of it.
            read_elements(stream, os.fstat(stream.fileno()).st_size, frozenset())
            stream.seek(0)
            dataset = dcmread(stream, specific_tags=[_RECORDS])
            listed = _listed(list(dataset.get(_RECORDS) or ()))
    # Damaged bytes raise many kinds of errors; all of them mean the same here.
    except Exception as error:  # noqa: BLE001
        return _useless(path, f"damaged ({type(error).__name__})")
    if not listed:
        return _useless(path, "lists no file")
    folder = _Folder(path.parent)
    files: dict[Path, None] = {}
    skipped: list[SkippedFile] = []
    for parts, series in listed.items():
        shown = path.parent.joinpath(*(part.strip("/\\") for part in parts))
        if not _leads_down(parts):
            message = "the DICOMDIR names a file outside its own folder"
            name = "\\".join(parts).replace("/", "\\").replace("\0", "")
            # Of dots alone no name can be shown that does not itself lead out.
            shown = path.parent / name if name.strip(". ") else path
            skipped.append(SkippedFile(shown, SkipReason.UNSAFE_NAME, message, series))
        elif (found := folder.find(parts)) is None:
            message = "listed by the DICOMDIR, and not there"
            skipped.append(SkippedFile(shown, SkipReason.ABSENT, message, series))
        else:
            files[found] = None
    if not files:
        return _useless(path, f"none of the {len(listed)} file(s) it lists is there")
    return ListedFiles(files=tuple(files), skipped=tuple(skipped))


def _useless(path: Path, why: str) -> ListedFiles:
    message = f"the DICOMDIR is of no use ({why}): the whole folder is read instead"
    skip = SkippedFile(path, SkipReason.DICOMDIR_UNUSABLE, message)
    return ListedFiles(files=(), skipped=(skip,))


def _listed(records: list[Dataset]) -> dict[tuple[str, ...], str]:
    """The files of all records in use, as parts of their paths; and the series of each."""
    series_of = _series_of(records)
    listed: dict[tuple[str, ...], str] = {}
    for record in records:
        value = record.get("ReferencedFileID")
        if not value or record.get("RecordInUseFlag") == 0:
            continue
        texts = [value] if isinstance(value, str) else [str(part) for part in value]
        # Against the standard, some writers keep a whole path in one value.
        parts = tuple(part for text in texts for part in text.strip(" \0").split("/"))
        listed.setdefault(parts, series_of.get(record.seq_item_tell, ""))
    return listed


def _series_of(records: list[Dataset]) -> dict[int | None, str]:
    """The series of each record below one, by the record's place in the file."""
    at = {record.seq_item_tell: record for record in records}
    series_of: dict[int | None, str] = {}
    for record in records:
        uid = str(record.get("SeriesInstanceUID") or "")
        place = record.get("OffsetOfReferencedLowerLevelDirectoryEntity") if uid else None
        while place in at and place not in series_of:
            series_of[place] = uid
            place = at[place].get("OffsetOfTheNextDirectoryRecord")
    return series_of


def _leads_down(parts: tuple[str, ...]) -> bool:
    """Whether a path stays below where it starts, on every system."""
    return all(
        part.strip(". ") and "\0" not in part and "\\" not in part and not _DRIVE.match(part)
        for part in parts
    )


class _Folder:
    """A folder in which names are looked up as people copy them."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: dict[Path, dict[str, list[str]]] = {}

    def find(self, parts: tuple[str, ...]) -> Path | None:
        """The file of these parts, or None."""
        places = [self._root]
        for part in parts:
            places = [place / name for place in places for name in self._called(place, part)]
        return next((place for place in places if place.is_file()), None)

    def _called(self, folder: Path, name: str) -> Iterator[str]:
        """What is called so in a folder, the most alike first."""
        if folder not in self._names:
            self._names[folder] = _names_in(folder)
        alike = self._names[folder].get(_key(name), [])
        yield from sorted(alike, key=lambda other: (other != name, len(other), other))


def _names_in(folder: Path) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    try:
        for name in os.listdir(folder):
            names.setdefault(_key(name), []).append(name)
    except OSError:
        pass  # no folder, or a closed one: nothing is found there
    return names


def _key(name: str) -> str:
    """A name without what differs from copy to copy."""
    stem, dot, suffix = _VERSION.sub("", name.casefold()).rpartition(".")
    if dot and stem and (not suffix or f".{suffix}" in DICOM_SUFFIXES):
        return stem
    return f"{stem}{dot}{suffix}"
