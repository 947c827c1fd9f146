"""DICOMDIR: what it lists is found as discs are really copied, and never outside its folder."""

from __future__ import annotations

import gc
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.fileset import FileSet

from sadmil_core.dicom import (
    SkippedFile,
    SkipReason,
    WarningCode,
    index_folder,
    load_volume,
    require_entries,
)
from sadmil_core.dicom.dicomdir import is_dicomdir, read_dicomdir
from sadmil_core.errors import InputError
from tests.synthetic import SERIES, encoded_hu, only_entry, set_to, truncate, write_series

_STUDY = set_to(StudyDate="20200102", StudyTime="010203", StudyID="1", SeriesNumber=1)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disc of one series."""
    folder = tmp_path_factory.mktemp("original")
    files = FileSet()
    for path in write_series(folder / "made", change=_STUDY):
        files.add(path)
    files.write(folder / "disc")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of a temporary folder it leaves open
        del files
        gc.collect()
    return folder / "disc"


@pytest.fixture
def directory(tmp_path: Path, original: Path) -> Path:
    """The DICOMDIR of a disc that the test may change."""
    return shutil.copytree(original, tmp_path / "disc") / "DICOMDIR"


def _images(directory: Path) -> list[Path]:
    return sorted(p for p in directory.parent.rglob("*") if p.is_file() and p != directory)


def _change_ids(directory: Path, change: Callable[[list[str], int], Any]) -> None:
    dataset = dcmread(directory)
    records = [r for r in dataset.DirectoryRecordSequence if "ReferencedFileID" in r]
    for number, record in enumerate(records):
        record.ReferencedFileID = change(list(record.ReferencedFileID), number)
    dataset.save_as(directory)


def _reads_whole(path: Path) -> bool:
    index = index_folder(path)
    return index.skipped == () and np.array_equal(load_volume(only_entry(index)).hu, encoded_hu(6))


@pytest.mark.parametrize("name", ["DICOMDIR", "dicomdir", "DICOMDIR.dcm", "index"])
def test_a_directory_is_known_by_its_class_whatever_it_is_called(
    directory: Path, name: str
) -> None:
    renamed = directory.rename(directory.with_name(name))
    assert is_dicomdir(renamed)
    assert _reads_whole(renamed)


def test_a_slice_called_dicomdir_is_a_slice(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, slices=1, name="DICOMDIR")
    assert not is_dicomdir(path)
    assert only_entry(index_folder(path)).shape[0] == 1


def test_only_what_is_listed_is_read(directory: Path) -> None:
    write_series(directory.parent / "more", series_uid=f"{SERIES}.7")
    assert _reads_whole(directory)
    assert len(index_folder(directory.parent).entries) == 2


def _lower(path: Path) -> str:
    return path.name.lower()


def _version(path: Path) -> str:
    return f"{path.name};1"


@pytest.mark.parametrize(
    "rename",
    [
        _lower,
        _version,
        lambda path: f"{path.name}.dcm",
        lambda path: f"{path.name.lower()}.DCM;1",
        lambda path: f"{path.name}.",
        lambda path: f"{path.name}.IMA",
    ],
)
def test_files_are_found_under_the_names_that_copies_get(
    directory: Path, rename: Callable[[Path], str]
) -> None:
    for path in _images(directory):
        path.rename(path.with_name(rename(path)))
    assert _reads_whole(directory)


@pytest.mark.parametrize(
    "change",
    [
        lambda parts, number: [part.lower() for part in parts],
        lambda parts, number: [*parts[:-1], f"{parts[-1]}.dcm"],
        lambda parts, number: [*parts[:-1], f"{parts[-1]};1"],
        lambda parts, number: "/".join(parts),
    ],
)
@pytest.mark.filterwarnings("ignore")  # pydicom's, of values that are wrong on purpose
def test_listed_names_may_differ_as_well(directory: Path, change: Callable[..., Any]) -> None:
    _change_ids(directory, change)
    assert _reads_whole(directory)


def test_folders_of_other_case_are_found(directory: Path) -> None:
    (top,) = (p for p in directory.parent.iterdir() if p.is_dir())
    top.rename(top.with_name(top.name.lower()))
    assert _reads_whole(directory)


@pytest.mark.filterwarnings("ignore")
def test_one_name_is_not_taken_for_another(directory: Path) -> None:
    # Without its last number a UID is still a name of its own, not one with an extension.
    images = _images(directory)
    _change_ids(directory, lambda parts, number: [*parts[:-1], f"1.2.{number}"])
    for number, path in enumerate(images):
        path.rename(path.with_name(f"1.2.{number}"))
    images[2].with_name("1.2.2").unlink()
    (absent,) = read_dicomdir(directory).skipped
    assert absent.path.name == "1.2.2"


@pytest.mark.parametrize("opened", ["directory", "folder"])
def test_what_is_listed_and_absent_is_named_with_its_series(directory: Path, opened: str) -> None:
    lost = _images(directory)[5]
    lost.unlink()
    index = index_folder(directory if opened == "directory" else directory.parent)
    (absent,) = index.failures
    assert absent == SkippedFile(
        lost, SkipReason.ABSENT, "listed by the DICOMDIR, and not there", SERIES
    )
    entry = only_entry(index)
    # No gap shows at the end of a stack.
    assert entry.shape[0] == 5
    assert WarningCode.FILES_SKIPPED in entry.warning_codes


OUTSIDE = [
    ["..", "secret", "a"],
    ["D", "..", "..", "secret", "a"],
    "../secret/a",
    "/etc/passwd",
    ["", "etc", "passwd"],
    "C:/secret/a",
    ["C:", "a"],
    [".", "a"],
]


@pytest.mark.parametrize("value", OUTSIDE)
@pytest.mark.filterwarnings("ignore")
def test_no_listed_path_leads_out(tmp_path: Path, directory: Path, value: Any) -> None:
    (secret,) = write_series(tmp_path / "secret", slices=1, name="a", series_uid=f"{SERIES}.9")
    _change_ids(directory, lambda parts, number: value if number == 0 else parts)
    listed = read_dicomdir(directory)
    (refused,) = listed.skipped
    assert refused.reason is SkipReason.UNSAFE_NAME
    assert refused.path.parent == directory.parent
    assert secret not in listed.files
    assert len(listed.files) == 5
    assert all(path.is_relative_to(directory.parent) for path in listed.files)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.lists(st.text("./\\:CcAa1 \0~", min_size=1, max_size=8), min_size=1, max_size=4))
@pytest.mark.filterwarnings("ignore")
def test_whatever_is_listed_only_files_below_are_found(
    tmp_path_factory: pytest.TempPathFactory, original: Path, value: list[str]
) -> None:
    directory = shutil.copytree(original, tmp_path_factory.mktemp("any") / "disc") / "DICOMDIR"
    _change_ids(directory, lambda parts, number: value if number == 0 else parts)
    listed = read_dicomdir(directory)
    for path in listed.files:
        assert path.resolve().is_relative_to(directory.parent)
        assert ".." not in path.parts
    assert all(file.path.resolve().is_relative_to(directory.parent) for file in listed.skipped)
    assert len(listed.files) + len(listed.skipped) >= 5


def test_a_damaged_directory_falls_back_to_the_folder_and_says_so(directory: Path) -> None:
    directory.write_bytes(b"damaged")
    index = index_folder(directory)
    (skipped,) = index.skipped
    assert (skipped.path, skipped.reason) == (directory, SkipReason.DICOMDIR_UNUSABLE)
    assert "whole folder is read" in skipped.message
    assert skipped.reason.is_failure
    assert only_entry(index).shape[0] == 6


@pytest.mark.parametrize("opened", ["directory", "folder"])
def test_a_directory_of_files_that_are_elsewhere_falls_back(directory: Path, opened: str) -> None:
    _change_ids(directory, lambda parts, number: ["ELSE", *parts])
    index = index_folder(directory if opened == "directory" else directory.parent)
    (skipped,) = index.failures
    assert skipped.reason is SkipReason.DICOMDIR_UNUSABLE
    assert "none of the 6 file(s)" in skipped.message
    assert only_entry(index).shape[0] == 6


def test_a_directory_alone_says_that_nothing_is_there(directory: Path) -> None:
    for path in _images(directory):
        path.unlink()
    with pytest.raises(InputError, match="none of the 6 file"):
        require_entries(index_folder(directory))


def test_broken_links_between_records_cost_no_file(directory: Path) -> None:
    dataset = dcmread(directory)
    for record in dataset.DirectoryRecordSequence:
        record.OffsetOfReferencedLowerLevelDirectoryEntity = 7
        record.OffsetOfTheNextDirectoryRecord = record.seq_item_tell  # to itself
    dataset.save_as(directory)
    assert _reads_whole(directory)


def test_records_out_of_use_are_passed_over(directory: Path) -> None:
    dataset = dcmread(directory)
    images = [r for r in dataset.DirectoryRecordSequence if "ReferencedFileID" in r]
    images[0].RecordInUseFlag = 0
    dataset.save_as(directory)
    assert len(read_dicomdir(directory).files) == 5


@pytest.mark.parametrize("lost", [1, 10, 200, 900])
def test_a_truncated_directory_loses_no_file_silently(directory: Path, lost: int) -> None:
    truncate(directory, lost)
    index = index_folder(directory)
    assert sum(len(e.slices) for e in index.entries) == 6
    assert [f.reason for f in index.failures] == [SkipReason.DICOMDIR_UNUSABLE]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.filterwarnings("ignore")
def test_broken_bytes_never_raise(directory: Path, original: Path, data: st.DataObject) -> None:
    content = bytearray((original / "DICOMDIR").read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(128, len(content) - 1))] = data.draw(st.integers(0, 255))
    directory.write_bytes(bytes(content))
    listed = read_dicomdir(directory)
    assert listed.files or listed.skipped
