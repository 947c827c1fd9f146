"""The codes under which the reader reports what it met: warnings and skipped files.

A code is stable and machine-readable (reports carry codes); its message is for people.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def printable(text: str) -> str:
    """A text that can be shown anywhere: what is no printable character becomes U+FFFD.

    File names and headers may hold line ends, a terminal's commands, or bytes of no encoding.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


class WarningCode(StrEnum):
    """A departure the reader dealt with, and that the user must be able to see."""

    NO_POSITIONS = "NO_POSITIONS"
    NO_ORIENTATION = "NO_ORIENTATION"
    NOT_AXIAL = "NOT_AXIAL"
    TILTED = "TILTED"
    SHEARED = "SHEARED"
    UNEVEN_SPACING = "UNEVEN_SPACING"
    MISSING_SLICES = "MISSING_SLICES"
    DUPLICATES_DROPPED = "DUPLICATES_DROPPED"
    SERIES_SPLIT = "SERIES_SPLIT"
    INVALID_UID = "INVALID_UID"
    NO_STUDY_UID = "NO_STUDY_UID"
    REPEATED_UIDS = "REPEATED_UIDS"
    NO_RESCALE = "NO_RESCALE"
    NOT_HOUNSFIELD = "NOT_HOUNSFIELD"
    MODALITY_LUT = "MODALITY_LUT"
    NO_SIGN = "NO_SIGN"
    NO_BITS = "NO_BITS"
    ODD_HIGH_BIT = "ODD_HIGH_BIT"
    EXTRA_BYTES = "EXTRA_BYTES"
    NO_PIXEL_SPACING = "NO_PIXEL_SPACING"
    RSNA_12BIT_QUIRK = "RSNA_12BIT_QUIRK"
    RSNA_12BIT_UNMENDED = "RSNA_12BIT_UNMENDED"
    NO_PREAMBLE = "NO_PREAMBLE"
    WRONG_SYNTAX = "WRONG_SYNTAX"
    UNKNOWN_CHARACTER_SET = "UNKNOWN_CHARACTER_SET"
    VOLUME_FILE = "VOLUME_FILE"
    NIFTI_PLACEMENT = "NIFTI_PLACEMENT"
    MIXED_STACKS = "MIXED_STACKS"
    FILES_SKIPPED = "FILES_SKIPPED"
    SLICES_UNDECODABLE = "SLICES_UNDECODABLE"
    PHANTOM = "PHANTOM"
    # Raised by preprocessing and prediction, not by reading.
    NO_HEAD_FOUND = "NO_HEAD_FOUND"
    HEAD_CUT = "HEAD_CUT"
    ROUNDED_TO_STORE = "ROUNDED_TO_STORE"
    TOO_FEW_SLICES = "TOO_FEW_SLICES"
    UNFIT = "UNFIT"
    SCORED_THOUGH_UNFIT = "SCORED_THOUGH_UNFIT"
    READ_FAILED = "READ_FAILED"
    NOT_SCORED = "NOT_SCORED"
    MODEL_FOR_PHANTOMS = "MODEL_FOR_PHANTOMS"
    DEVICE_FALLBACK = "DEVICE_FALLBACK"

    @property
    def is_caution(self) -> bool:
        """Whether order, Hounsfield units, distances or completeness may be in doubt.

        The others are worth knowing, but a sign on every series would soon be overlooked.
        """
        return self not in _WORTH_KNOWING


_WORTH_KNOWING = frozenset(
    {
        WarningCode.TILTED,
        WarningCode.INVALID_UID,
        WarningCode.NO_PREAMBLE,
        WarningCode.WRONG_SYNTAX,
        WarningCode.ODD_HIGH_BIT,
        WarningCode.UNKNOWN_CHARACTER_SET,
        WarningCode.PHANTOM,
    }
)


@dataclass(frozen=True, slots=True)
class CodedWarning:
    """One warning about a stack.

    Attributes:
        code: What kind of departure.
        message: A sentence for people, with the values that matter.
    """

    code: WarningCode
    message: str


class SkipReason(StrEnum):
    """Why a file is not part of any stack."""

    NOT_DICOM = "NOT_DICOM"
    NOT_AN_IMAGE = "NOT_AN_IMAGE"
    NOT_CT = "NOT_CT"
    LOCALIZER = "LOCALIZER"
    NOT_GRAYSCALE = "NOT_GRAYSCALE"
    INCOMPLETE_HEADER = "INCOMPLETE_HEADER"
    DAMAGED = "DAMAGED"
    TRUNCATED = "TRUNCATED"
    UNREADABLE = "UNREADABLE"
    UNSUPPORTED_SYNTAX = "UNSUPPORTED_SYNTAX"
    ABSENT = "ABSENT"
    DICOMDIR_UNUSABLE = "DICOMDIR_UNUSABLE"
    # Of volume files.
    NOT_A_VOLUME = "NOT_A_VOLUME"
    BAD_GEOMETRY = "BAD_GEOMETRY"
    # Of archives and their members.
    UNSAFE_NAME = "UNSAFE_NAME"
    ARCHIVE_LIMIT = "ARCHIVE_LIMIT"
    ENCRYPTED = "ENCRYPTED"
    UNSUPPORTED_COMPRESSION = "UNSUPPORTED_COMPRESSION"
    NESTED_ARCHIVE = "NESTED_ARCHIVE"

    @property
    def is_failure(self) -> bool:
        """Whether CT data may have been lost, rather than something else rightly passed over."""
        return self not in _HARMLESS


_HARMLESS = frozenset(
    {
        SkipReason.NOT_DICOM,
        SkipReason.NOT_AN_IMAGE,
        SkipReason.NOT_CT,
        SkipReason.LOCALIZER,
        SkipReason.NOT_GRAYSCALE,
    }
)


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A file that was passed over.

    Attributes:
        path: The file.
        reason: Why, as a code.
        message: Why, for people.
        series_instance_uid: The series it says it belongs to, where its header could be read.
    """

    path: Path
    reason: SkipReason
    message: str
    series_instance_uid: str = ""
