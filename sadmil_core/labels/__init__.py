"""What readers say of scans: kept by hashes, exported as a manifest to train on.

``marks`` are the labels of one scan as values, and the rules by which they stay consistent;
``database`` and ``journal`` keep every change of them; ``drawings`` keeps measurements and key
images; ``key`` is the secret behind the hashes; ``export`` brings labels and files together again.
"""

from sadmil_core.labels.database import LabelDatabase
from sadmil_core.labels.drawings import Drawing, DrawingStore
from sadmil_core.labels.export import LabelledScans, collect_scans
from sadmil_core.labels.journal import Journal, JournalRow
from sadmil_core.labels.key import read_key
from sadmil_core.labels.marks import ScanMarks, SliceMarks
from sadmil_core.labels.names import ScanName, SliceName, scan_name, slice_names

__all__ = [
    "Drawing",
    "DrawingStore",
    "Journal",
    "JournalRow",
    "LabelDatabase",
    "LabelledScans",
    "ScanMarks",
    "ScanName",
    "SliceMarks",
    "SliceName",
    "collect_scans",
    "read_key",
    "scan_name",
    "slice_names",
]
