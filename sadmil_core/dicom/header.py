"""One file's header: what is needed to place, decode and convert its CT slices."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO

from pydicom.charset import python_encoding
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
)

from sadmil_core.dicom.codes import SkippedFile, SkipReason, WarningCode
from sadmil_core.dicom.elements import (
    GE_PRIVATE_SYNTAX,
    UNDEFINED_LENGTH,
    CutError,
    DamagedError,
    Elements,
    NotDicomError,
    read_elements,
)
from sadmil_core.dicom.multiframe import frame_headers
from sadmil_core.dicom.pixels import Fragment, find_fragments, frames_of
from sadmil_core.dicom.plausible import (
    directions,
    is_hounsfield,
    pixel_spacing,
    place,
    rescale,
    window,
)
from sadmil_core.dicom.refusal import bits_of, why_not_a_ct_slice, why_not_decodable
from sadmil_core.dicom.syntaxes import NATIVE

if TYPE_CHECKING:
    from pathlib import Path

_PIXEL_DATA = 0x7FE00010
_EXTENDED_OFFSETS = 0x7FE00001
_MODALITY_LUT, _PER_FRAME_GROUPS = 0x00283000, 0x52009229
NIFTI, NRRD, METAIMAGE = "NIfTI", "NRRD", "MetaImage"
"""Volume files, whose format stands in place of a transfer syntax."""
DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})
_NO_CONTRAST = re.compile(r"(NO|NON|NONE|N|WITHOUT|W/O|WO|NIL|NATIVE|PLAIN|UNENHANCED|0)\b|[-.?]")
_MAX_FRAMES = 1 << 16
_VALID_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")
_WANTED = frozenset(
    {
        0x00080005,  # SpecificCharacterSet
        0x00080008,  # ImageType
        0x00080016,  # SOPClassUID
        0x00080018,  # SOPInstanceUID
        0x00080060,  # Modality
        0x0008103E,  # SeriesDescription
        0x00100200,  # QualityControlSubject
        0x00180010,  # ContrastBolusAgent
        0x00180012,  # ContrastBolusAgentSequence
        0x00180015,  # BodyPartExamined
        0x00180050,  # SliceThickness
        0x00181030,  # ProtocolName
        0x00181210,  # ConvolutionKernel
        0x0020000D,  # StudyInstanceUID
        0x0020000E,  # SeriesInstanceUID
        0x00200012,  # AcquisitionNumber
        0x00200013,  # InstanceNumber
        0x00200032,  # ImagePositionPatient
        0x00200037,  # ImageOrientationPatient
        0x00280002,  # SamplesPerPixel
        0x00280004,  # PhotometricInterpretation
        0x00280008,  # NumberOfFrames
        0x00280010,  # Rows
        0x00280011,  # Columns
        0x00280030,  # PixelSpacing
        0x00280100,  # BitsAllocated
        0x00280101,  # BitsStored
        0x00280102,  # HighBit
        0x00280103,  # PixelRepresentation
        0x00280120,  # PixelPaddingValue
        0x00280121,  # PixelPaddingRangeLimit
        0x00281050,  # WindowCenter
        0x00281051,  # WindowWidth
        0x00281052,  # RescaleIntercept
        0x00281053,  # RescaleSlope
        0x00281054,  # RescaleType
        _MODALITY_LUT,
        _PER_FRAME_GROUPS,
        _EXTENDED_OFFSETS,
    }
)

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceHeader:
    """The header of one CT slice: a file, or one frame of a file.

    Attributes:
        path: The file.
        file_stamp: Its size in bytes and modification time in ns when the header was read.
        transfer_syntax: UID of the encoding, or the name of another format than DICOM.
        frame_number: The frame, counted from 1; None where the file has a single one.
        position_mm: ImagePositionPatient, LPS, or None.
        orientation: The row and the column direction cosines (LPS), or None.
        pixel_spacing_mm: Distance between rows, then between columns, or None.
        high_bit: The bit of each word in which the stored value's highest one stands.
        big_endian: Byte order of native pixel words.
        slope: RescaleSlope; 1 where absent (then ``has_rescale`` is False).
        intercept: RescaleIntercept in HU; 0 where absent.
        has_modality_lut: A table stands in place of slope and intercept.
        padding: PixelPaddingValue and its range limit, stored values, smaller first, or None.
        window_hu: The file's own first display window (level, width), or None.
        is_phantom: QualityControlSubject is YES.
        image_type: ImageType, or FrameType; upper case, parted by backslashes.
        kernel: ConvolutionKernel, its first value, or empty.
        body_part: BodyPartExamined, or empty.
        has_contrast: A contrast agent is named.
        modality: As the file names it; empty where it does not.
        description: Of series and protocol, free text that may name somebody: only to look for
            words in, never to be shown or written.
        pixel_offset: Where the slice's native pixel data starts in the file, or None.
        fragments: Where the fragments of the slice's compressed pixel data stand; empty where
            it is native, and in a deflated file.
        departures: What is odd about the file and was dealt with.
        is_fractional: Stored values are floating-point numbers, as volume files may hold.
    """

    path: Path
    file_stamp: tuple[int, int]
    transfer_syntax: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    frame_number: int | None = None
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
    high_bit: int
    signed: bool
    big_endian: bool = False
    inverted: bool = False
    slope: float = 1.0
    intercept: float = 0.0
    has_rescale: bool
    has_modality_lut: bool = False
    padding: tuple[int, int] | None = None
    window_hu: tuple[float, float] | None = None
    is_phantom: bool = False
    image_type: str = ""
    kernel: str = ""
    body_part: str = ""
    has_contrast: bool = False
    modality: str = ""
    description: str = ""
    pixel_offset: int | None = None
    fragments: tuple[Fragment, ...] = ()
    departures: tuple[WarningCode, ...] = ()
    is_fractional: bool = False

    @property
    def is_volume(self) -> bool:
        """Whether it is a slice of a NIfTI, NRRD or MetaImage file."""
        return self.transfer_syntax in (NIFTI, NRRD, METAIMAGE)

    @property
    def has_valid_uids(self) -> bool:
        """Whether the study, series and instance UIDs obey PS3.5 section 9."""
        uids = (self.study_instance_uid, self.series_instance_uid, self.sop_instance_uid)
        return all(len(uid) <= 64 and _VALID_UID.fullmatch(uid) for uid in uids)

    @property
    def is_compressed(self) -> bool:
        """Whether its pixels have to go through a decoder."""
        return bool(self.fragments) or self.is_volume


def read_headers(path: Path) -> tuple[SliceHeader, ...] | SkippedFile:
    """Reads the headers of the slices in one file, without their pixels.

    Args:
        path: Any file.

    Returns:
        One header a frame, in the order of the file; or why the file is of no use. Never
        raises for what is in the file.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe would wait for ever
            return SkippedFile(path, SkipReason.NOT_DICOM, "a pipe or a device, not a file")
        with path.open("rb") as stream:
            return _read(path, stream)
    except NotDicomError as error:
        return _not_dicom(path, str(error))
    except CutError as error:
        series = error.elements.text(0x0020000E)
        return SkippedFile(path, SkipReason.TRUNCATED, f"truncated: {error}", series)
    except PermissionError:
        return SkippedFile(path, SkipReason.UNREADABLE, "no permission to read it")
    except OSError as error:
        return SkippedFile(path, SkipReason.UNREADABLE, f"unreadable: {error.strerror or error}")
    # Damaged bytes raise many kinds of errors; all of them mean the same here.
    except Exception as error:  # noqa: BLE001
        return _damaged(path, error)


def _damaged(path: Path, error: Exception, series: str = "") -> SkippedFile:
    """A file with something wrong in it: what, where this package found it itself."""
    what = str(error) if isinstance(error, DamagedError) else type(error).__name__
    return SkippedFile(path, SkipReason.DAMAGED, f"damaged header ({what})", series)


def _not_dicom(path: Path, message: str) -> SkippedFile:
    """A file without a DICOM head: foreign, unless its own name says it should have one."""
    # macOS leaves a file "._name" beside each file it copies to a foreign disk.
    if path.suffix.lower() in DICOM_SUFFIXES and not path.name.startswith("._"):
        return SkippedFile(
            path, SkipReason.DAMAGED, f"damaged: {message}, though it is named as one"
        )
    return SkippedFile(path, SkipReason.NOT_DICOM, message)


def _read(path: Path, stream: BinaryIO) -> tuple[SliceHeader, ...] | SkippedFile:
    status = os.fstat(stream.fileno())
    if status.st_size == 0:
        return _not_dicom(path, "empty file")
    try:
        elements = read_elements(stream, status.st_size, _WANTED)
    except DamagedError:
        stream.seek(0)
        if stream.read(132)[128:] != b"DICM":  # nothing says that it was to be DICOM
            return _not_dicom(path, "not a DICOM file")
        raise
    series = elements.text(0x0020000E)
    problem = why_not_a_ct_slice(elements) or why_not_decodable(elements)
    if problem is not None:
        return SkippedFile(path, *problem, series)
    header = _slice_header(path, elements, (status.st_size, status.st_mtime_ns))
    try:
        return _frames(header, elements, stream)
    except CutError as error:
        return SkippedFile(path, SkipReason.TRUNCATED, f"truncated: {error}", series)
    except OSError:
        raise
    # As in read_headers; here the series is known.
    except Exception as error:  # noqa: BLE001
        return _damaged(path, error, series)


def _frames(header: SliceHeader, elements: Elements, stream: BinaryIO) -> tuple[SliceHeader, ...]:
    """The header of each frame, the places of its pixels in it.

    Raises:
        CutError: The pixel data is not there in full.
        DamagedError: Frames, groups and pixels do not agree.
    """
    # The pixels first: what a header says of the number of frames is not to be believed.
    places, extra = _locate_pixels(header, elements, stream)
    if extra:
        header = replace(header, departures=(*header.departures, WarningCode.EXTRA_BYTES))
    frames: tuple[SliceHeader, ...] = (header,)
    has_groups = _PER_FRAME_GROUPS in elements
    if len(places) > 1 or has_groups:
        stream.seek(0)
        frames = frame_headers(header, stream, len(places), has_groups=has_groups)
    return tuple(
        replace(frame, pixel_offset=offset, fragments=fragments)
        for frame, (offset, fragments) in zip(frames, places, strict=True)
    )


def _slice_header(path: Path, elements: Elements, stamp: tuple[int, int]) -> SliceHeader:
    linear = rescale(elements.number(0x00281053), elements.number(0x00281052))
    signed = elements.integer(0x00280103) == 1
    bits_allocated, bits_stored, high_bit = bits_of(elements)
    syntax = elements.transfer_syntax
    return SliceHeader(
        path=path,
        file_stamp=stamp,
        transfer_syntax=syntax,
        study_instance_uid=elements.text(0x0020000D) or elements.text(0x0020000E),
        series_instance_uid=elements.text(0x0020000E),
        sop_instance_uid=elements.text(0x00080018),
        instance_number=elements.decimal_integer(0x00200013),
        acquisition_number=elements.decimal_integer(0x00200012),
        position_mm=place(elements.numbers(0x00200032, 3)),
        orientation=directions(elements.numbers(0x00200037, 6)),
        pixel_spacing_mm=pixel_spacing(elements.numbers(0x00280030, 2)),
        slice_thickness_mm=elements.number(0x00180050),
        rows=elements.integer(0x00280010) or 0,
        columns=elements.integer(0x00280011) or 0,
        bits_allocated=bits_allocated,
        bits_stored=bits_stored,
        high_bit=high_bit,
        signed=signed,
        big_endian=not elements.little_endian or syntax == GE_PRIVATE_SYNTAX,
        inverted=elements.text(0x00280004) == "MONOCHROME1",
        slope=linear[0] if linear else 1.0,
        intercept=linear[1] if linear else 0.0,
        has_rescale=linear is not None,
        # CT has slope and intercept; where both stand there, the table is the stray one.
        has_modality_lut=_MODALITY_LUT in elements and linear is None,
        padding=_padding(elements, signed),
        window_hu=window(elements.number(0x00281050), elements.number(0x00281051)),
        is_phantom=elements.text(0x00100200) == "YES",
        image_type=elements.text(0x00080008).upper(),
        kernel=elements.text(0x00181210).split("\\")[0].strip(),
        body_part=elements.text(0x00180015).upper(),
        has_contrast=_has_contrast(elements),
        modality=elements.text(0x00080060),
        description=f"{elements.text(0x0008103E)} {elements.text(0x00181030)}".strip(),
        departures=tuple(_departures(elements, bits_stored, high_bit)),
    )


def _has_contrast(elements: Elements) -> bool:
    """Whether a contrast agent is named; some scanners write "none" for none."""
    agent = elements.text(0x00180010).upper()
    named = bool(agent) and not _NO_CONTRAST.match(agent)
    return named or 0x00180012 in elements


def _departures(elements: Elements, bits_stored: int, high_bit: int) -> list[WarningCode]:
    """What is odd about a file and was dealt with."""
    found: list[WarningCode] = []
    if not elements.has_preamble:
        found.append(WarningCode.NO_PREAMBLE)
    is_native = elements.pixels is not None and elements.pixels.length != UNDEFINED_LENGTH
    unstated = elements.has_preamble and not elements.has_stated_syntax
    if (
        not elements.follows_syntax
        or unstated
        or (is_native and elements.transfer_syntax not in NATIVE)
    ):
        found.append(WarningCode.WRONG_SYNTAX)
    if not elements.integer(0x00280100) or not elements.integer(0x00280101):
        found.append(WarningCode.NO_BITS)
    if elements.integer(0x00280103) not in (0, 1):
        found.append(WarningCode.NO_SIGN)
    if high_bit != bits_stored - 1 or elements.integer(0x00280102) not in (None, high_bit):
        found.append(WarningCode.ODD_HIGH_BIT)
    if not is_hounsfield(elements.text(0x00281054)):
        found.append(WarningCode.NOT_HOUNSFIELD)
    if not _knows_characters(elements.text(0x00080005)):
        found.append(WarningCode.UNKNOWN_CHARACTER_SET)
    return found


def _knows_characters(character_set: str) -> bool:
    return all(term.strip() in python_encoding for term in character_set.split("\\"))


def _padding(elements: Elements, signed: bool) -> tuple[int, int] | None:
    value = elements.integer(0x00280120, signed=signed)
    if value is None:
        return None
    limit = elements.integer(0x00280121, signed=signed)
    return (value, value) if limit is None else (min(value, limit), max(value, limit))


def _locate_pixels(
    header: SliceHeader, elements: Elements, stream: BinaryIO
) -> tuple[list[tuple[int | None, tuple[Fragment, ...]]], bool]:
    """Where each frame's pixels stand, and whether there are more bytes than they need.

    Raises:
        CutError: They are not there in full.
        DamagedError: The frames cannot be told apart, or are impossibly many.
    """
    pixels, size = elements.pixels, header.file_stamp[0]
    assert pixels is not None
    count = max(elements.decimal_integer(0x00280008) or 1, 1)
    if count > _MAX_FRAMES:
        raise DamagedError("impossibly many frames")
    if pixels.length == UNDEFINED_LENGTH:
        found = find_fragments(stream, pixels.offset, size)
        if found is None:
            raise CutError("the compressed image ends early", elements)
        dealt = frames_of(*found, elements.raw(_EXTENDED_OFFSETS), count)
        return [(None, parts) for parts in dealt], False
    step = header.rows * header.columns * header.bits_allocated // 8
    needed = step * count
    if pixels.present < needed:
        message = f"{pixels.present} of {needed} bytes of pixel data are there"
        raise CutError(message, elements)
    extra = pixels.length > needed + needed % 2
    if header.transfer_syntax == DeflatedExplicitVRLittleEndian:
        return [(None, ())] * count, extra  # the place is one in the inflated data set
    extra |= _has_tail(stream, pixels.offset + pixels.length, elements.little_endian)
    return [(pixels.offset + k * step, ()) for k in range(count)], extra


def _has_tail(stream: BinaryIO, end: int, little: bool) -> bool:
    """Whether something other than elements stands behind the pixels."""
    stream.seek(end)
    tail = stream.read(8)
    group = int.from_bytes(tail[:2], "little" if little else "big")
    return bool(tail) and (len(tail) < 8 or group < 0x7FE0)
