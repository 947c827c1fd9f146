"""Why a DICOM file is no CT slice, or one that cannot be decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
)

from sadmil_core.dicom.codes import SkipReason
from sadmil_core.dicom.elements import UNDEFINED_LENGTH
from sadmil_core.dicom.syntaxes import NATIVE, can_decode

if TYPE_CHECKING:
    from sadmil_core.dicom.elements import Elements

_PIXEL_DATA = 0x7FE00010
_CT_CLASSES = frozenset(
    {CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage}
)
_COLOUR = ("PALETTE", "RGB", "ARGB", "YBR", "HSV", "CMYK")


def why_not_a_ct_slice(elements: Elements) -> tuple[SkipReason, str] | None:
    """What keeps a DICOM file from being a CT slice; None where nothing does."""
    modality = elements.text(0x00080060)
    if modality and modality != "CT":
        return SkipReason.NOT_CT, f"not CT (modality {modality[:16]})"
    is_ct_class = not _CT_CLASSES.isdisjoint((elements.media_storage, elements.text(0x00080016)))
    if not elements.integer(0x00280010) or not elements.integer(0x00280011):
        if is_ct_class or not (elements.media_storage or elements.count):
            return SkipReason.INCOMPLETE_HEADER, "the header ends early or lacks the matrix"
        return SkipReason.NOT_AN_IMAGE, "no image in it"
    if not modality:
        if is_ct_class:
            return SkipReason.INCOMPLETE_HEADER, "no modality, though it is stored as CT"
        return SkipReason.NOT_CT, "not CT (no modality)"
    if any(part.strip() == "LOCALIZER" for part in elements.text(0x00080008).upper().split("\\")):
        return SkipReason.LOCALIZER, "localizer (scout) image"
    is_colour = elements.text(0x00280004).startswith(_COLOUR)
    if is_colour or (elements.integer(0x00280002) or 1) != 1:
        return SkipReason.NOT_GRAYSCALE, "colour image"
    allocated, stored, _ = bits_of(elements)
    if allocated not in (8, 16, 32) or not 1 <= stored <= allocated:
        return SkipReason.DAMAGED, f"damaged header ({stored} bits stored in {allocated})"
    if not elements.text(0x0020000E) or not elements.text(0x00080018):
        return SkipReason.INCOMPLETE_HEADER, "no series or instance UID"
    return None


def why_not_decodable(elements: Elements) -> tuple[SkipReason, str] | None:
    """What keeps the pixels of a CT image from being read; None where nothing does."""
    pixels, syntax = elements.pixels, elements.transfer_syntax
    if pixels is None:
        return SkipReason.TRUNCATED, "truncated: the file ends before the pixel data"
    if pixels.tag != _PIXEL_DATA:
        return SkipReason.UNSUPPORTED_SYNTAX, "floating-point pixel data, which CT does not have"
    if pixels.length != UNDEFINED_LENGTH:
        return None
    if not elements.has_stated_syntax:
        return SkipReason.UNSUPPORTED_SYNTAX, "compressed, and does not say how"
    if syntax in NATIVE:
        return SkipReason.UNSUPPORTED_SYNTAX, "compressed, though its transfer syntax says not"
    if not can_decode(syntax):
        name = UID(syntax).name[:64]
        return SkipReason.UNSUPPORTED_SYNTAX, f"compressed as {name}, which is not read"
    return None


def bits_of(elements: Elements) -> tuple[int, int, int]:
    """Bits allocated, bits stored and high bit; from one another where they are missing."""
    allocated = elements.integer(0x00280100) or 16
    high = elements.integer(0x00280102)
    above = allocated if high is None else min(high + 1, allocated)
    stored = elements.integer(0x00280101) or above
    if high is None or not stored <= high + 1 <= allocated:
        high = stored - 1
    return allocated, stored, high
