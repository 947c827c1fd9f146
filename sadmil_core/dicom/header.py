"""One file's header: what is needed to place, decode and convert one CT slice.

Only the elements below are interpreted, straight from their raw bytes. Converting every
element through its VR costs twice as much, and warns of odd values nobody uses.
"""

from __future__ import annotations

import math
import os
import re
import stat
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from sadmil_core.dicom.codes import SkippedFile, SkipReason

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom import Dataset

_PIXEL_DATA = (0x7FE0, 0x0010)
_UNDEFINED_LENGTH = 0xFFFFFFFF
_ITEM, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
_DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})
_NO_CONTRAST = re.compile(r"(NO|NON|NONE|N|WITHOUT|W/O|WO|NIL|NATIVE|PLAIN|UNENHANCED|0)\b|[-.?]")
_VALID_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceHeader:
    """The header of one CT slice, in one file.

    Attributes:
        path: The file.
        file_stamp: Its size in bytes and modification time in ns when the header was read.
        position_mm: ImagePositionPatient, LPS, or None.
        orientation: The row and the column direction cosines (LPS), or None.
        pixel_spacing_mm: Distance between rows, then between columns, or None.
        pixel_offset: Where native pixel data starts in the file; None where it is compressed.
        slope: RescaleSlope; 1 where absent (then ``has_rescale`` is False).
        intercept: RescaleIntercept in HU; 0 where absent.
        padding: PixelPaddingValue and its range limit, stored values, smaller first, or None.
        window_hu: The file's own first display window (level, width), or None.
        is_phantom: QualityControlSubject is YES.
        modality: As the file names it; empty where it does not.
        body_part: BodyPartExamined.
        kernel: ConvolutionKernel, its first value.
        has_contrast: A contrast agent is named.
        description: Of series and protocol, free text that may name somebody: only to look for
            words in, never to be shown or written.
    """

    path: Path
    file_stamp: tuple[int, int]
    transfer_syntax: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    instance_number: int | None
    acquisition_number: int | None
    position_mm: Triple | None
    orientation: tuple[Triple, Triple] | None
    pixel_spacing_mm: tuple[float, float] | None
    slice_thickness_mm: float | None
    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    big_endian: bool
    inverted: bool
    slope: float
    intercept: float
    has_rescale: bool
    padding: tuple[int, int] | None
    window_hu: tuple[float, float] | None
    is_phantom: bool
    pixel_offset: int | None
    modality: str = ""
    body_part: str = ""
    kernel: str = ""
    has_contrast: bool = False
    description: str = ""

    @property
    def has_valid_uids(self) -> bool:
        """Whether the study, series and instance UIDs obey PS3.5 section 9."""
        uids = (self.study_instance_uid, self.series_instance_uid, self.sop_instance_uid)
        return all(len(uid) <= 64 and _VALID_UID.fullmatch(uid) for uid in uids)


def read_header(path: Path) -> SliceHeader | SkippedFile:
    """Reads the header of one file, without its pixels.

    Args:
        path: Any file.

    Returns:
        The header, or why the file is not a usable CT slice. Never raises for what is in
        the file.
    """
    try:
        if stat.S_ISFIFO(path.stat().st_mode):  # to open one would wait for ever
            return SkippedFile(path, SkipReason.NOT_DICOM, "a pipe, not a file")
        with path.open("rb") as stream:
            return _read(path, stream)
    except InvalidDicomError:
        if _starts_with_dataset(path):
            return SkippedFile(
                path, SkipReason.NO_PREAMBLE, "DICOM without preamble is not read yet"
            )
        return _not_dicom(path, "not a DICOM file")
    except PermissionError:
        return SkippedFile(path, SkipReason.UNREADABLE, "no permission to read it")
    except OSError as error:
        return SkippedFile(path, SkipReason.UNREADABLE, f"unreadable: {error.strerror or error}")
    # pydicom raises many kinds of errors on damaged bytes; all of them mean the same here.
    except Exception as error:  # noqa: BLE001
        return SkippedFile(
            path, SkipReason.DAMAGED, f"damaged header ({type(error).__name__}: {error})"
        )


def _starts_with_dataset(path: Path) -> bool:
    """Whether a file starts with an element of group 0008, as data sets without a head do."""
    try:
        with path.open("rb") as stream:
            start = stream.read(8)
    except OSError:
        return False
    if len(start) < 8 or start[:2] != b"\x08\x00":
        return False
    explicit = start[4:6].isalpha() and start[4:6].isupper()
    return explicit or int.from_bytes(start[4:8], "little") < 256


def _not_dicom(path: Path, message: str) -> SkippedFile:
    """A file without a DICOM head: foreign, unless its own name says it should have one."""
    # macOS leaves a file "._name" beside each file it copies to a foreign disk.
    if path.suffix.lower() in _DICOM_SUFFIXES and not path.name.startswith("._"):
        return SkippedFile(
            path, SkipReason.DAMAGED, f"damaged: {message}, though it is named as one"
        )
    return SkippedFile(path, SkipReason.NOT_DICOM, message)


def _read(path: Path, stream: BinaryIO) -> SliceHeader | SkippedFile:
    status = os.fstat(stream.fileno())
    if status.st_size == 0:
        return _not_dicom(path, "empty file")
    dataset = dcmread(stream, stop_before_pixels=True)
    elements = _Elements(dataset)
    series = elements.text(0x0020000E)

    problem = _why_not_a_ct_slice(elements, dataset)
    if problem is not None:
        return SkippedFile(path, *problem, series)
    header = _slice_header(path, elements, dataset, (status.st_size, status.st_mtime_ns))
    return _locate_pixels(header, stream, status.st_size)


def _why_not_a_ct_slice(elements: _Elements, dataset: Dataset) -> tuple[SkipReason, str] | None:
    """What keeps a DICOM file from being a CT slice; None where nothing does."""
    modality = elements.text(0x00080060)
    if modality and modality != "CT":
        return SkipReason.NOT_CT, f"not CT (modality {modality})"
    if not elements.integer(0x00280010) or not elements.integer(0x00280011):
        if _claims_ct_image(dataset):
            return SkipReason.INCOMPLETE_HEADER, "the header ends early or lacks the matrix"
        return SkipReason.NOT_AN_IMAGE, "no image in it"
    if not modality:
        return SkipReason.NOT_CT, "not CT (no modality)"
    if "LOCALIZER" in elements.text(0x00080008).upper().split("\\"):
        return SkipReason.LOCALIZER, "localizer (scout) image"
    if (elements.integer(0x00280002) or 1) != 1:
        return SkipReason.NOT_GRAYSCALE, "colour image"
    if (elements.integer(0x00280008) or 1) > 1 or 0x52009229 in elements:
        return SkipReason.MULTI_FRAME, "multi-frame (Enhanced) CT is not read yet"
    allocated, stored = elements.integer(0x00280100) or 16, elements.integer(0x00280101)
    if allocated not in (8, 16, 32) or not 1 <= (stored or allocated) <= allocated:
        return SkipReason.DAMAGED, f"damaged header ({stored} bits stored in {allocated})"
    if not elements.text(0x0020000E) or not elements.text(0x00080018):
        return SkipReason.INCOMPLETE_HEADER, "no series or instance UID"
    return None


def _claims_ct_image(dataset: Dataset) -> bool:
    """Whether a file that shows no image was to be a CT slice, or holds nothing at all."""
    declared = str(dataset.file_meta.get("MediaStorageSOPClassUID", ""))
    return declared == CTImageStorage or (not declared and len(dataset) == 0)


def _slice_header(
    path: Path, elements: _Elements, dataset: Dataset, stamp: tuple[int, int]
) -> SliceHeader:
    slope, intercept = elements.number(0x00281053), elements.number(0x00281052)
    signed = elements.integer(0x00280103) == 1
    bits_allocated = elements.integer(0x00280100) or 16
    position = elements.numbers(0x00200032, 3)
    cosines = elements.numbers(0x00200037, 6)
    spacing = elements.numbers(0x00280030, 2)
    syntax = str(dataset.file_meta.get("TransferSyntaxUID", ImplicitVRLittleEndian))
    return SliceHeader(
        path=path,
        file_stamp=stamp,
        transfer_syntax=syntax,
        study_instance_uid=elements.text(0x0020000D) or elements.text(0x0020000E),
        series_instance_uid=elements.text(0x0020000E),
        sop_instance_uid=elements.text(0x00080018),
        instance_number=elements.decimal_integer(0x00200013),
        acquisition_number=elements.decimal_integer(0x00200012),
        position_mm=(position[0], position[1], position[2]) if position else None,
        orientation=_directions(cosines),
        pixel_spacing_mm=(spacing[0], spacing[1]) if spacing and min(spacing) > 0 else None,
        slice_thickness_mm=elements.number(0x00180050),
        rows=elements.integer(0x00280010) or 0,
        columns=elements.integer(0x00280011) or 0,
        bits_allocated=bits_allocated,
        bits_stored=elements.integer(0x00280101) or bits_allocated,
        signed=signed,
        big_endian=syntax == ExplicitVRBigEndian,
        inverted=elements.text(0x00280004) == "MONOCHROME1",
        slope=1.0 if slope is None or slope == 0 else slope,
        intercept=0.0 if intercept is None else intercept,
        has_rescale=bool(slope) and intercept is not None,
        padding=_padding(elements, signed),
        window_hu=elements.window(),
        is_phantom=elements.text(0x00100200) == "YES",
        pixel_offset=None,
        modality=elements.text(0x00080060),
        body_part=elements.text(0x00180015),
        kernel=elements.text(0x00181210).split("\\")[0],
        has_contrast=_has_contrast(elements),
        description=f"{elements.text(0x0008103E)} {elements.text(0x00181030)}".strip(),
    )


def _has_contrast(elements: _Elements) -> bool:
    """Whether a contrast agent is named; some scanners write "none" for none."""
    agent = elements.text(0x00180010).upper()
    named = bool(agent) and not _NO_CONTRAST.match(agent)
    return named or elements.has_items(0x00180012)


def _directions(cosines: tuple[float, ...] | None) -> tuple[Triple, Triple] | None:
    """The row and column directions, or None where they are not two orthogonal unit vectors."""
    if cosines is None:
        return None
    row = (cosines[0], cosines[1], cosines[2])
    column = (cosines[3], cosines[4], cosines[5])
    lengths = (math.hypot(*row), math.hypot(*column))
    dot = sum(a * b for a, b in zip(row, column, strict=True))
    if any(abs(length - 1) > 0.01 for length in lengths) or abs(dot) > 0.01:
        return None
    return row, column


def _padding(elements: _Elements, signed: bool) -> tuple[int, int] | None:
    value = elements.integer(0x00280120, signed=signed)
    if value is None:
        return None
    limit = elements.integer(0x00280121, signed=signed)
    return (value, value) if limit is None else (min(value, limit), max(value, limit))


def _locate_pixels(header: SliceHeader, stream: BinaryIO, size: int) -> SliceHeader | SkippedFile:
    """Checks that the pixel data is there in full, and notes where native data starts.

    The stream stands at the Pixel Data element, where pydicom stopped.
    """

    def skip(reason: SkipReason, message: str) -> SkippedFile:
        return SkippedFile(header.path, reason, message, header.series_instance_uid)

    if header.transfer_syntax == DeflatedExplicitVRLittleEndian:
        return header  # pydicom stopped in an inflated copy; only decoding can tell
    at_end = stream.tell() >= size
    length = _enter_pixel_data(header, stream)
    if length is None:
        if at_end:
            return skip(SkipReason.TRUNCATED, "truncated: the file ends before the pixel data")
        return skip(SkipReason.NOT_AN_IMAGE, "no pixel data")
    if length == _UNDEFINED_LENGTH:
        if not _fragments_complete(stream, size):
            return skip(SkipReason.TRUNCATED, "truncated: the compressed image ends early")
        return header
    needed = header.rows * header.columns * header.bits_allocated // 8
    present = min(length, size - stream.tell())
    if present < needed:
        return skip(
            SkipReason.TRUNCATED, f"truncated: {present} of {needed} bytes of pixel data are there"
        )
    return replace(header, pixel_offset=stream.tell())


def _enter_pixel_data(header: SliceHeader, stream: BinaryIO) -> int | None:
    """Steps over the element's tag, VR and length; returns the length, None if it is not there."""
    order = ">" if header.big_endian else "<"
    head = stream.read(8)
    if len(head) < 8 or struct.unpack(f"{order}HH", head[:4]) != _PIXEL_DATA:
        return None
    if header.transfer_syntax == ImplicitVRLittleEndian:
        return int(struct.unpack("<L", head[4:])[0])
    rest = stream.read(4)
    return int(struct.unpack(f"{order}L", rest)[0]) if len(rest) == 4 else None


def _fragments_complete(stream: BinaryIO, size: int) -> bool:
    """Whether every fragment up to the sequence delimiter lies inside the file (PS3.5 A.4)."""
    while True:
        head = stream.read(8)
        if len(head) < 8:
            return False
        group, element, length = struct.unpack("<HHL", head)
        if (group, element) == _SEQUENCE_END:
            return True
        if (group, element) != _ITEM or stream.tell() + length > size:
            return False
        stream.seek(length, os.SEEK_CUR)


class _Elements:
    """Tolerant access to raw element values: what cannot be understood is None or empty."""

    def __init__(self, dataset: Dataset) -> None:
        # One pass: looking elements up by tag in the dataset costs more than reading them.
        self._elements: dict[int, Any] = {element.tag: element for element in dataset.values()}

    def __contains__(self, tag: int) -> bool:
        return tag in self._elements

    def _raw(self, tag: int) -> tuple[bytes, bool]:
        element = self._elements.get(tag)
        if element is None:
            return b"", True
        value = element.value
        return (value if isinstance(value, bytes) else b""), getattr(
            element, "is_little_endian", True
        )

    def has_items(self, tag: int) -> bool:
        """Whether a sequence is there and not empty, read or not."""
        element = self._elements.get(tag)
        return element is not None and bool(element.value)

    def text(self, tag: int) -> str:
        return self._raw(tag)[0].decode("ascii", "replace").strip(" \0")

    def integer(self, tag: int, *, signed: bool = False) -> int | None:
        """The first value of a US or SS element."""
        value, little = self._raw(tag)
        if len(value) < 2:
            return None
        return int.from_bytes(value[:2], "little" if little else "big", signed=signed)

    def decimal_integer(self, tag: int) -> int | None:
        """The value of an IS element."""
        value = self.number(tag)
        return None if value is None else int(value)

    def number(self, tag: int) -> float | None:
        """The first value of a DS or IS element."""
        try:
            value = float(self.text(tag).split("\\")[0])
        except ValueError:
            return None
        return value if math.isfinite(value) else None

    def numbers(self, tag: int, count: int) -> tuple[float, ...] | None:
        """Exactly ``count`` finite values of a DS element."""
        try:
            values = tuple(float(part) for part in self.text(tag).split("\\"))
        except ValueError:
            return None
        return values if len(values) == count and all(map(math.isfinite, values)) else None

    def window(self) -> tuple[float, float] | None:
        """The first display window (level, width) where it is a usable one."""
        level, width = self.number(0x00281050), self.number(0x00281051)
        return (level, width) if level is not None and width is not None and width >= 1 else None
