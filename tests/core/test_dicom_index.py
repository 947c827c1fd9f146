"""Folders as they come: foreign files, damage, and that nothing is dropped in silence."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from sadmil_core.dicom import (
    SkippedFile,
    SkipReason,
    WarningCode,
    index_folder,
    merge_indexes,
    read_headers,
    require_entries,
)
from sadmil_core.errors import InputError
from sadmil_core.progress import Cancelled
from tests.synthetic import (
    SYNTAXES,
    delete,
    only,
    only_entry,
    set_to,
    truncate,
    write_series,
)


def _reason(path: Path) -> SkipReason:
    found = read_headers(path)
    assert isinstance(found, SkippedFile)
    assert found.path == path
    assert found.message
    return found.reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (set_to(Modality="MR"), SkipReason.NOT_CT),
        (delete("Modality"), SkipReason.INCOMPLETE_HEADER),
        (set_to(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), SkipReason.LOCALIZER),
        (set_to(SamplesPerPixel=3), SkipReason.NOT_GRAYSCALE),
        (set_to(NumberOfFrames=2), SkipReason.TRUNCATED),
        (delete("SeriesInstanceUID"), SkipReason.INCOMPLETE_HEADER),
        (set_to(SOPInstanceUID=""), SkipReason.INCOMPLETE_HEADER),
        (delete("PixelData"), SkipReason.TRUNCATED),
        (delete("Rows"), SkipReason.INCOMPLETE_HEADER),
    ],
)
def test_what_is_no_ct_slice_is_passed_over_with_its_reason(
    tmp_path: Path, change: Any, reason: SkipReason
) -> None:
    (path,) = write_series(tmp_path, slices=1, change=change)
    assert _reason(path) is reason


@pytest.mark.parametrize("syntax", sorted(set(SYNTAXES) - {"deflated"}))
@pytest.mark.parametrize("lost", [2, 40, 300])
def test_a_truncated_file_is_found_when_indexing_and_its_series_says_so(
    tmp_path: Path, syntax: str, lost: int
) -> None:
    paths = write_series(tmp_path, rows=32, columns=32, syntax=syntax)
    truncate(paths[5], lost)
    index = index_folder(tmp_path)
    assert [file.path for file in index.failures] == [paths[5]]
    assert index.failures[0].reason is SkipReason.TRUNCATED
    entry = only_entry(index)
    assert entry.shape[0] == 5
    # No gap shows at the end of a stack: only this warning tells that slices are missing.
    assert WarningCode.FILES_SKIPPED in entry.warning_codes
    assert paths[5].name in next(w.message for w in entry.warnings)


@pytest.mark.parametrize("size", [0, 1, 131, 132, 140, 400])
def test_a_dicom_file_cut_to_a_stump_counts_as_lost(tmp_path: Path, size: int) -> None:
    """The stump of an interrupted copy: it may have been a slice, so silence would be wrong."""
    paths = write_series(tmp_path)
    paths[5].write_bytes(paths[5].read_bytes()[:size])
    index = index_folder(tmp_path)
    assert only_entry(index).shape[0] == 5
    assert [file.path for file in index.failures] == [paths[5]]


def test_other_files_are_passed_over_without_being_failures(tmp_path: Path) -> None:
    write_series(tmp_path)
    (tmp_path / "notes.txt").write_text("no DICOM")
    (tmp_path / ".hidden").write_bytes(b"")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG" + bytes(500))
    index = index_folder(tmp_path)
    assert len(index.skipped) == 4
    assert {file.reason for file in index.skipped} == {SkipReason.NOT_DICOM}
    assert index.failures == ()
    assert only_entry(index).warnings == ()


def test_a_localizer_inside_a_series_is_not_one_of_its_slices(tmp_path: Path) -> None:
    write_series(tmp_path, change=only(2, set_to(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])))
    index = index_folder(tmp_path)
    assert only_entry(index).shape[0] == 5
    assert [file.reason for file in index.skipped] == [SkipReason.LOCALIZER]


def test_random_damage_never_raises(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, slices=1)
    content = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(content)
        for place in random.integers(132, len(damaged), size=4):
            damaged[place] = random.integers(256)
        path.write_bytes(bytes(damaged))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's, about the damage
            index = index_folder(tmp_path)
        assert len(index.entries) + len(index.skipped) == 1


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


def test_a_file_that_may_not_be_read_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_series(tmp_path)
    really_open = Path.open

    def refuse(self: Path, *args: Any, **kwargs: Any) -> Any:
        if self == paths[1]:
            raise PermissionError(13, "Permission denied", str(self))
        return really_open(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    index = index_folder(tmp_path)
    assert [(f.path, f.reason) for f in index.failures] == [(paths[1], SkipReason.UNREADABLE)]
    assert only_entry(index).shape[0] == 5


def test_links_pipes_and_loops_neither_hang_nor_crash(tmp_path: Path) -> None:
    write_series(tmp_path / "scan")
    (tmp_path / "dangling").symlink_to(tmp_path / "absent")
    (tmp_path / "scan" / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    index = index_folder(tmp_path)
    assert only_entry(index).shape[0] == 6
    reasons = {file.path.name: file.reason for file in index.skipped}
    assert reasons == {"dangling": SkipReason.UNREADABLE, "pipe": SkipReason.NOT_DICOM}


def test_a_single_file_can_be_indexed_and_undecodable_names_survive(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, slices=1)
    odd = tmp_path / os.fsdecode(b"caf\xe9.dcm")
    path.rename(odd)
    assert only_entry(index_folder(odd)).slices[0].path == odd


def test_odd_values_of_unused_elements_do_not_matter(tmp_path: Path) -> None:
    paths = write_series(tmp_path, slices=2)
    for path in paths:
        content = path.read_bytes().replace(b"Secret^Name ", b"\xff\xfe\xfd\\\\^^^^^^=")
        assert content != path.read_bytes()
        path.write_bytes(content)
    assert only_entry(index_folder(tmp_path)).warnings == ()


def test_invalid_uids_are_a_warning_not_a_failure(tmp_path: Path) -> None:
    write_series(tmp_path, syntax="rle", change=set_to(SOPInstanceUID=lambda z: f"ID_{z}"))
    assert only_entry(index_folder(tmp_path)).warning_codes == (WarningCode.INVALID_UID,)


def test_the_first_slice_is_shown_before_the_rest_is_read(tmp_path: Path) -> None:
    write_series(tmp_path, slices=9)
    seen: list[Any] = []
    index_folder(tmp_path, on_first=seen.append)
    assert [header.path.name for header in seen] == ["slice-004.dcm"]


def test_indexing_can_be_cancelled(tmp_path: Path) -> None:
    write_series(tmp_path)

    def progress(done: int, total: int, phase: str) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        index_folder(tmp_path, progress)


def test_reading_headers_leaves_the_pixels_alone_and_agrees_with_pydicom(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, slices=1, orientation=(0, 1, 0, -1, 0, 0), bits_stored=13)
    (header,), dataset = read_headers(path), dcmread(path)
    assert not isinstance(header, SkippedFile)
    assert header.position_mm == tuple(dataset.ImagePositionPatient)
    assert header.bits_stored == dataset.BitsStored == 13
    assert header.pixel_offset is not None
    assert path.read_bytes()[header.pixel_offset :][: len(dataset.PixelData)] == dataset.PixelData


def test_merged_indexes_read_each_file_once_and_join_a_series_in_two_folders(
    tmp_path: Path,
) -> None:
    write_series(tmp_path / "a", left_out=(3, 4, 5))
    write_series(tmp_path / "b", left_out=(0, 1, 2))
    (tmp_path / "link").symlink_to(tmp_path / "a")
    parts = [index_folder(tmp_path / name) for name in ("b", "a", "link", ".")]
    merged = merge_indexes(parts)
    entry = only_entry(merged)
    assert entry.shape[0] == 6
    assert entry.warnings == ()
