"""One image as a compressed frame in each transfer syntax: to measure and to test decoders with.

Where there is a choice, the encoder is another library than the decoder that is to read its
work: libjpeg-turbo and OpenJPH, which come with imagecodecs (the ``bench`` extra).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imagecodecs
import jpeg_ls
import numpy as np
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_DCT_QUALITY = 98
_J2K_PSNR_DB = 70
_HTJ2K_STEP = 1e-4
NEAR = 2
"""Largest error of the JPEG-LS near-lossless frames."""
_PREDICTOR = 6
"""Of JPEG lossless process 14, which may choose; selection value 1 has its own UID."""


def encode_frame(
    stored: NDArray[np.integer], transfer_syntax: str, *, precision: int, signed: bool = False
) -> bytes:
    """Encodes one image.

    Args:
        stored: (rows, columns) stored values, signed or unsigned.
        transfer_syntax: UID; one of :data:`COMPRESSED`.
        precision: Bits per sample that the codestream states; at least as many as the values
            need. HTJ2K frames state 8 or 16, as their encoder can do no other.
        signed: The codestream states signed samples (JPEG 2000 and HTJ2K alone can). Otherwise
            values below zero become the unsigned ones of the same low bits.

    Returns:
        The codestream.
    """
    if transfer_syntax == RLELossless:  # whole words, of which each byte is a segment
        precision = 8 * stored.dtype.itemsize
    return _ENCODERS[transfer_syntax](_samples(stored, precision, signed=signed), precision)


def _samples(stored: NDArray[np.integer], precision: int, *, signed: bool) -> NDArray[Any]:
    words = stored.astype(np.int64) & ((1 << precision) - 1)
    if signed:
        words -= (words >> (precision - 1)) << precision
    return words.astype(f"{'i' if signed else 'u'}{1 if precision <= 8 else 2}")


def _dct(samples: NDArray[Any], precision: int) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(samples, _DCT_QUALITY, bitspersample=precision))


def _lossless(predictor: int) -> Callable[[NDArray[Any], int], bytes]:
    def encode(samples: NDArray[Any], precision: int) -> bytes:
        return bytes(
            imagecodecs.jpeg8_encode(
                samples, lossless=True, predictor=predictor, bitspersample=precision
            )
        )

    return encode


def _jpeg_ls(error: int) -> Callable[[NDArray[Any], int], bytes]:
    def encode(samples: NDArray[Any], precision: int) -> bytes:
        rows, columns = samples.shape
        return bytes(
            jpeg_ls.encode_pixel_data(
                samples.tobytes(),
                lossy_error=error,
                rows=rows,
                columns=columns,
                samples_per_pixel=1,
                bits_stored=precision,
            )
        )

    return encode


def _jpeg_2000(psnr_db: int | None) -> Callable[[NDArray[Any], int], bytes]:
    def encode(samples: NDArray[Any], precision: int) -> bytes:
        return bytes(
            imagecodecs.jpeg2k_encode(
                samples,
                psnr_db,
                codecformat="j2k",
                reversible=psnr_db is None,
                bitspersample=precision,
                # Each resolution halves the sides, and the smallest must keep a pixel.
                resolutions=min(min(samples.shape).bit_length(), 6),
            )
        )

    return encode


def _htj2k(step: float | None) -> Callable[[NDArray[Any], int], bytes]:
    def encode(samples: NDArray[Any], precision: int) -> bytes:
        # Its order of progression is RPCL; with the tile lengths any of the three UIDs fits.
        return bytes(imagecodecs.htj2k_encode(samples, step, reversible=step is None, tlm=True))

    return encode


def _rle(samples: NDArray[Any], precision: int) -> bytes:
    rows, columns = samples.shape
    allocated = 8 * samples.dtype.itemsize
    return get_encoder(RLELossless).encode(
        samples,
        encoding_plugin="pydicom",
        rows=rows,
        columns=columns,
        number_of_frames=1,
        samples_per_pixel=1,
        bits_allocated=allocated,
        bits_stored=allocated,
        pixel_representation=0,
        photometric_interpretation="MONOCHROME2",
    )


_ENCODERS: dict[str, Callable[[NDArray[Any], int], bytes]] = {
    JPEGBaseline8Bit: _dct,
    JPEGExtended12Bit: _dct,
    JPEGLossless: _lossless(_PREDICTOR),
    JPEGLosslessSV1: _lossless(1),
    JPEGLSLossless: _jpeg_ls(0),
    JPEGLSNearLossless: _jpeg_ls(NEAR),
    JPEG2000Lossless: _jpeg_2000(None),
    JPEG2000: _jpeg_2000(_J2K_PSNR_DB),
    HTJ2KLossless: _htj2k(None),
    HTJ2KLosslessRPCL: _htj2k(None),
    HTJ2K: _htj2k(_HTJ2K_STEP),
    RLELossless: _rle,
}
COMPRESSED = tuple(_ENCODERS)
"""UIDs of the transfer syntaxes a frame can be encoded in."""
