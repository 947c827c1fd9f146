"""Stored pixel values to Hounsfield units, one slice at a time."""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut
from pydicom.uid import UID

from sadmil_core.dicom.header import ENCAPSULATED_UNCOMPRESSED
from sadmil_core.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from sadmil_core.dicom.header import SliceHeader

AIR_HU = -1000
_QUIRK_SHIFT = 1000
_QUIRK_WRAP = 4096
_QUIRK_INTERCEPT = -1000.0


def has_rsna_quirk(header: SliceHeader) -> bool:
    """Whether the header has the signature of the RSNA 12-bit defect.

    Some scanners' files in the RSNA 2019 set claim unsigned 12-bit values with an intercept
    near zero, though air below 0 was wrapped around at 4096. A heuristic: no tag says so.
    """
    twelve_bit = header.has_rescale and header.bits_stored == 12 and not header.signed
    return twelve_bit and header.intercept > -100


def rescale_of(header: SliceHeader, *, mend_quirk: bool = True) -> tuple[float, float]:
    """Slope and intercept (HU) that apply to the slice's values, after any mending."""
    if mend_quirk and has_rsna_quirk(header):
        return header.slope, _QUIRK_INTERCEPT
    return header.slope, header.intercept


def needs_float(header: SliceHeader, *, mend_quirk: bool = True) -> bool:
    """Whether the rescale is fractional, so that int16 would round HU."""
    return any(not value.is_integer() for value in rescale_of(header, mend_quirk=mend_quirk))


def decode_hu(
    header: SliceHeader, *, mend_quirk: bool = True
) -> NDArray[np.int16] | NDArray[np.float32]:
    """Reads one slice in Hounsfield units.

    Padding (tested on stored values, PS3.3 C.7.5.1.1.2) becomes -1000 HU.

    Args:
        header: From :func:`~sadmil_core.dicom.header.read_headers`.
        mend_quirk: Undo the RSNA 12-bit defect where the header shows it.

    Returns:
        (rows, columns); int16 where slope and intercept are whole numbers, clipped to the
        range of int16, else float32.

    Raises:
        DecodeError: The pixels cannot be decoded, or the file has changed since the header
            was read.
    """
    with _meaning_decode_errors(header):
        return _decode(header, mend_quirk)


def _decode(header: SliceHeader, mend_quirk: bool) -> NDArray[np.int16] | NDArray[np.float32]:
    words = _read_words(header)
    padded = None
    if header.padding is not None and not _fits_stored_bits(header):
        padded = _is_padding(words, header.padding)
    stored = _clear_unused_bits(words, header)
    if header.padding is not None and padded is None:
        padded = _is_padding(stored, header.padding)
    if header.has_modality_lut:
        stored = apply_modality_lut(stored, dcmread(header.path, stop_before_pixels=True))
    if mend_quirk and has_rsna_quirk(header):
        stored = (stored.astype(np.int32) + _QUIRK_SHIFT) % _QUIRK_WRAP
    slope, intercept = rescale_of(header, mend_quirk=mend_quirk)
    hu: NDArray[np.int16] | NDArray[np.float32]
    if needs_float(header, mend_quirk=mend_quirk):
        hu = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    else:
        hu = _whole_hu(stored, header, slope, intercept)
    if padded is not None:
        hu[padded] = AIR_HU
    return hu


def _is_padding(values: NDArray[np.integer], padding: tuple[int, int]) -> NDArray[np.bool_]:
    low, high = padding
    inside: NDArray[np.bool_] = (values >= low) & (values <= high)
    return inside


def _fits_stored_bits(header: SliceHeader) -> bool:
    """Whether the padding value is one that BitsStored can hold.

    Some scanners pad with a value of all 16 bits (63536 in 12-bit images), against the
    standard; it must be found before the unused bits are cleared.
    """
    low, high = _stored_range(header)
    return header.padding is None or low <= header.padding[0] <= header.padding[1] <= high


def _whole_hu(
    stored: NDArray[np.integer], header: SliceHeader, slope: float, intercept: float
) -> NDArray[np.int16]:
    """Integer rescale; in int16 throughout where no stored value can leave its range."""
    low, high = _stored_range(header)
    ends = (low * slope + intercept, high * slope + intercept)
    in_place = slope == 1 and not header.has_modality_lut
    if in_place and stored.dtype.itemsize == 2 and -32768 <= min(ends) <= max(ends) <= 32767:
        hu: NDArray[np.int16] = stored.astype(np.int16, copy=False)
        if not hu.flags.writeable:
            hu = hu.copy()
        hu += np.int16(intercept)  # in place: the stored values are this call's own
        return hu
    # Exact for whole numbers in float64, and an absurd rescale saturates instead of wrapping.
    with np.errstate(over="ignore", invalid="ignore"):
        wide = np.nan_to_num(stored.astype(np.float64) * slope + intercept)
    return np.clip(wide, -32768, 32767).astype(np.int16)


def _stored_range(header: SliceHeader) -> tuple[int, int]:
    if header.signed:
        return -(1 << (header.bits_stored - 1)), (1 << (header.bits_stored - 1)) - 1
    # The quirk's shifted values stay inside 12 bits, too.
    return 0, (1 << header.bits_stored) - 1


def read_stored(header: SliceHeader) -> NDArray[np.integer]:
    """Reads the stored values of one slice, (rows, columns), unused high bits cleared.

    Raises:
        DecodeError: As for :func:`decode_hu`.
    """
    with _meaning_decode_errors(header):
        return _clear_unused_bits(_read_words(header), header)


def _read_words(header: SliceHeader) -> NDArray[np.integer]:
    """The words as they are in the file, (rows, columns), for this call to change."""
    if _stamp(header) != header.file_stamp:
        raise DecodeError(
            f"{header.path} has changed since the folder was indexed.",
            remedy="Open the folder again.",
        )
    if header.pixel_offset is not None:
        return _read_native(header)
    if header.fragments:
        return _read_compressed(header)
    return _read_deflated(header)


@contextmanager
def _meaning_decode_errors(header: SliceHeader) -> Iterator[None]:
    """Turns whatever goes wrong with a file's pixels into a DecodeError that says so."""
    try:
        yield
    except DecodeError:
        raise
    except MemoryError as error:
        raise DecodeError(
            f"There is not enough memory to decode {header.path}.", remedy="Close other programs."
        ) from error
    # Decoders raise many kinds of errors on damaged data; all of them mean the same here.
    except Exception as error:
        first_line = str(error).partition("\n")[0].strip(" :.")
        raise DecodeError(
            f"{header.path} could not be decoded: {first_line[:120]}.",
            remedy="The file is damaged, or its compression is not supported; export it again.",
            detail=f"{type(error).__name__}: {error}, transfer syntax {header.transfer_syntax}",
        ) from error


def _stamp(header: SliceHeader) -> tuple[int, int]:
    status = os.stat(header.path)
    return status.st_size, status.st_mtime_ns


def _native_type(header: SliceHeader) -> np.dtype[Any]:
    kind = ("i" if header.signed else "u") + str(header.bits_allocated // 8)
    return np.dtype((">" if header.big_endian else "<") + kind)


def _read_native(header: SliceHeader) -> NDArray[np.integer]:
    words = np.fromfile(
        header.path,
        dtype=_native_type(header),
        count=header.rows * header.columns,
        offset=header.pixel_offset or 0,
    )
    return _in_rows(words, header)


def _in_rows(words: NDArray[np.integer], header: SliceHeader) -> NDArray[np.integer]:
    """Flat words as (rows, columns) in this machine's byte order, for this call to change."""
    native = words.dtype.newbyteorder("=")
    return words.reshape(header.rows, header.columns).astype(native, copy=not words.flags.writeable)


def _read_compressed(header: SliceHeader) -> NDArray[np.integer]:
    with header.path.open("rb") as stream:
        parts = []
        for offset, length in header.fragments:
            stream.seek(offset)
            parts.append(stream.read(length))
    if header.transfer_syntax == ENCAPSULATED_UNCOMPRESSED:
        words = np.frombuffer(b"".join(parts), _native_type(header), header.rows * header.columns)
        return _in_rows(words, header)
    return _decompress(header, parts)


def _decompress(header: SliceHeader, parts: list[bytes]) -> NDArray[np.integer]:
    """Decodes one frame through pydicom's plugins; they also mend the sign of what they decode."""
    image: dict[str, Any] = {
        "rows": header.rows,
        "columns": header.columns,
        "samples_per_pixel": 1,
        "photometric_interpretation": "MONOCHROME2",
        "bits_allocated": header.bits_allocated,
        "bits_stored": header.bits_stored,
        "pixel_representation": int(header.signed),
        "number_of_frames": 1,
        "pixel_keyword": "PixelData",
    }
    stored: NDArray[np.integer]
    stored, _ = get_decoder(UID(header.transfer_syntax)).as_array(
        encapsulate([b"".join(parts)], has_bot=False), index=0, **image
    )
    if stored.shape != (header.rows, header.columns):
        raise ValueError(f"decoded to {stored.shape}, not {(header.rows, header.columns)}")
    return stored


def _read_deflated(header: SliceHeader) -> NDArray[np.integer]:
    """All frames have to be inflated for one: deflated data has no places to start from."""
    words = np.frombuffer(dcmread(header.path).PixelData, _native_type(header))
    size = header.rows * header.columns
    start = ((header.frame_number or 1) - 1) * size
    return _in_rows(words[start : start + size], header)


def _clear_unused_bits(words: NDArray[np.integer], header: SliceHeader) -> NDArray[np.integer]:
    """Clears what is beside the stored bits and extends the sign; decoders have done it already."""
    if header.fragments and header.transfer_syntax != ENCAPSULATED_UNCOMPRESSED:
        return words
    above = header.bits_allocated - 1 - header.high_bit
    unused = header.bits_allocated - header.bits_stored
    if unused > 0:
        words <<= above
        words >>= unused
    return words


def pixel_digest(header: SliceHeader) -> bytes:
    """A fingerprint of a slice's stored values; of its path where they cannot be decoded."""
    try:
        return hashlib.sha256(read_stored(header).tobytes()).digest()
    except DecodeError:
        return os.fsencode(header.path)
