"""Who and what a series shows, for the corners of a viewer, and for a report that is to name it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydicom import dcmread

if TYPE_CHECKING:
    from pathlib import Path

_KEYWORDS = {
    "patient_name": "PatientName",
    "patient_id": "PatientID",
    "sex": "PatientSex",
    "age": "PatientAge",
    "institution": "InstitutionName",
    "study_description": "StudyDescription",
    "study_date": "StudyDate",
    "accession_number": "AccessionNumber",
    "series_description": "SeriesDescription",
    "series_number": "SeriesNumber",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Texts of one series as its files give them; empty where absent or unreadable."""

    patient_name: str = ""
    patient_id: str = ""
    sex: str = ""
    age: str = ""
    institution: str = ""
    study_description: str = ""
    study_date: str = ""
    accession_number: str = ""
    series_description: str = ""
    series_number: str = ""

    @property
    def date_text(self) -> str:
        """The study's date with hyphens, or as the file has it where it is no date."""
        date = self.study_date
        is_date = len(date) == 8 and date.isdigit()
        return f"{date[:4]}-{date[4:6]}-{date[6:]}" if is_date else date


def read_identity(path: Path) -> Identity:
    """Reads the texts from one file of a series.

    A bad character set or value costs that text, never the series.

    Args:
        path: A DICOM file.
    """
    try:
        dataset = dcmread(path, stop_before_pixels=True, specific_tags=list(_KEYWORDS.values()))
    except Exception:  # noqa: BLE001 - texts are optional, whatever is wrong with the file
        return Identity()
    texts: dict[str, str] = {}
    for field, keyword in _KEYWORDS.items():
        try:
            texts[field] = str(dataset.get(keyword, "") or "").strip()
        except Exception:  # noqa: BLE001 - one undecodable text must not cost the others
            texts[field] = ""
    return Identity(**texts)
