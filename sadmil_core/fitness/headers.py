"""Fitness from tags and geometry, without a pixel."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.dicom import WarningCode
from sadmil_core.fitness.verdict import FitnessCode, FitnessLevel, FitnessReason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sadmil_core.dicom import StackEntry

MIN_FIT_SLICES = 8
"""Fewer slices are unfit. Brains are 100 to 140 mm high, so that fewer slices of up to 10 mm leave
most of one unseen, and a negative answer would be about the part only. The scans the published
network learned from have 24 to 57."""
MAX_LEAN_DEG = 30.0
"""No gantry tilts further: beyond it the slices are an oblique reformat, or the head lay oddly.
Tilts below are ordinary in head CT, where they spare the eyes, and the training data is full of
them."""
UNEVEN_RATIO = 2.5
"""Head protocols often run 2.5 mm through the posterior fossa and 5 mm above it: a ratio of 2."""
MAX_THICKNESS_MM = 10.0
"""Thicker slices average small bleeds away: a clot of 5 mm at 60 HU in brain of 30 HU shows as
45 HU in a slice of 10 mm."""
MIN_FIELD_MM, MAX_FIELD_MM = 180.0, 320.0
"""The network sees the matrix, not millimetres, and learned from fields of about 200 to 260 mm.
An adult head is up to 200 mm long, so a smaller field cuts it off or magnifies it; in a larger one
a head fills less than half of the image it was learned in."""
MAX_FIELD_RATIO = 1.1
"""Height to width of the field, either way: the network's input is square, so an oblong field
is squeezed into it."""

_UNITS = (WarningCode.NO_RESCALE, WarningCode.NOT_HOUNSFIELD, WarningCode.MODALITY_LUT)
_CAUTION, _UNFIT = FitnessLevel.CAUTION, FitnessLevel.UNFIT

_HEAD = re.compile(
    r"\b(?:HEAD|BRAIN|SKULL|CRANI|CRANE|CEREB|NEURO|KOPF|SCHAEDEL|SCHADEL|HIRN|CABEZA|TETE|ENCEF)"
)
_NEAR_THE_HEAD = re.compile(
    r"\b(?:NECK|C ?SPINE|CERVI|FACE\b|FACIAL|ORBIT|SINUS|JAWS?\b|MAXILL|MANDIB|NOSE|EARS?\b|IACS?\b"
    r"|TEMPORAL|PITUIT|SELLA|DENTAL)"
)
_ELSEWHERE = re.compile(
    r"\b(?:CHEST|THORA|LUNG|HEART|CARDI|CORONARY|BREAST|AORTA|ABD|PELVI|LIVER|KIDNEY|RENAL|COLON"
    r"|PANCREA|[LT] ?SPINE|SPINE|LUMBAR|SACR|SHOULDER|CLAVIC|ARMS?\b|ELBOW|WRIST|HANDS?\b|HIPS?\b"
    r"|FEMUR|THIGH|KNEE|LEGS?\b|ANKLE|FOOT|FEET|EXTREMIT|WHOLE ?BODY)"
)
_ENHANCED = re.compile(r"\b(?:CTA\b|CTV\b|CTP\b|ANGIO|PERFUSION)")

# Siemens numbers kernels by sharpness, from 10 (soft) to 99, after a letter for the body region
# and, on newer scanners, one more (H60s, J70h, Hr64); head protocols read brain from 30 to 40 and
# bone from 60 on. GE names them; Canon's FC30 to 39 and FC80 to 89 are for bone. Philips' letters
# mean different things from scanner to scanner: there the noise in the pixels must tell.
_SHARP = re.compile(r"(?!FC)[A-Z][A-Z]?[6-9]\d[A-Z]?|BONE.*|EDGE.*|LUNG.*|FC[38]\d")


def header_reasons(entry: StackEntry) -> tuple[FitnessReason, ...]:
    """What tags and geometry say against scoring a stack.

    Args:
        entry: From an index, or as loaded.
    """
    found = (*_of_kind(entry), *_of_order(entry), *_of_slices(entry), *_of_plane(entry))
    return (*found, *_of_acquisition(entry))


def _of_kind(entry: StackEntry) -> Iterator[FitnessReason]:
    """CT, and of a head?"""
    # The DICOM reader takes CT only; volume formats do not say what they hold.
    modality = next((h.modality for h in entry.slices if h.modality != "CT"), "CT")
    if not modality:
        yield FitnessReason(
            FitnessCode.NO_MODALITY, _CAUTION, "the file does not say whether it is CT"
        )
    elif modality != "CT":
        yield FitnessReason(FitnessCode.NOT_CT, _UNFIT, f"not CT (modality {modality[:16]})")
    part = _letters(next((h.body_part for h in entry.slices if h.body_part), ""))
    described = _letters(next((h.description for h in entry.slices if h.description), ""))
    level = _other_part(part, described)
    if level is not None:
        # The description is free text and may name somebody: only the coded tag is quoted.
        source = f"the tag names {part.lower()[:16]}" if part else "the description names another"
        yield FitnessReason(
            FitnessCode.OTHER_BODY_PART, level, f"{source} as the body part, not the head"
        )
    if any(h.has_contrast for h in entry.slices) or _ENHANCED.search(described):
        # Enhanced vessels and tumours are as bright as clotted blood: false alarms, and in the
        # subarachnoid space bleeds that go under. The training data is without contrast.
        yield FitnessReason(
            FitnessCode.CONTRAST, _CAUTION, "contrast medium was given; it can pass for blood"
        )


def _letters(text: str) -> str:
    """Upper-case words, whatever stands between them."""
    return " ".join(re.findall("[A-Z]+", text.upper()))


def _other_part(part: str, described: str) -> FitnessLevel | None:
    """How surely another part of the body is named; None where none is, or the head too.

    BodyPartExamined follows the protocol, not the patient: 15 % of entries were wrong in the
    survey of Gueld et al. 2002 (doi 10.1117/12.467017). It is enough not to score by itself,
    until the pixels say otherwise; descriptions never are.
    """
    if _HEAD.search(part) or (not part and _HEAD.search(described)):
        return None
    if _NEAR_THE_HEAD.search(part):
        return _CAUTION
    if _ELSEWHERE.search(part):
        return _CAUTION if _HEAD.search(described) else _UNFIT
    if not _HEAD.search(described) and (
        _NEAR_THE_HEAD.search(described) or _ELSEWHERE.search(described)
    ):
        return _CAUTION
    return None


def _of_order(entry: StackEntry) -> Iterator[FitnessReason]:
    """Direction and order of the slices."""
    geometry = entry.geometry
    lean = math.degrees(math.acos(min(1.0, abs(geometry.normal[2]))))
    if not geometry.has_orientation:
        yield FitnessReason(
            FitnessCode.NO_ORIENTATION,
            _CAUTION,
            "no orientation in the files: the slices may not be axial, and sides are not known",
        )
    elif not geometry.is_axial:
        yield FitnessReason(
            FitnessCode.NOT_AXIAL, _UNFIT, f"not axial: the slices lean {lean:.0f} degrees"
        )
    elif lean > MAX_LEAN_DEG:
        yield FitnessReason(
            FitnessCode.TILT, _CAUTION, f"the slices lean {lean:.0f} degrees, more than any gantry"
        )
    if not geometry.has_positions:
        # Pooling weighs slices alike in any order, so that the scan's probability stands; but
        # gaps cannot be seen, nor runs of marked slices trusted.
        yield FitnessReason(
            FitnessCode.NO_POSITIONS,
            _CAUTION,
            "no positions in the files: order and completeness are not known",
        )


def _of_slices(entry: StackEntry) -> Iterator[FitnessReason]:
    """Number, spacing and thickness."""
    count, geometry = len(entry.slices), entry.geometry
    if count < MIN_FIT_SLICES:
        yield FitnessReason(
            FitnessCode.TOO_FEW_SLICES,
            _UNFIT,
            f"{count} slice(s): at least {MIN_FIT_SLICES} are needed to cover a brain",
        )
    gaps = (0,) * (count - 1)
    if WarningCode.MISSING_SLICES in entry.warning_codes:  # cheaper than to look for them again
        gaps = geometry.missing_after
        yield FitnessReason(
            FitnessCode.MISSING_SLICES,
            _CAUTION,
            f"about {sum(gaps)} slice(s) missing inside the stack: what they show is not scored",
        )
    if entry.skipped:
        yield FitnessReason(
            FitnessCode.SLICES_LOST,
            _CAUTION,
            f"{len(entry.skipped)} file(s) of the series could not be used",
        )
    if WarningCode.MIXED_STACKS in entry.warning_codes:
        yield FitnessReason(
            FitnessCode.MIXED_STACKS,
            _CAUTION,
            "images of different reconstructions may stand in one stack",
        )
    steps = [step for step, gap in zip(geometry.spacings_mm, gaps, strict=True) if not gap]
    if geometry.has_positions and len(steps) > 1:
        # Percentiles, because one odd step where two blocks of a protocol meet harms nothing.
        low, high = np.percentile(steps, (10, 90), method="nearest")
        if high > UNEVEN_RATIO * low:
            yield FitnessReason(
                FitnessCode.UNEVEN_SPACING, _CAUTION, f"slices {low:.1f} to {high:.1f} mm apart"
            )
    thickness = max((h.slice_thickness_mm or 0.0 for h in entry.slices), default=0.0)
    spacing = geometry.spacing_mm if geometry.has_positions else 0.0
    if max(thickness, spacing) > MAX_THICKNESS_MM:
        what = "thick" if thickness >= spacing else "apart"
        yield FitnessReason(
            FitnessCode.THICK_SLICES,
            _CAUTION,
            f"slices {max(thickness, spacing):.1f} mm {what}: small bleeds may not show",
        )


def _of_plane(entry: StackEntry) -> Iterator[FitnessReason]:
    """Pixel spacing and field of view."""
    if entry.slices[0].pixel_spacing_mm is None:
        yield FitnessReason(
            FitnessCode.NO_PIXEL_SPACING, _CAUTION, "sizes in mm, and so the field, are not known"
        )
        return
    _, rows, columns = entry.shape
    height = rows * entry.geometry.row_spacing_mm
    width = columns * entry.geometry.column_spacing_mm
    small, large = min(height, width), max(height, width)
    if small < MIN_FIELD_MM or large > MAX_FIELD_MM or large > MAX_FIELD_RATIO * small:
        yield FitnessReason(
            FitnessCode.FIELD_OF_VIEW,
            _CAUTION,
            f"field of view {width:.0f} x {height:.0f} mm; ordinary is a square of "
            f"{MIN_FIELD_MM:.0f} to {MAX_FIELD_MM:.0f}",
        )


def _of_acquisition(entry: StackEntry) -> Iterator[FitnessReason]:
    """Units and kernel."""
    if any(warning.code in _UNITS for warning in entry.warnings):
        # Only a caution: often they are Hounsfield units all the same, and the pixels will tell.
        yield FitnessReason(
            FitnessCode.UNCERTAIN_UNITS,
            _CAUTION,
            "the files do not say that their values are Hounsfield units",
        )
    kernel = next((h.kernel for h in entry.slices if _SHARP.fullmatch(h.kernel.upper())), "")
    if kernel:
        yield FitnessReason(
            FitnessCode.SHARP_KERNEL,
            _CAUTION,
            f"sharp reconstruction kernel ({kernel[:16]}): noise hides faint bleeds",
        )
