"""JPEG frames: what they say of themselves, and their decoding by GDCM's codec itself.

pydicom's plugin asks GDCM for an image, which comes back as a text that has to be encoded again:
that takes as long as the decoding. The codec itself gives bytes. It also reads the 12-bit
extended process, which the plugin refuses; its values were compared with libjpeg-turbo's.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import gdcm
import numpy as np
from numpy.typing import NDArray  # noqa: TC002 - beside numpy itself

_FRAME_MARKERS = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xF7})
"""JPEG's SOF0 to SOF3 and JPEG-LS's SOF55."""


@dataclass(frozen=True, slots=True)
class JpegFrame:
    """The frame header of a JPEG or JPEG-LS codestream (ITU-T T.81 B.2.2, T.87 C.2.2).

    Attributes:
        precision: Bits per sample.
        rows: Lines.
        columns: Samples per line.
        components: 1 for a gray image.
        is_complete: Whether the codestream comes to its end marker.
    """

    precision: int
    rows: int
    columns: int
    components: int
    is_complete: bool


def read_jpeg_frame(codestream: bytes) -> JpegFrame | None:
    """The frame header of a JPEG or JPEG-LS codestream; None for any other."""
    position = 2 if codestream[:2] == b"\xff\xd8" else len(codestream)
    while position + 10 <= len(codestream) and codestream[position] == 0xFF:
        if codestream[position + 1] in _FRAME_MARKERS:
            fields = codestream[position + 4 : position + 10]
            return JpegFrame(
                precision=fields[0],
                rows=int.from_bytes(fields[1:3], "big"),
                columns=int.from_bytes(fields[3:5], "big"),
                components=fields[5],
                is_complete=codestream[-16:].rstrip(b"\0").endswith(b"\xff\xd9"),
            )
        position += 2 + int.from_bytes(codestream[position + 2 : position + 4], "big")
    return None


def decode_words(codestream: bytes, frame: JpegFrame, *, signed: bool) -> NDArray[np.integer]:
    """Decodes a gray JPEG image of 9 to 16 bits per sample, lossless or extended.

    Args:
        codestream: One image.
        frame: Its frame header.
        signed: Whether its words are in two's complement, as PixelRepresentation says.

    Returns:
        (rows, columns) uint16 or int16, for the caller to change.

    Raises:
        ValueError: The codestream is damaged.
    """
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(codestream)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    encoded = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    encoded.SetValue(fragments.__ref__())
    codec = gdcm.JPEGCodec()
    codec.SetNumberOfDimensions(2)
    codec.SetDimensions((frame.columns, frame.rows, 1))
    bits = frame.precision
    codec.SetPixelFormat(gdcm.PixelFormat(1, 16, bits, bits - 1, int(signed)))
    gray = gdcm.PhotometricInterpretation.MONOCHROME2
    codec.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gray))
    decoded = gdcm.DataElement()
    value = decoded.GetByteValue() if codec.Decode(encoded, decoded) else None
    size = 2 * frame.rows * frame.columns
    if value is None or int(str(value.GetLength())) != size:
        raise ValueError("its JPEG codestream is damaged")
    words = np.empty((frame.rows, frame.columns), np.int16 if signed else np.uint16)
    ctypes.memmove(words.ctypes.data, int(value.GetVoidPointer()), size)
    return words
