"""Damaged, cut and wrongly written files, and names and links that trap a reader."""

from __future__ import annotations

import os
import socket
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
    load_volume,
    read_headers,
)
from sadmil_core.dicom.decode import read_stored
from sadmil_core.errors import DecodeError, InputError
from tests.synthetic import (
    SYNTAXES,
    encoded_hu,
    load,
    only,
    only_entry,
    set_to,
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


@pytest.mark.parametrize("size", range(0, 820, 7))
def test_a_file_cut_anywhere_is_lost_with_a_reason_and_its_series_reads_on(
    tmp_path: Path, size: int
) -> None:
    paths = write_series(tmp_path, slices=3)
    content = paths[1].read_bytes()
    assert size < len(content)
    paths[1].write_bytes(content[:size])
    index = index_folder(tmp_path)
    assert [file.path for file in index.failures] == [paths[1]]
    assert [header.path for header in only_entry(index).slices] == [paths[0], paths[2]]


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (lambda c: b"", "damaged: empty file, though it is named as one"),
        (lambda c: c[:300], "truncated: the file ends inside its header"),
        (lambda c: c[:-40], "truncated: 56 of 96 bytes of pixel data are there"),
        (lambda c: b"hello" * 50, "damaged: not a DICOM file, though it is named as one"),
        (
            lambda c: c[: c.rindex(b"\xe0\x7f\x10\x00")],
            "truncated: the file ends before the pixel data",
        ),
    ],
)
def test_the_reason_says_what_is_wrong(tmp_path: Path, cut: Any, message: str) -> None:
    (path,) = write_series(tmp_path, slices=1)
    path.write_bytes(cut(path.read_bytes()))
    (skipped,) = index_folder(tmp_path).skipped
    assert skipped.message == message


def test_a_compressed_slice_cut_short_says_so(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, slices=1, rows=32, columns=32, syntax="jpeg 2000")
    truncate(path, 20)
    (skipped,) = index_folder(tmp_path).skipped
    assert skipped.message == "truncated: the compressed image ends early"


def test_devices_and_sockets_are_passed_over_without_being_opened(tmp_path: Path) -> None:
    write_series(tmp_path / "scan")
    (tmp_path / "zero").symlink_to("/dev/zero")  # it would never end
    (tmp_path / "terminal").symlink_to("/dev/tty")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(tmp_path, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{here}/socket")  # the path itself may be too long
        index = index_folder(tmp_path)
        os.close(here)
    assert only_entry(index).shape[0] == 6
    assert {file.path.name for file in index.skipped} == {"zero", "terminal", "socket"}
    assert {file.message for file in index.skipped} == {"a pipe or a device, not a file"}


def test_a_pipe_named_as_dicom_does_not_keep_the_reader_waiting(tmp_path: Path) -> None:
    write_series(tmp_path)
    os.mkfifo(tmp_path / "slice-999.dcm")
    assert only_entry(index_folder(tmp_path)).shape[0] == 6
    with pytest.raises(InputError, match="does not exist"):
        index_folder(tmp_path / "absent")


@pytest.mark.parametrize("target", [".", "..", "loop"])
def test_links_that_lead_back_are_met_once(tmp_path: Path, target: str) -> None:
    write_series(tmp_path / "scan")
    (tmp_path / "scan" / "loop").symlink_to(target)
    (tmp_path / "other").symlink_to(tmp_path / "scan")
    entry = only_entry(index_folder(tmp_path))
    assert entry.shape[0] == 6
    assert entry.warnings == ()


@pytest.mark.parametrize("name", [b"caf\xe9", b"\xff\xfe", b"a\nb", b"a\x1b[31mb", b" ", b"-rf"])
def test_names_no_codec_knows_are_read_and_can_be_shown(tmp_path: Path, name: bytes) -> None:
    folder = tmp_path / os.fsdecode(name)
    paths = write_series(folder, change=only(1, set_to(StudyInstanceUID="1.2")))
    truncate(paths[2], 10)
    odd = paths[3].rename(folder / os.fsdecode(name + b".dcm"))
    index = index_folder(tmp_path)
    headers = {header.path for entry in index.entries for header in entry.slices}
    assert odd in headers
    assert len(headers) == 5
    np.testing.assert_array_equal(load_volume(index.entries[-1]).hu.shape[1:], (6, 8))
    truncate(odd, 10)
    for entry in index_folder(tmp_path).entries:
        for warning in entry.warnings:
            assert warning.message.isprintable()
