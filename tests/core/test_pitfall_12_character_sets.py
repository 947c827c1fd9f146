"""Texts nobody can read never keep a series from being read."""

from __future__ import annotations

from pathlib import Path

import pytest

from sadmil_core.dicom import (
    index_folder,
    read_identity,
)
from tests.synthetic import (
    only_entry,
    set_to,
    write_series,
)


def test_odd_values_of_unused_elements_do_not_matter(tmp_path: Path) -> None:
    paths = write_series(tmp_path, slices=2)
    for path in paths:
        content = path.read_bytes().replace(b"Secret^Name ", b"\xff\xfe\xfd\\\\^^^^^^=")
        assert content != path.read_bytes()
        path.write_bytes(content)
    assert only_entry(index_folder(tmp_path)).warnings == ()


def test_identity_never_fails_and_bad_texts_cost_only_themselves(tmp_path: Path) -> None:
    paths = write_series(
        tmp_path,
        slices=1,
        change=set_to(SpecificCharacterSet="NOT A SET", PatientSex="F", PatientName="A^B"),
    )
    with pytest.warns(UserWarning, match="NOT A SET|encoding"):
        assert read_identity(paths[0]).sex == "F"
    assert read_identity(tmp_path / "absent").patient_name == ""
    assert read_identity(Path(__file__)).patient_name == ""
