"""Head-CT DICOM: folders to stacks, stacks to Hounsfield volumes.

Axis order is slice, row, column; slice 0 is the foot end; frames are LPS mm.
"""

from sadmil_core.dicom.codes import CodedWarning, SkippedFile, SkipReason, WarningCode
from sadmil_core.dicom.decode_pool import decode_slice
from sadmil_core.dicom.geometry import StackGeometry, direction_letters, side_letters
from sadmil_core.dicom.header import SliceHeader, read_headers
from sadmil_core.dicom.identity import Identity, read_identity
from sadmil_core.dicom.index import SeriesIndex, index_folder, merge_indexes, require_entries
from sadmil_core.dicom.stacks import StackEntry, build_stacks
from sadmil_core.dicom.volume import CTVolume, VolumeLoad, load_volume, open_volume

__all__ = [
    "CTVolume",
    "CodedWarning",
    "Identity",
    "SeriesIndex",
    "SkipReason",
    "SkippedFile",
    "SliceHeader",
    "StackEntry",
    "StackGeometry",
    "VolumeLoad",
    "WarningCode",
    "build_stacks",
    "decode_slice",
    "direction_letters",
    "index_folder",
    "load_volume",
    "merge_indexes",
    "open_volume",
    "read_headers",
    "read_identity",
    "require_entries",
    "side_letters",
]
