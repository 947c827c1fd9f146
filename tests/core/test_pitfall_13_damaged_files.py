"""Damaged, cut and wrongly written files, and names and links that trap a reader."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sadmil_core.dicom import (
    SkipReason,
    SliceHeader,
    WarningCode,
    index_folder,
    read_headers,
)
from sadmil_core.dicom.decode import read_stored
from sadmil_core.errors import DecodeError
from tests.synthetic import (
    SYNTAXES,
    encoded_hu,
    load,
    only_entry,
    spoil,
    truncate,
    write_series,
)


def _header(path: Path) -> SliceHeader:
    (header,) = read_headers(path)
    assert isinstance(header, SliceHeader), header
    return header


def test_nested_folders_and_non_ascii_names_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "Prüfung 頭部" / "série n° 1"
    write_series(folder, name="coupe é {:03d}")
    np.testing.assert_array_equal(load(tmp_path).hu, encoded_hu(6))


def test_a_single_file_can_be_indexed_and_undecodable_names_survive(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, slices=1)
    odd = tmp_path / os.fsdecode(b"caf\xe9.dcm")
    path.rename(odd)
    assert only_entry(index_folder(odd)).slices[0].path == odd


def test_links_pipes_and_loops_neither_hang_nor_crash(tmp_path: Path) -> None:
    write_series(tmp_path / "scan")
    (tmp_path / "dangling").symlink_to(tmp_path / "absent")
    (tmp_path / "scan" / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    index = index_folder(tmp_path)
    assert only_entry(index).shape[0] == 6
    reasons = {file.path.name: file.reason for file in index.skipped}
    assert reasons == {"dangling": SkipReason.UNREADABLE, "pipe": SkipReason.NOT_DICOM}


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


def test_a_cut_deflated_file_never_gives_pixels(tmp_path: Path) -> None:
    paths = write_series(tmp_path, rows=32, columns=32, syntax="deflated")
    truncate(paths[0], 200)
    index = index_folder(tmp_path)
    assert [file.path for file in index.failures] == paths[:1]
    assert only_entry(index).shape[0] == 5


@pytest.mark.parametrize("syntax", ["jpeg 2000", "rle"])
def test_compressed_pixels_with_garbage_inside_are_a_decode_error(
    tmp_path: Path, syntax: str
) -> None:
    (path,) = write_series(tmp_path, slices=1, rows=32, columns=32, syntax=syntax)
    spoil(path)
    with pytest.raises(DecodeError, match="could not be decoded"):
        read_stored(_header(path))


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
