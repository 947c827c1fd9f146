"""What a manifest says of scans and their slices."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

SCHEMA_VERSION = 1
SUBTYPES = ("epidural", "subdural", "subarachnoid", "intraparenchymal", "intraventricular")
SPLITS = ("train", "val", "test")
SCAN_COLUMNS = (
    "patient_id",
    "split",
    "series_instance_uid",
    "stack_index",
    "scan_label",
    "mask_path",
    "features_path",
    "edges_path",
    "site",
    *(f"scan_{name}" for name in SUBTYPES),
)
"""What is said of a scan as a whole: its rows must agree, a blank cell with any."""
SLICE_COLUMNS = (
    "sop_instance_uid",
    "frame_number",
    "slice_index",
    "slice_label",
    *(f"slice_{name}" for name in SUBTYPES),
)
COLUMNS = ("schema_version", "scan_id", "path", *SCAN_COLUMNS, *SLICE_COLUMNS)
"""All columns, in the order in which they are written."""


def unknown_subtypes() -> dict[str, bool | None]:
    """Every subtype, none of them known."""
    return dict.fromkeys(SUBTYPES)


def any_positive(labels: Iterable[bool | None]) -> bool | None:
    """The label of a whole from those of its parts.

    Returns:
        True where a part is positive, False where all parts are known and negative, else None;
        None for no parts.
    """
    known = list(labels)
    if any(known):
        return True
    return None if None in known or not known else False


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceLabel:
    """What is said of one slice; it is known by its instance UID, its index, or both.

    Attributes:
        sop_instance_uid: The instance, or None.
        frame_number: The frame of it, counted from 1; None where the file has a single one.
        slice_index: The place in the stack, 0 at the foot end, or None.
        label: Whether it shows hemorrhage; None where unknown.
        subtypes: The same by :data:`SUBTYPES`; every one is a key.
        path: The slice's own file, or None.
        line: Where it stands in the table, counted from 1; 0 where it comes from none.
    """

    sop_instance_uid: str | None = None
    frame_number: int | None = None
    slice_index: int | None = None
    label: bool | None = None
    subtypes: Mapping[str, bool | None] = field(default_factory=unknown_subtypes)
    path: Path | None = None
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestScan:
    """What is said of one scan: one bag.

    Attributes:
        scan_id: Its name. For DICOM the StudyInstanceUID, as in reports, so that they join.
        patient_id: Never blank: the scan_id where nothing is known.
        split: train, val or test; empty where none is given.
        path: The file, folder or volume that holds it; where slices name their own files, the
            folder above all of them. None where nothing is named.
        series_instance_uid: The series to be read, or empty for the fittest below ``path``.
        stack_index: The stack of the series, or None for the fittest.
        label: Whether it shows hemorrhage: as its rows say; else True with a positive slice or
            subtype, False where all slices given are negative, None where unknown.
        slices: In the order of the table; none where nothing is said of single slices.
        subtypes: As ``label``, by :data:`SUBTYPES`; every one is a key.
        mask_path: A volume of segmentation, or None.
        features_path: An array (slices, features), .npy, or None.
        edges_path: Slice pairs and their weights, .npz, or None.
        site: Where it was made, or empty.
        lines: Its rows in the table, counted from 1.
    """

    scan_id: str
    patient_id: str = ""
    split: str = ""
    path: Path | None = None
    series_instance_uid: str = ""
    stack_index: int | None = None
    label: bool | None = None
    slices: tuple[SliceLabel, ...] = ()
    subtypes: Mapping[str, bool | None] = field(default_factory=unknown_subtypes)
    mask_path: Path | None = None
    features_path: Path | None = None
    edges_path: Path | None = None
    site: str = ""
    lines: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.patient_id:
            object.__setattr__(self, "patient_id", self.scan_id)

    @property
    def sources(self) -> tuple[Path, ...]:
        """What to read it from: its slices' own files where they name them, else ``path``."""
        files = dict.fromkeys(each.path for each in self.slices if each.path is not None)
        if files:
            return tuple(files)
        return () if self.path is None else (self.path,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A table that was read and found sound.

    Attributes:
        path: The file.
        scans: In the order of their first rows.
        warnings: What is odd about it, sentences for people.
    """

    path: Path
    scans: tuple[ManifestScan, ...]
    warnings: tuple[str, ...] = ()

    def of_split(self, split: str) -> tuple[ManifestScan, ...]:
        """The scans of one split; an empty name for those without any."""
        return tuple(scan for scan in self.scans if scan.split == split)
