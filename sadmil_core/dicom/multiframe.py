"""Enhanced and other multi-frame CT: one header a frame, from the functional groups."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO

from pydicom import dcmread

from sadmil_core.dicom.codes import WarningCode
from sadmil_core.dicom.elements import DamagedError, spells_number
from sadmil_core.dicom.plausible import (
    directions,
    is_hounsfield,
    pixel_spacing,
    place,
    rescale,
    window,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom import Dataset

    from sadmil_core.dicom.header import SliceHeader

_SHARED, _PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"


def frame_headers(
    header: SliceHeader, stream: BinaryIO, count: int, *, has_groups: bool
) -> tuple[SliceHeader, ...]:
    """The headers of the frames of one file.

    What a functional group says of a frame (PS3.3 C.7.6.16) replaces what the data set says of
    all; a frame's own group goes before the shared one.

    Args:
        header: Of the file as a whole.
        stream: The file, at its beginning.
        count: How many frames its pixel data has.
        has_groups: Whether the file has per-frame functional groups.

    Returns:
        One header a frame, in the order of the file.

    Raises:
        DamagedError: The groups are not as many as the frames, or cannot be followed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, of values that are judged here
        dataset = dcmread(
            stream, stop_before_pixels=True, force=True, specific_tags=[_SHARED, _PER_FRAME]
        )
        shared = _items(dataset, _SHARED)[:1]
        groups = _items(dataset, _PER_FRAME)
        if has_groups and _PER_FRAME not in dataset:
            raise DamagedError("its functional groups cannot be followed")
        if groups and len(groups) != count:
            raise DamagedError(f"{count} frame(s), but functional groups for {len(groups)}")
        if count > 1:
            # What stands beside the groups cannot be the place of more than one frame.
            header = replace(header, position_mm=None)
        return tuple(
            _frame_header(header, k + 1, [*groups[k : k + 1], *shared]) for k in range(count)
        )


def _frame_header(header: SliceHeader, frame_number: int, groups: Sequence[Dataset]) -> SliceHeader:
    def value(sequence: str, keyword: str) -> Any:
        for group in groups:
            for item in _items(group, sequence)[:1]:
                found = _value(item, keyword)
                if found not in (None, ""):
                    return found
        return None

    def numbers(sequence: str, keyword: str, count: int) -> tuple[float, ...] | None:
        return _finite(value(sequence, keyword), count)

    transformation = "PixelValueTransformationSequence"
    slope = numbers(transformation, "RescaleSlope", 1)
    intercept = numbers(transformation, "RescaleIntercept", 1)
    states_rescale = slope is not None or intercept is not None
    own = rescale(slope[0], intercept[0]) if slope and intercept else None
    position = numbers("PlanePositionSequence", "ImagePositionPatient", 3)
    cosines = numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6)
    spacing = numbers("PixelMeasuresSequence", "PixelSpacing", 2)
    thickness = numbers("PixelMeasuresSequence", "SliceThickness", 1)
    acquisition = numbers("FrameContentSequence", "FrameAcquisitionNumber", 1)
    level = numbers("FrameVOILUTSequence", "WindowCenter", 1)
    width = numbers("FrameVOILUTSequence", "WindowWidth", 1)
    frame_type = value("CTImageFrameTypeSequence", "FrameType")
    kind = value(transformation, "RescaleType")
    odd = kind is not None and not is_hounsfield(str(kind))
    return replace(
        header,
        frame_number=frame_number,
        # Frames of one file are numbered by their place in it.
        instance_number=frame_number,
        acquisition_number=int(acquisition[0]) if acquisition else header.acquisition_number,
        position_mm=place(position) if position else header.position_mm,
        orientation=directions(cosines) if cosines else header.orientation,
        pixel_spacing_mm=pixel_spacing(spacing) if spacing else header.pixel_spacing_mm,
        slice_thickness_mm=thickness[0] if thickness else header.slice_thickness_mm,
        slope=own[0] if own else header.slope,
        intercept=own[1] if own else header.intercept,
        has_rescale=own is not None or (header.has_rescale and not states_rescale),
        window_hu=window(level[0], width[0]) if level and width else header.window_hu,
        image_type=_joined(frame_type) if frame_type else header.image_type,
        departures=(*header.departures, *([WarningCode.NOT_HOUNSFIELD] if odd else [])),
    )


def _value(item: Dataset, keyword: str) -> Any:
    """The value of an element; the parts of a number that stands there as text, as texts."""
    if keyword not in item:
        return None
    raw = item.get_item(keyword).value
    if isinstance(raw, bytes) and spells_number(raw):
        return raw.decode("ascii").split("\\")
    return item.get(keyword)


def _items(dataset: Dataset, keyword: str) -> list[Dataset]:
    found = dataset.get(keyword)
    return list(found) if found else []


def _joined(values: Any) -> str:
    parts = [values] if isinstance(values, str) else list(values)
    return "\\".join(map(str, parts)).upper()


def _finite(value: Any, count: int) -> tuple[float, ...] | None:
    """The first value, or exactly ``count`` of several, where all are finite numbers."""
    try:
        parts = [value] if isinstance(value, str | int | float) else list(value)
        # The text as it stands there, of which Python would take "1_0" for a number.
        found = tuple(float(str(part).replace("_", "?")) for part in parts)
    except (TypeError, ValueError):
        return None
    if count == 1:
        found = found[:1]
    return found if len(found) == count and all(map(math.isfinite, found)) else None
