"""The files that ship with pydicom and pydicom-data: odd, old, damaged, and never a traceback."""

from __future__ import annotations

from pathlib import Path

import data_store
import pydicom.data
import pytest

from sadmil_core.dicom import index_folder, load_volume
from sadmil_core.errors import DecodeError

FOLDERS = [
    Path(pydicom.data.__file__).parent / "test_files",
    Path(next(iter(data_store.__path__))) / "data",
]
FILES = [path for folder in FOLDERS for path in sorted(folder.rglob("*.dcm"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_file_is_an_entry_or_skipped_with_a_reason(path: Path, tmp_path: Path) -> None:
    (tmp_path / path.name).symlink_to(path)
    index = index_folder(tmp_path)
    assert index.entries or index.skipped
    assert all(file.reason and file.message for file in index.skipped)
    for entry in index.entries:
        try:
            volume = load_volume(entry)
        except DecodeError as error:
            assert path.name in str(error)  # noqa: PT017 - a volume is as good an outcome
        else:
            assert volume.hu.shape[0] >= len({h.path for h in entry.slices})


def test_there_are_such_files() -> None:
    assert len(FILES) > 50
