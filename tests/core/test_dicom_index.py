"""What an index says of a path that holds nothing, and of odd UIDs."""

from __future__ import annotations

from pathlib import Path

import pytest

from sadmil_core.dicom import (
    WarningCode,
    index_folder,
    require_entries,
)
from sadmil_core.errors import InputError
from tests.synthetic import (
    only_entry,
    set_to,
    write_series,
)


def test_no_such_path_and_an_empty_folder_and_nothing_of_use(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        index_folder(tmp_path / "absent")
    with pytest.raises(InputError, match="is an empty folder"):
        require_entries(index_folder(tmp_path))
    (tmp_path / "notes.txt").write_text("no DICOM")
    write_series(tmp_path, slices=2, change=set_to(Modality="MR"))
    with pytest.raises(InputError) as caught:
        require_entries(index_folder(tmp_path))
    assert "3 file(s)" in str(caught.value)
    assert "2 x not CT (modality MR)" in str(caught.value)


def test_invalid_uids_are_a_warning_not_a_failure(tmp_path: Path) -> None:
    write_series(tmp_path, syntax="rle", change=set_to(SOPInstanceUID=lambda z: f"ID_{z}"))
    assert only_entry(index_folder(tmp_path)).warning_codes == (WarningCode.INVALID_UID,)
