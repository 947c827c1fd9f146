"""Transfer syntaxes: which are native, which can be decoded."""

from __future__ import annotations

from functools import lru_cache

from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from sadmil_core.dicom.elements import GE_PRIVATE_SYNTAX

NATIVE = frozenset(
    {
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        GE_PRIVATE_SYNTAX,
    }
)
ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"


@lru_cache
def can_decode(transfer_syntax: str) -> bool:
    """Whether pixels encapsulated in this transfer syntax can be read."""
    if transfer_syntax == ENCAPSULATED_UNCOMPRESSED:
        return True
    try:
        return bool(get_decoder(UID(transfer_syntax)).is_available)
    except NotImplementedError:
        return False
