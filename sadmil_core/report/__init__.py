"""What leaves the program: the slice report as CSV, and the same with more as JSON."""

from sadmil_core.report.record import ScanRecord
from sadmil_core.report.slices_csv import COLUMNS, SCHEMA_VERSION, csv_text, write_csv
from sadmil_core.report.slices_json import json_text, write_json

__all__ = [
    "COLUMNS",
    "SCHEMA_VERSION",
    "ScanRecord",
    "csv_text",
    "json_text",
    "write_csv",
    "write_json",
]
