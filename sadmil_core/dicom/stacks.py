"""Headers to stacks: which slices belong together, and in which order.

A stack is what one bag is made of: slices of one series with the same orientation, matrix and
pixel spacing, one at each position, ordered foot to head by position along their normal,
never by InstanceNumber or file name.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sadmil_core.dicom.archive import shown_path
from sadmil_core.dicom.codes import (
    CodedWarning,
    SkippedFile,
    SkipReason,
    WarningCode,
    printable,
)
from sadmil_core.dicom.decode import has_rsna_quirk
from sadmil_core.dicom.geometry import (
    STRAY_NOTED_MM,
    TILT_NOTED_DEG,
    StackGeometry,
    along_normal,
    head_normal,
    spacing_is_even,
)
from sadmil_core.dicom.layers import by_number, split_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from sadmil_core.dicom.archive import ExtractedArchive
    from sadmil_core.dicom.header import SliceHeader, Triple

_ORIENTATION_TOLERANCE = 1e-3
_SPACING_TOLERANCE = 1e-4  # relative: a twentieth of a millimetre across a matrix of 512
_SAME_POSITION_MM = 1e-3
_NOT_CT = SkipReason.NOT_CT
_DEPARTURES = {
    WarningCode.NO_PREAMBLE: "files without DICOM's preamble",
    WarningCode.WRONG_SYNTAX: "encoded otherwise than the transfer syntax says, or without one; "
    "read as it looks",
    WarningCode.NO_SIGN: "no usable PixelRepresentation: values taken as unsigned",
    WarningCode.NO_BITS: "no BitsAllocated or no BitsStored: taken from what else the file says",
    WarningCode.ODD_HIGH_BIT: "HighBit is not BitsStored - 1; the bits it names were read",
    WarningCode.EXTRA_BYTES: "more bytes than the image has; its matrix or its pixels may be wrong",
    WarningCode.NOT_HOUNSFIELD: "RescaleType is not HU: values may not be Hounsfield units",
    WarningCode.MODALITY_LUT: "a Modality LUT stands in place of slope and intercept: applied, "
    "but values may not be Hounsfield units",
    WarningCode.RSNA_12BIT_QUIRK: "stored values show the RSNA 12-bit defect and are mended "
    "(+1000, wrapped at 4096, intercept -1000)",
    WarningCode.VOLUME_FILE: "a volume file, which has no DICOM header: values are taken for "
    "Hounsfield units, and its UIDs are made up from its content",
    WarningCode.NIFTI_PLACEMENT: "the NIfTI header places the volume twice, and not alike: its "
    "sform was taken where that is rigid and in scanner coordinates, else its qform",
    WarningCode.UNKNOWN_CHARACTER_SET: "unknown character set: names may be misspelt",
}
"""What a header departs in, for people."""
_AXIAL: tuple[Triple, Triple] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class StackEntry:
    """One stack of a series as the index knows it: headers in order, no pixels.

    Attributes:
        stack_index: 0 for the first stack of its series, counted foot to head by first slice.
        slices: The headers, foot to head.
        geometry: Their frame.
        warnings: What the user must know, in the order it was found.
        skipped: Files that say they belong to this series and could not be used.
        archives: Those its files were unpacked from, held so that the files stay there.
    """

    stack_index: int
    slices: tuple[SliceHeader, ...]
    geometry: StackGeometry
    warnings: tuple[CodedWarning, ...]
    skipped: tuple[SkippedFile, ...] = ()
    archives: tuple[ExtractedArchive, ...] = field(default=(), repr=False, compare=False)

    @property
    def study_instance_uid(self) -> str:
        """The StudyInstanceUID, the scan_id of reports."""
        return self.slices[0].study_instance_uid

    @property
    def series_instance_uid(self) -> str:
        """The SeriesInstanceUID."""
        return self.slices[0].series_instance_uid

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        return len(self.slices), self.slices[0].rows, self.slices[0].columns

    @property
    def is_phantom(self) -> bool:
        """Whether every file says it shows a phantom (QualityControlSubject)."""
        return all(header.is_phantom for header in self.slices)

    @property
    def sources(self) -> frozenset[Path]:
        """The files it was read from: archives, not what was unpacked from them."""
        paths = {header.path for header in self.slices}
        return frozenset(
            {archive.source for archive in self.archives}
            | {path for path in paths if self.shown(path) == path}
        )

    def shown(self, path: Path) -> Path:
        """The path of one of its files for people: within its archive, if it has one."""
        return shown_path(path, self.archives)

    @property
    def warning_codes(self) -> tuple[str, ...]:
        """The distinct warning codes, sorted."""
        return tuple(sorted({str(warning.code) for warning in self.warnings}))


def build_stacks(
    headers: Iterable[SliceHeader],
    skipped: Iterable[SkippedFile] = (),
    *,
    pixel_digest: Callable[[SliceHeader], bytes] | None = None,
) -> tuple[StackEntry, ...]:
    """Groups headers into ordered stacks.

    Args:
        headers: Any number of series, in any order; of exact duplicates the one whose path
            sorts first is kept.
        skipped: Files that were passed over; those of a stack's series are named with it.
        pixel_digest: Tells whether two slices at one position show the same pixels; without
            it, slices at one position with different UIDs are never taken for duplicates.

    Returns:
        The stacks by study, series and stack index.
    """
    # By series alone, so that (series, stack index) stays a key even where studies share a
    # SeriesInstanceUID; a stack never mixes studies.
    by_series: dict[str, list[SliceHeader]] = defaultdict(list)
    for header in sorted(headers, key=lambda h: (h.path, h.frame_number or 0)):
        by_series[header.series_instance_uid].append(header)
    lost: dict[str, list[SkippedFile]] = defaultdict(list)
    for file in skipped:
        # A series has one modality (PS3.3 A.1.2.3): a file that says another is damaged.
        if file.series_instance_uid and (file.reason.is_failure or file.reason is _NOT_CT):
            lost[file.series_instance_uid].append(file)
    entries: list[StackEntry] = []
    for series, members in by_series.items():
        entries += _series_stacks(members, tuple(lost[series]), pixel_digest)
    entries.sort(key=lambda e: (e.study_instance_uid, e.series_instance_uid, e.stack_index))
    return tuple(entries)


def _series_stacks(
    members: list[SliceHeader],
    skipped: tuple[SkippedFile, ...],
    pixel_digest: Callable[[SliceHeader], bytes] | None,
) -> list[StackEntry]:
    unique, dropped = _without_repeated_uids(members)
    layers: list[list[SliceHeader]] = []
    all_told_apart = True
    # So that what goes with what does not depend on the names of the files.
    unique.sort(key=lambda h: (h.orientation or (), h.pixel_spacing_mm or (), h.position_mm or ()))
    for group in _alike(unique):
        kept, identical = _without_identical_pixels(group, pixel_digest)
        dropped += identical
        if kept[0].position_mm is None:
            layers.append(kept)
            continue
        split, told_apart = split_layers(_by_position(kept))
        layers += split
        all_told_apart &= told_apart
    common: list[CodedWarning] = []
    if dropped:
        common.append(
            CodedWarning(
                WarningCode.DUPLICATES_DROPPED,
                f"{dropped} exact duplicate(s) left out; the first path in sorted order was kept",
            )
        )
    if len(layers) > 1:
        common.append(
            CodedWarning(
                WarningCode.SERIES_SPLIT,
                f"the series holds {len(layers)} stacks (other study, orientation, "
                "matrix or spacing, or repeated positions); each is read apart",
            )
        )
    if not all_told_apart:
        common.append(
            CodedWarning(
                WarningCode.MIXED_STACKS,
                "several images at the same positions, and nothing tells which belong together: "
                "a stack may hold images of different reconstructions",
            )
        )
    if skipped:
        names = printable(", ".join(sorted(file.path.name for file in skipped)[:3]))
        common.append(
            CodedWarning(
                WarningCode.FILES_SKIPPED,
                f"{len(skipped)} file(s) of this series could not be used ({names}"
                f"{', ...' if len(skipped) > 3 else ''}); their slices are missing",
            )
        )
    made = [make_stack(layer, common, skipped) for layer in layers]
    made.sort(key=_by_first_slice)
    return [replace(entry, stack_index=index) for index, entry in enumerate(made)]


def _by_first_slice(entry: StackEntry) -> tuple[float, tuple[bool, int, str, Path, int]]:
    """The key that sorts the stacks of a series: whatever the files are called, if possible."""
    first = entry.slices[0]
    without_number, number, path, frame = by_number(first)
    key = (without_number, number, first.sop_instance_uid, path, frame)
    return entry.geometry.position_mm[0], key


def _without_repeated_uids(members: list[SliceHeader]) -> tuple[list[SliceHeader], int]:
    """The first of the headers that share a SOPInstanceUID.

    At different places they are different slices all the same: some anonymisers give every
    slice of a series one UID.
    """
    first: dict[tuple[object, ...], SliceHeader] = {}
    for header in members:
        key = (
            header.study_instance_uid,
            header.sop_instance_uid,
            header.frame_number,
            header.position_mm or header.instance_number,
        )
        first.setdefault(key, header)
    return list(first.values()), len(members) - len(first)


def _alike(headers: list[SliceHeader]) -> list[list[SliceHeader]]:
    """Groups of one study, of the same orientation, matrix and pixel spacing."""
    groups: list[list[SliceHeader]] = []
    for header in headers:
        for group in groups:
            if _same_kind(header, group[0]):
                group.append(header)
                break
        else:
            groups.append([header])
    return groups


def _same_kind(a: SliceHeader, b: SliceHeader) -> bool:
    if (a.study_instance_uid, a.rows, a.columns) != (b.study_instance_uid, b.rows, b.columns):
        return False
    if not _same_spacing(a.pixel_spacing_mm, b.pixel_spacing_mm):
        return False
    if (
        a.orientation is None
        or b.orientation is None
        or (a.position_mm is None) != (b.position_mm is None)
    ):
        return a.orientation is b.orientation and (a.position_mm is None) == (b.position_mm is None)
    flat_a, flat_b = (*a.orientation[0], *a.orientation[1]), (*b.orientation[0], *b.orientation[1])
    return all(abs(x - y) <= _ORIENTATION_TOLERANCE for x, y in zip(flat_a, flat_b, strict=True))


def _same_spacing(a: tuple[float, float] | None, b: tuple[float, float] | None) -> bool:
    """Whether two pixel spacings agree but for the rounding of their decimals."""
    if a is None or b is None:
        return a is b
    return all(math.isclose(x, y, rel_tol=_SPACING_TOLERANCE) for x, y in zip(a, b, strict=True))


def _directions(group: Sequence[SliceHeader]) -> tuple[Triple, Triple]:
    """The directions that stand for all of an alike group."""
    return min((h.orientation for h in group if h.orientation), default=_AXIAL)


def _by_position(group: Sequence[SliceHeader]) -> list[list[SliceHeader]]:
    """Headers that share a position, together; positions foot to head."""
    normal = head_normal(*_directions(group))
    keyed = sorted(
        ((along_normal(h.position_mm or (0.0, 0.0, 0.0), normal), h) for h in group),
        key=lambda pair: (pair[0], pair[1].path, pair[1].frame_number or 0),
    )
    places: list[list[SliceHeader]] = []
    last = None
    for position, header in keyed:
        if last is not None and position - last <= _SAME_POSITION_MM:
            places[-1].append(header)
        else:
            places.append([header])
        last = position
    return places


def _without_identical_pixels(
    group: list[SliceHeader], pixel_digest: Callable[[SliceHeader], bytes] | None
) -> tuple[list[SliceHeader], int]:
    if group[0].position_mm is None or pixel_digest is None:
        return group, 0
    kept: list[SliceHeader] = []
    for place in _by_position(group):
        if len(place) == 1:
            kept += place
            continue
        first: dict[bytes, SliceHeader] = {}
        for header in place:
            first.setdefault(pixel_digest(header), header)
        kept += first.values()
    return kept, len(group) - len(kept)


def make_stack(
    members: Sequence[SliceHeader],
    warnings: Iterable[CodedWarning] = (),
    skipped: tuple[SkippedFile, ...] = (),
    stack_index: int = 0,
) -> StackEntry:
    """Orders alike headers foot to head, and says what is odd about them.

    Args:
        members: Headers of one stack, one at each position.
        warnings: Those already known; the geometry's are added.
        skipped: Passed on.
        stack_index: Passed on.
    """
    found = list(warnings)
    orientation = _directions(members)
    has_positions = members[0].position_mm is not None
    if has_positions:
        ordered = [header for place in _by_position(members) for header in place]
        origins = tuple(h.position_mm for h in ordered if h.position_mm is not None)
    else:
        ordered = sorted(members, key=by_number)
        origins = tuple((0.0, 0.0, float(index)) for index in range(len(ordered)))
    spacing = ordered[0].pixel_spacing_mm
    geometry = StackGeometry(
        row_direction=orientation[0],
        column_direction=orientation[1],
        origins_mm=origins,
        row_spacing_mm=spacing[0] if spacing else 1.0,
        column_spacing_mm=spacing[1] if spacing else 1.0,
        has_positions=has_positions,
        has_orientation=ordered[0].orientation is not None,
    )
    found += _geometry_warnings(ordered, geometry)
    found += _header_warnings(ordered)
    return StackEntry(
        stack_index=stack_index,
        slices=tuple(ordered),
        geometry=geometry,
        warnings=tuple(found),
        skipped=skipped,
    )


def _geometry_warnings(
    ordered: Sequence[SliceHeader], geometry: StackGeometry
) -> list[CodedWarning]:
    found: list[CodedWarning] = []

    def warn(code: WarningCode, message: str) -> None:
        found.append(CodedWarning(code, message))

    if not geometry.has_orientation:
        warn(
            WarningCode.NO_ORIENTATION,
            "no usable orientation in the files: taken as axial; left and right are not known",
        )
    if not geometry.has_positions:
        warn(
            WarningCode.NO_POSITIONS,
            "no slice positions in the files: ordered by InstanceNumber, which may be wrong; "
            "distances are not known",
        )
        return found
    if not geometry.is_axial:
        warn(WarningCode.NOT_AXIAL, "the slices are not axial")
    elif abs(geometry.tilt_deg) >= TILT_NOTED_DEG:
        warn(WarningCode.TILTED, f"gantry tilt {geometry.tilt_deg:+.1f} degrees")
    if geometry.stray_mm >= STRAY_NOTED_MM:
        warn(
            WarningCode.SHEARED,
            f"slices lie up to {geometry.stray_mm:.1f} mm aside of the first (a shear of "
            f"{geometry.shear_deg:.1f} degrees), which a tilt of {geometry.tilt_deg:+.1f} degrees "
            "does not explain; reformats put them where their positions say",
        )
    steps = geometry.spacings_mm
    missing = sum(geometry.missing_after)
    if missing:
        places = ", ".join(
            f"{i + 1} and {i + 2}" for i, count in enumerate(geometry.missing_after) if count
        )
        warn(
            WarningCode.MISSING_SLICES,
            f"about {missing} slice(s) missing, between slices {places}",
        )
    if not spacing_is_even(steps):
        warn(
            WarningCode.UNEVEN_SPACING,
            f"slices {min(steps):.2f} to {max(steps):.2f} mm apart "
            f"(median {geometry.spacing_mm:.2f})",
        )
    return found


def _header_warnings(ordered: Sequence[SliceHeader]) -> list[CodedWarning]:
    found: list[CodedWarning] = []
    if ordered[0].pixel_spacing_mm is None:
        found.append(
            CodedWarning(WarningCode.NO_PIXEL_SPACING, "no PixelSpacing: sizes in mm are not known")
        )
    if not all(header.has_rescale for header in ordered):
        found.append(
            CodedWarning(
                WarningCode.NO_RESCALE,
                "no usable RescaleSlope and RescaleIntercept: values may not be Hounsfield units",
            )
        )
    if not all(header.has_valid_uids for header in ordered):
        found.append(
            CodedWarning(WarningCode.INVALID_UID, "UIDs in the files are not valid DICOM UIDs")
        )
    if ordered[0].study_instance_uid == ordered[0].series_instance_uid:
        found.append(
            CodedWarning(
                WarningCode.NO_STUDY_UID,
                "no StudyInstanceUID of its own: the SeriesInstanceUID stands for it",
            )
        )
    if len({(header.sop_instance_uid, header.frame_number) for header in ordered}) < len(ordered):
        found.append(
            CodedWarning(
                WarningCode.REPEATED_UIDS, "slices at different places share a SOPInstanceUID"
            )
        )
    if all(header.is_phantom for header in ordered):
        found.append(CodedWarning(WarningCode.PHANTOM, "the files say they show a phantom"))
    return found + _departure_warnings(ordered)


def _departure_warnings(ordered: Sequence[SliceHeader]) -> list[CodedWarning]:
    """What single files depart in, and in how many of them."""
    found: list[CodedWarning] = []
    departures = Counter(code for header in ordered for code in set(header.departures))
    departures[WarningCode.MODALITY_LUT] += sum(header.has_modality_lut for header in ordered)
    departures[WarningCode.RSNA_12BIT_QUIRK] += sum(map(has_rsna_quirk, ordered))
    for code, message in _DEPARTURES.items():
        if departures[code]:
            share = "" if departures[code] == len(ordered) else f"{departures[code]} slice(s): "
            found.append(CodedWarning(code, share + message))
    return found
