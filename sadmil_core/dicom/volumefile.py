"""NIfTI, NRRD and MetaImage files as axial slices, foot to head, through SimpleITK.

Axes are permuted and turned so that they run as near as can be to the patient's left, back and
head (LPS); no voxel is interpolated. What is here runs in the processes of
:mod:`sadmil_core.dicom.decode_pool`: ITK's readers are written in C++, and print what they like.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from sadmil_core.dicom.codes import SkippedFile, SkipReason, WarningCode
from sadmil_core.dicom.header import METAIMAGE, NIFTI, NRRD, SliceHeader
from sadmil_core.dicom.plausible import directions, place
from sadmil_core.dicom.volumedata import (
    UnusableVolumeError,
    VoxelData,
    digest_voxels,
    metaimage_data,
    nifti_sizes,
    nrrd_data,
    read_fields,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_SUFFIXES = {
    ".nii": NIFTI,
    ".nii.gz": NIFTI,
    ".nrrd": NRRD,
    ".nhdr": NRRD,
    ".mha": METAIMAGE,
    ".mhd": METAIMAGE,
}
_NRRD_SPACES = frozenset(
    {"ras", "las", "lps"}
    | {f"{side}-superior" for side in ("right-anterior", "left-anterior", "left-posterior")}
)
_AIR_HU, _INT16 = -1000, (-32768, 32767)
_MAX_SIDE = 1 << 15
_ORTHONORMAL_TOLERANCE = 1e-3
_PLACEMENT_TOLERANCE_MM = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """The frame of a volume whose axes run to the left, the back and the head.

    Attributes:
        directions: Three rows of three; each column is that of an axis: along rows, along
            columns, across.
        spacing_mm: Along each of them.
        origin_mm: Of the first voxel.
        shape: Slices, rows, columns.
    """

    directions: tuple[tuple[float, ...], ...]
    spacing_mm: tuple[float, ...]
    origin_mm: tuple[float, ...]
    shape: tuple[int, int, int]

    @property
    def pixel_spacing_mm(self) -> tuple[float, float]:
        """Between rows, then between columns."""
        return self.spacing_mm[1], self.spacing_mm[0]


def volume_format(path: Path) -> str | None:
    """The format of a volume file by its name: NIfTI, NRRD or MetaImage; None for others."""
    name = path.name.lower()
    return next((kind for suffix, kind in _SUFFIXES.items() if name.endswith(suffix)), None)


def read_volume_headers(path: Path) -> tuple[SliceHeader, ...] | SkippedFile:
    """Reads the header of a volume file, one axial slice at a time.

    The voxels are counted, not kept. The UIDs are made from what is in the file.

    Args:
        path: A file with one of the formats' names.

    Returns:
        One header a slice, foot to head; or why the file is of no use. Never raises for what is
        in the file.
    """
    try:
        return _read(path)
    except UnusableVolumeError as error:
        return SkippedFile(path, error.reason, str(error))
    except OSError as error:
        return SkippedFile(path, SkipReason.UNREADABLE, f"unreadable: {error.strerror or error}")
    # ITK raises RuntimeError, and damaged headers many other kinds; all mean the same here.
    except Exception as error:  # noqa: BLE001
        if "orthonormal" in str(error):
            return SkippedFile(path, SkipReason.BAD_GEOMETRY, "its axes are not at right angles")
        kind = volume_format(path)
        return SkippedFile(path, SkipReason.DAMAGED, f"damaged, or not a {kind} file")


def _read(path: Path) -> tuple[SliceHeader, ...]:
    kind = volume_format(path) or ""
    status = path.stat()
    fields, data = _find_voxels(path, kind)
    reader = _open(path)
    _refuse_what_is_no_volume(reader)
    sizes = nifti_sizes(path) if kind == NIFTI else (1.0, *reader.GetSpacing())
    frame = _frame_of(reader, sizes[1:])
    sample = _sample_type(reader)
    needed = math.prod(frame.shape) * sample.itemsize
    if kind == NIFTI:  # as stored: ITK tells the type after any rescale; and the header before them
        stored = int(reader.GetMetaData("bitpix")) // 8
        needed = math.prod(frame.shape) * stored + int(float(reader.GetMetaData("vox_offset")))
    digest = digest_voxels(data, needed, f"{kind} {sample.str} {frame!r}")
    bits = 8 * sample.itemsize
    base = SliceHeader(
        path=path,
        file_stamp=(status.st_size, status.st_mtime_ns),
        transfer_syntax=kind,
        study_instance_uid=_uid("study", digest),
        series_instance_uid=_uid("series", digest),
        sop_instance_uid=_uid("instance", digest),
        instance_number=None,
        acquisition_number=None,
        position_mm=None,
        orientation=None,
        pixel_spacing_mm=None,
        slice_thickness_mm=None,
        rows=frame.shape[1],
        columns=frame.shape[2],
        bits_allocated=bits,
        bits_stored=bits,
        high_bit=bits - 1,
        signed=sample.kind != "u",
        has_rescale=True,
        is_fractional=sample.kind == "f",
        departures=(WarningCode.VOLUME_FILE, *_placement_departures(reader, kind, sizes)),
    )
    is_placed, has_spacing = _says_placement(reader, kind, fields)
    return _slices(base, frame, is_placed=is_placed, has_spacing=has_spacing)


def _slices(
    base: SliceHeader, frame: _Frame, *, is_placed: bool, has_spacing: bool
) -> tuple[SliceHeader, ...]:
    row, column, across = (tuple(map(float, axis)) for axis in np.array(frame.directions).T)
    step = np.array(across) * frame.spacing_mm[2]
    headers = []
    for index in range(frame.shape[0]):
        position = tuple(map(float, np.array(frame.origin_mm) + index * step))
        headers.append(
            replace(
                base,
                frame_number=index + 1,
                instance_number=index + 1,
                position_mm=place(position) if has_spacing else None,
                orientation=directions((*row, *column)) if is_placed else None,
                pixel_spacing_mm=(frame.spacing_mm[1], frame.spacing_mm[0])
                if has_spacing
                else None,
            )
        )
    return tuple(headers)


def stored_slice_axis(path: Path) -> tuple[int, bool]:
    """How a volume file's own order of voxels goes with slices that run foot to head.

    ITK opens the file in this process: only for one whose headers could be read.

    Args:
        path: A file with one of the formats' names.

    Returns:
        Its axis across the slices, 0 for the one that varies fastest; and whether the file
        counts along it from the head.
    """
    axes = np.array(_open(path).GetDirection(), float).reshape(3, 3)
    order, signs = _axes_to_lps(axes)
    return order[2], bool(signs[2] < 0)


def _uid(what: str, digest: bytes) -> str:
    """A UID below 2.25 (PS3.5 B.2) that is the same wherever the same content is read."""
    number = int.from_bytes(hashlib.sha256(what.encode() + digest).digest()[:16], "big")
    return f"2.25.{number}"


def _find_voxels(path: Path, kind: str) -> tuple[dict[str, str], VoxelData]:
    if kind == NRRD:
        fields, end = read_fields(path, ":")
        return fields, nrrd_data(path, fields, end)
    if kind == METAIMAGE:
        fields, end = read_fields(path, "=")
        return fields, metaimage_data(path, fields, end)
    return {}, VoxelData(path=path, deflated=path.suffix.lower() == ".gz")


def _open(path: Path) -> Any:
    """SimpleITK's reader, its header read."""
    import SimpleITK as sitk  # noqa: N813 - its customary name

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader


def _refuse_what_is_no_volume(reader: Any) -> None:
    size, dimension = reader.GetSize(), reader.GetDimension()
    if dimension != 3:
        raise UnusableVolumeError(
            SkipReason.NOT_A_VOLUME, f"it has {dimension} dimensions; a volume has 3"
        )
    if reader.GetNumberOfComponents() != 1:
        raise UnusableVolumeError(SkipReason.NOT_GRAYSCALE, "colour or vector image")
    if not 1 <= min(size) <= max(size) <= _MAX_SIDE:
        text = " x ".join(map(str, size))
        raise UnusableVolumeError(SkipReason.DAMAGED, f"damaged header: {text} voxels")


def _sample_type(reader: Any) -> np.dtype[Any]:
    """The type of the voxels as ITK hands them out."""
    import SimpleITK as sitk  # noqa: N813

    types = {
        sitk.sitkInt8: "i1",
        sitk.sitkUInt8: "u1",
        sitk.sitkInt16: "i2",
        sitk.sitkUInt16: "u2",
        sitk.sitkInt32: "i4",
        sitk.sitkUInt32: "u4",
        sitk.sitkInt64: "i8",
        sitk.sitkUInt64: "u8",
        sitk.sitkFloat32: "f4",
        sitk.sitkFloat64: "f8",
    }
    try:
        return np.dtype(types[reader.GetPixelID()])
    except KeyError as error:
        raise UnusableVolumeError(
            SkipReason.NOT_GRAYSCALE, "its voxels are not plain numbers"
        ) from error


def _frame_of(reader: Any, said_mm: tuple[float, ...]) -> _Frame:
    """The frame, axes permuted and turned.

    Args:
        reader: Of the file.
        said_mm: The sizes of a voxel as the file has them; ITK takes 1 mm for what is none.

    Raises:
        UnusableVolumeError: It is none.
    """
    spacing = np.array(reader.GetSpacing(), float)
    origin = np.array(reader.GetOrigin(), float)
    axes = np.array(reader.GetDirection(), float).reshape(3, 3)
    for values in (spacing, np.array(said_mm)):
        if not np.all((values > 1e-3) & (values < 1e3)):  # false for NaN, too
            text = " x ".join(f"{value:g}" for value in values)
            raise UnusableVolumeError(
                SkipReason.BAD_GEOMETRY, f"its voxels measure {text} mm, which cannot be"
            )
    if not np.allclose(axes.T @ axes, np.eye(3), atol=_ORTHONORMAL_TOLERANCE):
        raise UnusableVolumeError(SkipReason.BAD_GEOMETRY, "its axes are not at right angles")
    if place(tuple(origin)) is None or not np.isfinite(origin).all():
        raise UnusableVolumeError(SkipReason.BAD_GEOMETRY, "it lies out of reach")
    order, signs = _axes_to_lps(axes)
    size = np.array(reader.GetSize())
    for axis, sign in zip(order, signs, strict=True):
        if sign < 0:
            origin = origin + axes[:, axis] * spacing[axis] * (size[axis] - 1)
    columns, rows, slices = (int(size[axis]) for axis in order)
    return _Frame(
        directions=tuple(map(tuple, (axes[:, order] * signs).tolist())),
        spacing_mm=tuple(spacing[order].tolist()),
        origin_mm=tuple(origin.tolist()),
        shape=(slices, rows, columns),
    )


def _axes_to_lps(axes: NDArray[np.float64]) -> tuple[list[int], NDArray[np.float64]]:
    """Which image axis runs along each of the patient's, and whether forwards (1) or back (-1).

    Args:
        axes: (3, 3), each column the direction of an image axis in LPS.
    """
    along = range(3)
    order = max(
        itertools.permutations(along),
        key=lambda candidate: math.prod(abs(axes[k, candidate[k]]) for k in along),
    )
    return list(order), np.array([1.0 if axes[k, order[k]] >= 0 else -1.0 for k in along])


def _says_placement(reader: Any, kind: str, fields: dict[str, str]) -> tuple[bool, bool]:
    """Whether the file says how the volume lies in the patient, and how large its voxels are."""
    if kind == NIFTI:
        codes = (reader.GetMetaData(f"{form}form_code") for form in "qs")
        return any(int(code) > 0 for code in codes), True
    if kind == NRRD:
        placed = fields.get("space", "").lower() in _NRRD_SPACES and "space directions" in fields
        return placed, "space directions" in fields or "spacings" in fields
    matrices = ("transformmatrix", "orientation", "rotation")
    sizes = ("elementspacing", "elementsize")
    return any(name in fields for name in matrices), any(name in fields for name in sizes)


def _placement_departures(
    reader: Any, kind: str, sizes: tuple[float, ...]
) -> tuple[WarningCode, ...]:
    """Whether a NIfTI header places the volume twice, and not at one place."""
    if kind != NIFTI:
        return ()
    if any(int(reader.GetMetaData(f"{form}form_code")) <= 0 for form in "qs"):
        return ()
    corners = np.array([(0, 0, 0), *np.diag(np.array(reader.GetSize()) - 1)])
    corners = np.c_[corners, np.ones(4)].T
    apart = np.linalg.norm((_sform(reader) - _qform(reader, sizes)) @ corners, axis=0).max()
    return () if apart <= _PLACEMENT_TOLERANCE_MM else (WarningCode.NIFTI_PLACEMENT,)


def _sform(reader: Any) -> NDArray[np.float64]:
    rows = [reader.GetMetaData(f"srow_{axis}").split() for axis in "xyz"]
    return np.array(rows, float)


def _qform(reader: Any, sizes: tuple[float, ...]) -> NDArray[np.float64]:
    """The (3, 4) matrix of the quaternion (nifti1.h, method 2)."""
    b, c, d = (float(reader.GetMetaData(f"quatern_{part}")) for part in "bcd")
    a = math.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    turn = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    scale = np.array([sizes[1], sizes[2], sizes[3] * (-1 if sizes[0] < 0 else 1)])
    offset = [float(reader.GetMetaData(f"qoffset_{axis}")) for axis in "xyz"]
    matrix: NDArray[np.float64] = np.column_stack([turn * scale, offset])
    return matrix


def read_volume_slice(header: SliceHeader) -> NDArray[np.int16] | NDArray[np.float32]:
    """One slice of a volume file in Hounsfield units; what is no number becomes air.

    The volume is kept until :func:`forget_volume`, for the slices that are asked for next.

    Args:
        header: Of the slice.

    Returns:
        (rows, columns) int16, or float32 where the file holds floating-point numbers.

    Raises:
        ValueError: It cannot be read, or has another shape than when it was indexed.
    """
    voxels = _read_voxels(str(header.path), header.file_stamp)
    plane = voxels[(header.frame_number or 1) - 1]
    if plane.shape != (header.rows, header.columns):
        raise ValueError(f"it has slices of {plane.shape}")
    if header.is_fractional:
        with np.errstate(over="ignore", invalid="ignore"):
            values: NDArray[np.float32] = plane.astype(np.float32)
        values[~np.isfinite(values)] = _AIR_HU
        return values
    clipped: NDArray[np.int16] = np.clip(plane, *_INT16).astype(np.int16)
    return clipped


def forget_volume() -> None:
    """Frees the memory of the volume that was read last."""
    _read_voxels.cache_clear()


@lru_cache(maxsize=1)
def _read_voxels(path: str, stamp: tuple[int, int]) -> NDArray[Any]:
    """All voxels of a file, (slices, rows, columns), axes permuted and turned."""
    import SimpleITK as sitk  # noqa: N813

    try:
        image = sitk.ReadImage(path)
    except RuntimeError as error:  # whose text names places in ITK's sources
        raise ValueError("its voxels cannot be read") from error
    order, signs = _axes_to_lps(np.array(image.GetDirection()).reshape(3, 3))
    voxels = sitk.GetArrayFromImage(image).transpose([2 - axis for axis in reversed(order)])
    turned: NDArray[Any] = voxels[tuple(slice(None, None, int(sign)) for sign in reversed(signs))]
    return turned


def narrowed(
    hu: NDArray[np.int16] | NDArray[np.float32],
) -> NDArray[np.int16] | NDArray[np.float32]:
    """Hounsfield units as int16 where all of them are whole numbers in its range."""
    low, high = _INT16
    if hu.dtype == np.int16:
        return hu
    for plane in hu:
        if not np.all((plane == np.rint(plane)) & (plane >= low) & (plane <= high)):
            return hu
    return hu.astype(np.int16)
