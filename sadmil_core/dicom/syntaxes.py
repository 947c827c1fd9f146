"""Transfer syntaxes: which are native, which can be decoded."""

from __future__ import annotations

from functools import lru_cache

from pydicom._uid_dict import UID_dictionary
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


def syntax_name(transfer_syntax: str) -> str:
    """What people call a transfer syntax, or the format that stands in its place.

    Args:
        transfer_syntax: A UID, or the name of another format.
    """
    # Not through UID, which warns of all that is none.
    return UID_dictionary.get(transfer_syntax, (transfer_syntax,))[0].partition(":")[0]
