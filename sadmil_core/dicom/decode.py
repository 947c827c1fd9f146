"""Stored pixel values to Hounsfield units, one slice at a time, in this process.

Compressed data goes through decoders written in C, which damaged bytes may crash or hang:
:mod:`sadmil_core.dicom.decode_pool` runs what is here in processes of its own.
"""

from __future__ import annotations

import hashlib
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut
from pydicom.uid import (
    JPEG2000,
    UID,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from sadmil_core.dicom.codes import WarningCode
from sadmil_core.dicom.jpeg import JpegFrame, decode_words, read_jpeg_frame
from sadmil_core.dicom.syntaxes import ENCAPSULATED_UNCOMPRESSED, NATIVE
from sadmil_core.dicom.volumefile import read_volume_slice
from sadmil_core.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from sadmil_core.dicom.header import SliceHeader

    HUArray = NDArray[np.int16] | NDArray[np.float32]

AIR_HU = -1000
_QUIRK_SHIFT = 1000
_QUIRK_WRAP = 4096
_QUIRK_INTERCEPT = -1000.0
_INT16 = (-32768, 32767)
_JPEG_OF_WORDS = frozenset({JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1})
_PLUGINS: dict[str, str] = {
    # GDCM decodes it in several threads, of which processes on all cores have no use.
    JPEG2000Lossless: "pylibjpeg",
    JPEG2000: "pylibjpeg",
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
}
"""Which of several plugins to ask, by the processor time each takes (docs/decoding.md)."""
_WORDS = frozenset({RLELossless, JPEGLossless, JPEGLosslessSV1})
"""Syntaxes whose frames pydicom cuts to BitsStored after it has decoded them."""


def has_rsna_quirk(header: SliceHeader) -> bool:
    """Whether the header has the signature of the RSNA 12-bit defect.

    Some scanners' files in the RSNA 2019 set claim unsigned 12-bit values with an intercept
    near zero, though air below 0 was wrapped around at 4096. A heuristic: no tag says so.
    Values that are said to be no Hounsfield units need no intercept below zero.
    """
    twelve_bit = header.has_rescale and header.bits_stored == 12 and not header.signed
    said_otherwise = WarningCode.NOT_HOUNSFIELD in header.departures
    return twelve_bit and header.intercept > -100 and not said_otherwise


def rescale_of(header: SliceHeader, *, mend_quirk: bool = True) -> tuple[float, float]:
    """Slope and intercept (HU) that apply to the slice's values, after any mending."""
    if mend_quirk and has_rsna_quirk(header):
        return header.slope, _QUIRK_INTERCEPT
    return header.slope, header.intercept


def needs_float(header: SliceHeader, *, mend_quirk: bool = True) -> bool:
    """Whether stored values or the rescale are fractional, so that int16 would round HU."""
    return header.is_fractional or any(
        not value.is_integer() for value in rescale_of(header, mend_quirk=mend_quirk)
    )


def hu_type(header: SliceHeader, *, mend_quirk: bool = True) -> np.dtype[Any]:
    """The type that holds the slice's Hounsfield units: int16, or float32 where it must."""
    return np.dtype(np.float32 if needs_float(header, mend_quirk=mend_quirk) else np.int16)


def decode_hu(header: SliceHeader, *, mend_quirk: bool = True) -> HUArray:
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
    hu: HUArray = np.empty((header.rows, header.columns), hu_type(header, mend_quirk=mend_quirk))
    decode_into(header, hu, mend_quirk=mend_quirk)
    return hu


def decode_into(header: SliceHeader, out: HUArray, *, mend_quirk: bool = True) -> None:
    """As :func:`decode_hu`, into an array that is there already.

    Args:
        header: Of the slice.
        out: (rows, columns) int16 or float32, contiguous.
        mend_quirk: As there.

    Raises:
        DecodeError: As there; ``out`` is then undefined.
    """
    with _meaning_decode_errors(header):
        _check_unchanged(header)
        if header.is_volume:
            out[...] = read_volume_slice(header)
            return
        mends = mend_quirk and has_rsna_quirk(header)
        rescale = rescale_of(header, mend_quirk=mend_quirk)
        if _converts_in_place(header, out, rescale):
            words = out.view(_native_type(header))
            _read_native_into(header, words)
        else:
            words = _read_words(header)
        padded = None
        if header.padding is not None and not _fits_stored_bits(header):
            padded = _is_padding(words, header.padding)
        _clear_unused_bits(words, header)
        if header.padding is not None and padded is None:
            padded = _is_padding(words, header.padding)
        if mends:
            words += np.array(_QUIRK_SHIFT, words.dtype)
            words &= np.array(_QUIRK_WRAP - 1, words.dtype)
        _rescale_into(header, words, rescale, out)
        if padded is not None:
            out[padded] = AIR_HU


def _converts_in_place(header: SliceHeader, out: HUArray, rescale: tuple[float, float]) -> bool:
    """Whether stored words can become HU where they lie, by the addition of the intercept."""
    slope, intercept = rescale
    return (
        header.pixel_offset is not None
        and header.bits_allocated == 16
        and header.big_endian == (sys.byteorder == "big")
        and not header.has_modality_lut
        and out.dtype == np.int16
        and slope == 1
        and intercept.is_integer()
        and abs(intercept) <= _INT16[1]
    )


def _rescale_into(
    header: SliceHeader, words: NDArray[np.integer], rescale: tuple[float, float], out: HUArray
) -> None:
    slope, intercept = rescale
    if np.may_share_memory(words, out) and _stays_in_int16(header, words, intercept):
        # Modulo 65536 a sum is the same for signed and unsigned words.
        out += np.int16(intercept)
        return
    stored = words
    if header.has_modality_lut:
        stored = apply_modality_lut(words, dcmread(header.path, stop_before_pixels=True))
    if out.dtype == np.float32:
        np.multiply(stored, np.float32(slope), out=out, dtype=np.float32, casting="unsafe")
        np.add(out, np.float32(intercept), out=out)
    elif slope == 1 and stored.dtype.itemsize <= 2 and abs(intercept) < 1 << 30:
        wide = stored.astype(np.int32)
        wide += np.int32(intercept)
        np.clip(wide, *_INT16, out=out, casting="unsafe")
    else:
        # Exact for whole numbers in float64; an absurd rescale saturates instead of wrapping.
        with np.errstate(over="ignore", invalid="ignore"):
            exact = np.nan_to_num(stored.astype(np.float64) * slope + intercept)
        np.clip(exact, *_INT16, out=out, casting="unsafe")


def _stays_in_int16(header: SliceHeader, words: NDArray[np.integer], intercept: float) -> bool:
    def fits(low: int, high: int) -> bool:
        return _INT16[0] <= low + intercept and high + intercept <= _INT16[1]

    return fits(*_stored_range(header)) or fits(int(words.min()), int(words.max()))


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


def _stored_range(header: SliceHeader) -> tuple[int, int]:
    if header.signed:
        return -(1 << (header.bits_stored - 1)), (1 << (header.bits_stored - 1)) - 1
    # The quirk's shifted values stay inside 12 bits, too.
    return 0, (1 << header.bits_stored) - 1


def read_stored(header: SliceHeader) -> NDArray[np.integer]:
    """Reads the stored values of one slice, (rows, columns), unused bits cleared.

    Raises:
        DecodeError: As for :func:`decode_hu`.
    """
    with _meaning_decode_errors(header):
        _check_unchanged(header)
        words = _read_words(header)
        _clear_unused_bits(words, header)
        return words


def read_padding(header: SliceHeader) -> NDArray[np.bool_]:
    """Where one slice is padding (PixelPaddingValue 0028,0120), which decoding turns to air.

    Args:
        header: Of the slice.

    Returns:
        bool (rows, columns), all False where the file names no padding.

    Raises:
        DecodeError: As for :func:`decode_hu`.
    """
    if header.padding is None or header.is_volume:
        return np.zeros((header.rows, header.columns), np.bool_)
    with _meaning_decode_errors(header):
        _check_unchanged(header)
        words = _read_words(header)
        if _fits_stored_bits(header):
            _clear_unused_bits(words, header)
        return _is_padding(words, header.padding)


def digest_stored(header: SliceHeader) -> bytes:
    """A fingerprint of a slice's stored values.

    Raises:
        DecodeError: As for :func:`decode_hu`.
    """
    values = decode_hu(header) if header.is_volume else read_stored(header)
    return hashlib.sha256(values.tobytes()).digest()


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


def _check_unchanged(header: SliceHeader) -> None:
    status = os.stat(header.path)
    if (status.st_size, status.st_mtime_ns) != header.file_stamp:
        raise DecodeError(
            f"{header.path} has changed since the folder was indexed.",
            remedy="Open the folder again.",
        )


def _read_words(header: SliceHeader) -> NDArray[np.integer]:
    """The words as they are in the file, (rows, columns), for this call to change."""
    if header.pixel_offset is not None:
        words = np.empty((header.rows, header.columns), _native_type(header))
        _read_native_into(header, words)
        return words.astype(words.dtype.newbyteorder("="), copy=False)
    if header.fragments:
        return _read_compressed(header)
    return _read_deflated(header)


def _native_type(header: SliceHeader) -> np.dtype[Any]:
    kind = ("i" if header.signed else "u") + str(header.bits_allocated // 8)
    return np.dtype((">" if header.big_endian else "<") + kind)


def _read_native_into(header: SliceHeader, words: NDArray[np.integer]) -> None:
    target = words.view(np.uint8).data.cast("B")
    with open(header.path, "rb", buffering=0) as stream:
        stream.seek(header.pixel_offset or 0)
        done = 0
        while done < len(target):
            count = stream.readinto(target[done:])
            if not count:
                raise EOFError(f"{done} of {len(target)} bytes are there")
            done += count


def _in_rows(data: bytes, header: SliceHeader) -> NDArray[np.integer]:
    """Native bytes as (rows, columns) in this machine's byte order, for this call to change."""
    words = np.frombuffer(data, _native_type(header), header.rows * header.columns)
    return words.reshape(header.rows, header.columns).astype(words.dtype.newbyteorder("="))


def _read_compressed(header: SliceHeader) -> NDArray[np.integer]:
    parts = []
    with header.path.open("rb") as stream:
        for offset, length in header.fragments:
            stream.seek(offset)
            parts.append(stream.read(length))
    frame = b"".join(parts)
    if header.transfer_syntax == ENCAPSULATED_UNCOMPRESSED:
        return _in_rows(frame, header)
    return _decompress(header, frame)


def _decompress(header: SliceHeader, frame: bytes) -> NDArray[np.integer]:
    """Decodes a frame: JPEG of wide samples by GDCM's codec, all else through pydicom's plugins.

    Those also mend the sign of what they decode.
    """
    jpeg = read_jpeg_frame(frame)
    if jpeg is not None:
        _check_jpeg(header, jpeg)
        if header.transfer_syntax in _JPEG_OF_WORDS and jpeg.precision > 8:
            return decode_words(frame, jpeg, signed=header.signed)
    image: dict[str, Any] = {
        "rows": header.rows,
        "columns": header.columns,
        "samples_per_pixel": 1,
        "photometric_interpretation": "MONOCHROME2",
        "bits_allocated": header.bits_allocated,
        "bits_stored": _bits_to_keep(header),
        "pixel_representation": int(header.signed),
        "number_of_frames": 1,
        "pixel_keyword": "PixelData",
    }
    plugin = _PLUGINS.get(header.transfer_syntax, "")
    stored: NDArray[np.integer]
    stored, _ = get_decoder(UID(header.transfer_syntax)).as_array(
        encapsulate([frame], has_bot=False), index=0, decoding_plugin=plugin, **image
    )
    if stored.shape != (header.rows, header.columns):
        raise ValueError(f"decoded to {stored.shape}, not {(header.rows, header.columns)}")
    return stored if stored.flags.writeable else stored.copy()


def decoder_of(transfer_syntax: str) -> str:
    """The name of what decodes a transfer syntax: a plugin of pydicom, or this program itself.

    Args:
        transfer_syntax: UID of one that is read.
    """
    if transfer_syntax in _JPEG_OF_WORDS:
        return "gdcm"
    if transfer_syntax in (*NATIVE, ENCAPSULATED_UNCOMPRESSED):
        return "none needed"
    known = _PLUGINS.get(transfer_syntax)
    return known or get_decoder(UID(transfer_syntax)).available_plugins[0]


def _check_jpeg(header: SliceHeader, jpeg: JpegFrame) -> None:
    """Refuses what decoders would turn into nonsense without a word."""
    if not jpeg.is_complete:
        raise ValueError("its JPEG codestream ends early")
    if jpeg.precision > header.bits_allocated:
        raise ValueError("its samples are wider than its words")
    if (jpeg.rows, jpeg.columns, jpeg.components) != (header.rows, header.columns, 1):
        raise ValueError(
            f"its JPEG image has {jpeg.rows} x {jpeg.columns} x {jpeg.components} samples, "
            f"not {header.rows} x {header.columns}"
        )


def _bits_to_keep(header: SliceHeader) -> int:
    """All bits of the word where pydicom would clear those that tell padding from the image."""
    whole_words = header.transfer_syntax in _WORDS and not _fits_stored_bits(header)
    return header.bits_allocated if whole_words else header.bits_stored


def _read_deflated(header: SliceHeader) -> NDArray[np.integer]:
    """All frames have to be inflated for one: deflated data has no places to start from."""
    size = header.rows * header.columns * header.bits_allocated // 8
    start = ((header.frame_number or 1) - 1) * size
    return _in_rows(dcmread(header.path).PixelData[start : start + size], header)


def _clear_unused_bits(words: NDArray[np.integer], header: SliceHeader) -> None:
    """Clears what is beside the stored bits and extends the sign.

    Codestreams may hold whole words (retired overlays above the stored bits, padding of all 16
    bits), which not every decoder clears; for those that do, this changes nothing.
    """
    unused = header.bits_allocated - header.bits_stored
    if unused > 0:
        words <<= header.bits_allocated - 1 - header.high_bit
        words >>= unused
