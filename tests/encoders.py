"""Stored values into a data set's pixel data, in every transfer syntax the reader is to know.

The frames themselves come from :mod:`sadmil_core.bench.codestreams`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from sadmil_core.bench.codestreams import COMPRESSED, NEAR, encode_frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pydicom import Dataset

GE_PRIVATE = UID("1.2.840.113619.5.2")
ENCAPSULATED_UNCOMPRESSED = UID("1.2.840.10008.1.2.1.98")
LOSSLESS: dict[str, UID] = {
    "implicit": ImplicitVRLittleEndian,
    "explicit": ExplicitVRLittleEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "big endian": ExplicitVRBigEndian,
    "ge private": GE_PRIVATE,
    "encapsulated uncompressed": ENCAPSULATED_UNCOMPRESSED,
    "rle": RLELossless,
    "jpeg lossless": JPEGLossless,
    "jpeg lossless sv1": JPEGLosslessSV1,
    "jpeg-ls": JPEGLSLossless,
    "jpeg 2000": JPEG2000Lossless,
    "htj2k": HTJ2KLossless,
    "htj2k rpcl": HTJ2KLosslessRPCL,
}
LOSSY: dict[str, tuple[UID, int, int]] = {
    "jpeg baseline": (JPEGBaseline8Bit, 8, 3),
    "jpeg extended": (JPEGExtended12Bit, 12, 8),
    "jpeg-ls near-lossless": (JPEGLSNearLossless, 12, NEAR),
    "jpeg 2000 lossy": (JPEG2000, 12, 10),
    "htj2k lossy": (HTJ2K, 12, 16),
}
"""UID, bits stored, and the largest error (in stored units) that the encoder's settings make in a
smooth image with noise."""
UNREADABLE: dict[str, UID] = {
    "jpeg progressive": UID("1.2.840.10008.1.2.4.55"),
    "jpeg 2000 part 2": UID("1.2.840.10008.1.2.4.92"),
    "jpip": UID("1.2.840.10008.1.2.4.94"),
    "mpeg2": UID("1.2.840.10008.1.2.4.100"),
    "mpeg-4": UID("1.2.840.10008.1.2.4.102"),
    "hevc": UID("1.2.840.10008.1.2.4.107"),
}
"""Encapsulated syntaxes no decoder is there for: some of many."""
ENCODABLE = LOSSLESS | {name: uid for name, (uid, _, _) in LOSSY.items()}
WITH_SIGN = frozenset({JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K})
"""Syntaxes whose codestreams say themselves whether their samples are signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How compressed pixel data is to be written; None is what a good encoder does.

    Attributes:
        precision: Bits per sample that the codestream states; BitsStored if None (HTJ2K: the
            bits of the word, as its encoder can do no other).
        signed: Whether the codestream says signed, where it can; as the header does if None.
        offsets: ``basic``, ``empty`` (an empty basic offset table) or ``extended``.
        fragments: How many items each frame is split into.
    """

    precision: int | None = None
    signed: bool | None = None
    offsets: str = "basic"
    fragments: int = 1


def set_pixels(
    dataset: Dataset, frames: Sequence[NDArray[Any]], uid: UID, encoding: Encoding
) -> None:
    """Puts frames of stored values into a data set, whose other image elements are there."""
    if uid in COMPRESSED:
        set_items(dataset, [encode(dataset, frame, uid, encoding) for frame in frames], encoding)
        if uid in {lossy for lossy, _, _ in LOSSY.values()}:
            dataset.LossyImageCompression = "01"
        return
    order = ">" if uid in (ExplicitVRBigEndian, GE_PRIVATE) else "<"
    native = [frame.astype(frame.dtype.newbyteorder(order)).tobytes() for frame in frames]
    if uid == ENCAPSULATED_UNCOMPRESSED:
        set_items(dataset, native, encoding)
        return
    dataset.PixelData = b"".join(native)
    dataset["PixelData"].VR = "OW" if dataset.BitsAllocated > 8 else "OB"
    if len(dataset.PixelData) % 2:
        dataset.PixelData += b"\0"


def encode(dataset: Dataset, stored: NDArray[Any], uid: UID, encoding: Encoding) -> bytes:
    """One frame as the codestream that the data set's elements (or ``encoding``) ask for."""
    precision = encoding.precision or dataset.BitsStored
    if uid in (HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K):
        precision = 8 if precision <= 8 else 16
    signed = bool(dataset.PixelRepresentation) if encoding.signed is None else encoding.signed
    return encode_frame(stored, uid, precision=precision, signed=signed and uid in WITH_SIGN)


def set_items(dataset: Dataset, frames: list[bytes], encoding: Encoding) -> None:
    """Encapsulates frames that are encoded already (PS3.5 section A.4)."""
    if encoding.offsets == "extended":
        data, offsets, lengths = encapsulate_extended(frames)
        dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = offsets, lengths
    else:
        data = encapsulate(
            frames,
            fragments_per_frame=encoding.fragments,
            has_bot=encoding.offsets == "basic",
        )
    dataset.PixelData = data
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True


def noisy_head(rows: int, columns: int, top: int, seed: int = 0) -> NDArray[np.int64]:
    """(rows, columns) of values from 0 to ``top``: smooth shapes and noise, as CT has."""
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    smooth = 0.55 + 0.25 * np.cos(4 * x) * np.cos(3 * y)
    noise = np.random.default_rng(seed).normal(0, 0.004, (rows, columns))
    image: NDArray[np.int64] = np.rint(top * np.clip(smooth + noise, 0, 1)).astype(np.int64)
    return image
