"""Texts nobody can read never keep a series from being read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from sadmil_core.dicom import (
    WarningCode,
    index_folder,
    read_identity,
)
from tests.fuzzing.layout import take_apart
from tests.synthetic import (
    encoded_hu,
    load,
    only_entry,
    set_to,
    write_series,
)


def _stating(character_set: str) -> Callable[[Dataset, int], None]:
    """A change that states a character set, its terms parted by backslashes."""
    return set_to(SpecificCharacterSet=character_set.split("\\"))


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


@pytest.mark.parametrize(
    "character_set",
    ["ISO_IR 100", "ISO_IR 192", "GB18030", "ISO 2022 IR 87", "\\ISO 2022 IR 87", "ISO_IR 13"],
)
def test_known_character_sets_are_no_departure(tmp_path: Path, character_set: str) -> None:
    write_series(tmp_path, slices=2, change=_stating(character_set))
    np.testing.assert_array_equal(load(tmp_path).hu, encoded_hu(2))
    assert only_entry(index_folder(tmp_path)).warnings == ()


@pytest.mark.parametrize("character_set", ["NOT A SET", "\\ISO 2022 IR 999", "utf-8 probably"])
def test_an_unknown_character_set_is_said_and_stops_nothing(
    tmp_path: Path, character_set: str
) -> None:
    write_series(tmp_path, change=_stating(character_set))
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu, encoded_hu(6))
    (warning,) = volume.entry.warnings
    assert warning.code == WarningCode.UNKNOWN_CHARACTER_SET
    assert warning.message == "unknown character set: names may be misspelt"


@pytest.mark.parametrize("junk", [b"\xff\xfe\xfd\x80", b"\x1b$)C\x1b(J", b"\x1b[31m\x07", bytes(4)])
@pytest.mark.parametrize(
    "tag", [0x00100010, 0x0008103E, 0x00181030, 0x00181210, 0x00180015, 0x00080070]
)
def test_bytes_of_no_character_set_in_a_text_change_nothing(
    tmp_path: Path, tag: int, junk: bytes
) -> None:
    for path in write_series(tmp_path):
        document = take_apart(path.read_bytes())
        assert document is not None
        document.put(tag, b"LO", junk * 4)
        path.write_bytes(document.joined())
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu, encoded_hu(6))
    assert volume.entry.warnings == ()
    header = volume.entry.slices[0]
    assert f"{header.description}{header.kernel}{header.body_part}".isprintable()


def test_a_reason_never_carries_what_a_terminal_would_act_on(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, slices=1)
    document = take_apart(path.read_bytes())
    assert document is not None
    document.put(0x00080060, b"CS", b"\x1b[31mMR\x07 ")
    path.write_bytes(document.joined())
    (skipped,) = index_folder(tmp_path).skipped
    assert skipped.message == "not CT (modality \ufffd[31mMR\ufffd)"


def test_names_in_other_scripts_are_read(tmp_path: Path) -> None:
    name = "Müller^Jürgen=山田^太郎"
    change = set_to(SpecificCharacterSet="ISO_IR 192", PatientName=name)
    paths = write_series(tmp_path, slices=1, change=change)
    assert read_identity(paths[0]).patient_name == name
