"""Zip archives: read as the folder they hold, and nothing in them is believed."""

from __future__ import annotations

import errno
import gc
import os
import shutil
import stat
import struct
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sadmil_core.dicom import (
    SkippedFile,
    SkipReason,
    WarningCode,
    archive,
    index_folder,
    load_volume,
    merge_indexes,
    open_volume,
    require_entries,
)
from sadmil_core.errors import InputError
from sadmil_core.progress import Cancelled
from tests.synthetic import encoded_hu, only_entry, spoil, truncate, write_series


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of the test's own, that must be empty where the test is done."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def _zip(path: Path, members: dict[str, bytes | Path], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as out:
        for name, content in members.items():
            data = content if isinstance(content, bytes) else content.read_bytes()
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            out.writestr(info, data)
    return path


def _series_zip(tmp_path: Path, **more: bytes) -> Path:
    paths = write_series(tmp_path / "series", shuffle_names=True)
    members: dict[str, bytes | Path] = {f"study/{path.name}": path for path in paths}
    return _zip(tmp_path / "scan.zip", members | more)


def _only_skip(path: Path) -> SkippedFile:
    (skipped,) = index_folder(path).skipped
    return skipped


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_reads_like_its_folder_and_leaves_nothing(
    tmp_path: Path, temporary: Path, method: int
) -> None:
    paths = write_series(tmp_path / "series", shuffle_names=True)
    path = _zip(tmp_path / "scan.zip", {f"a b/{p.name}": p for p in paths}, method)
    # The index is dropped at once: the entry alone must keep the files.
    entry = index_folder(path).entries[0]
    gc.collect()
    volume = load_volume(entry)
    assert np.array_equal(volume.hu, encoded_hu(6))
    assert volume.entry == load_volume(entry).entry
    assert entry.sources == {path}
    assert [entry.shown(h.path) for h in entry.slices] == [path / "a b" / p.name for p in paths]
    assert all(h.path.parts[-3:-1] == ("scan.zip", "a b") for h in entry.slices)
    del entry, volume
    gc.collect()
    assert list(temporary.iterdir()) == []


def test_files_stay_while_a_load_runs_and_when_slices_are_lost(
    tmp_path: Path, temporary: Path
) -> None:
    paths = write_series(tmp_path / "series", syntax="jpeg 2000")
    spoil(paths[2])
    path = _zip(tmp_path / "scan.zip", {p.name: p for p in paths})
    load = open_volume(index_folder(path).entries[0])
    gc.collect()
    volume = load.run()
    del load
    gc.collect()
    assert volume.entry.shape[0] == 5
    assert [f.path for f in volume.entry.skipped] == [path / paths[2].name]
    assert load_volume(volume.entry).entry.shape[0] == 5  # what is left can be read again


def test_a_series_over_two_archives_is_one_and_keeps_both(tmp_path: Path, temporary: Path) -> None:
    paths = write_series(tmp_path / "series")
    first = _zip(tmp_path / "1.zip", {p.name: p for p in paths[:3]})
    second = _zip(tmp_path / "2.zip", {p.name: p for p in paths[3:]})
    merged = merge_indexes([index_folder(p) for p in (first, second, first)])
    entry = only_entry(merged)
    del merged
    gc.collect()
    assert np.array_equal(load_volume(entry).hu, encoded_hu(6))
    assert entry.warnings == ()  # an archive given twice holds no duplicates
    assert entry.sources == {first, second}


UNSAFE = {
    "../out.dcm": "leads out",
    "a/../../out.dcm": "leads out",
    "a/..": "leads out",
    "/etc/out.dcm": "absolute",
    "//server/share/out.dcm": "absolute",
    "C:/out.dcm": "absolute",
    "c:out.dcm": "absolute",
    "a\\..\\out.dcm": "backslashes",
    "..\\out.dcm": "backslashes",
    "a/NUL": "device",
    "aux.dcm": "device",
    "COM1.txt": "device",
    "lpt9/x.dcm": "device",
    "a/. /x": "empty part",
    "a/\x01x": "control",
    "x" * 256: "too long",
    "/".join(["d" * 200] * 6): "too long",
    "/".join("d" * 40): "too deep",
}


@pytest.mark.parametrize("name", UNSAFE)
def test_a_name_that_is_not_safe_is_refused_and_the_rest_read(
    tmp_path: Path, temporary: Path, name: str
) -> None:
    path = _series_zip(tmp_path, **{name: b"evil"})
    before = sorted(p for p in tmp_path.rglob("*") if temporary not in p.parents)
    index = index_folder(path)
    (skipped,) = index.skipped
    assert skipped.reason is SkipReason.UNSAFE_NAME
    assert UNSAFE[name].removeprefix("too ") in skipped.message
    assert skipped.path.is_relative_to(path)
    assert skipped.reason.is_failure
    assert np.array_equal(load_volume(only_entry(index)).hu, encoded_hu(6))
    assert sorted(p for p in tmp_path.rglob("*") if temporary not in p.parents) == before
    assert [p for p in temporary.rglob("*") if p.is_file() and p.read_bytes() == b"evil"] == []


@pytest.mark.filterwarnings("ignore:Duplicate name")
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(
        st.text(st.sampled_from("aA./\\: \0é\u202e~CON"), min_size=1, max_size=9), max_size=5
    )
)
def test_whatever_members_are_called_nothing_lands_outside(
    tmp_path: Path, temporary: Path, names: list[str]
) -> None:
    path = tmp_path / "any.zip"
    with zipfile.ZipFile(path, "w") as out:
        for name in names:
            info = zipfile.ZipInfo("x")
            info.filename = name
            out.writestr(info, b"evil")
    before = set(tmp_path.rglob("*"))
    extracted = archive.extract_archive(path)
    new = {p for p in tmp_path.rglob("*") if p.is_file()} - before
    written = {p for p in new if p.name != "in-use"}
    assert all(p.is_relative_to(extracted.folder) for p in written)
    files = [name for name in names if not name.endswith("/")]
    assert len(written) + len(extracted.skipped) == len(files)
    extracted.close()
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_devices_are_refused(tmp_path: Path, temporary: Path, kind: int) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as out:
        info = zipfile.ZipInfo("link.dcm")
        info.create_system, info.external_attr = 3, (kind | 0o777) << 16
        out.writestr(info, "/etc/passwd")
    assert _only_skip(path).reason is SkipReason.UNSAFE_NAME


@pytest.mark.parametrize(
    "names",
    [("a.dcm", "A.dcm"), ("a.dcm", "a.dcm"), ("a", "a/b"), ("a/b", "A"), ("é", "e\u0301")],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_collide_do_not_replace_one_another(
    tmp_path: Path, temporary: Path, names: tuple[str, str]
) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as out:
        for name in names:
            out.writestr(name, f"content of {name}")
    extracted = archive.extract_archive(path)
    (skipped,) = extracted.skipped
    assert (skipped.path, skipped.reason) == (path / names[1], SkipReason.UNSAFE_NAME)
    (kept,) = (p for p in extracted.folder.rglob("*") if p.is_file())
    assert kept.read_text() == f"content of {names[0]}"


def _with_declared_size(path: Path, size: int) -> None:
    """Lets both heads of the last member tell another size than it has."""
    content = bytearray(path.read_bytes())
    struct.pack_into("<L", content, content.rindex(b"PK\x01\x02") + 24, size)
    struct.pack_into("<L", content, content.rindex(b"PK\x03\x04") + 22, size)
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("size", [1 << 10, (1 << 32) - 2])
@pytest.mark.parametrize("limit", ["MAX_MEMBER_BYTES", "RATIO_FREE_BYTES"])
def test_a_member_is_stopped_while_it_inflates_whatever_it_declares(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch, limit: str, size: int
) -> None:
    monkeypatch.setattr(archive, limit, 1 << 20)
    path = _series_zip(tmp_path, **{"z-bomb": bytes(4 << 20)})
    _with_declared_size(path, size)
    monkeypatch.setattr(archive, "_require_space", lambda path, needed: None)
    index = index_folder(path)
    (skipped,) = index.skipped
    assert skipped.path == path / "z-bomb"
    # Of one that says less than it has, no more than that is inflated.
    told = SkipReason.ARCHIVE_LIMIT if size > 1 << 20 else SkipReason.DAMAGED
    assert skipped.reason is told
    assert only_entry(index).shape[0] == 6
    assert sum(p.stat().st_size for p in temporary.rglob("*") if p.is_file()) < 1 << 20


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        ("MAX_TOTAL_BYTES", 3 << 10, "inflates to more than"),
        ("MAX_MEMBERS", 5, "6 members, and 5 are the limit"),
        ("SPARE_BYTES", 1 << 60, "GiB are needed"),
    ],
)
def test_an_archive_beyond_the_limits_is_not_unpacked_and_leaves_nothing(
    tmp_path: Path,
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    value: int,
    message: str,
) -> None:
    path = _series_zip(tmp_path)
    monkeypatch.setattr(archive, limit, value)
    with pytest.raises(InputError, match=message) as caught:
        index_folder(path)
    assert str(path) in str(caught.value)
    assert caught.value.remedy
    assert list(temporary.iterdir()) == []


def test_the_ratio_holds_for_all_members_together(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "RATIO_FREE_BYTES", 1 << 20)
    path = _zip(tmp_path / "x.zip", {str(k): bytes(1 << 19) for k in range(4)})
    with pytest.raises(InputError, match="200 times its size"):
        index_folder(path)
    assert list(temporary.iterdir()) == []


def _flag_encrypted(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x03\x04") + 6] |= 1
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(content))


def _spoil_crc(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 16] ^= 0xFF
    path.write_bytes(bytes(content))


def _spoil_data(path: Path) -> None:
    content = bytearray(path.read_bytes())
    start = content.rindex(b"PK\x03\x04") + 30 + len("z.dcm")
    content[start : start + 8] = b"\xff" * 8
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("spoil", "reason", "message"),
    [
        (_flag_encrypted, SkipReason.ENCRYPTED, "password"),
        (_spoil_crc, SkipReason.DAMAGED, "CRC"),
        (_spoil_data, SkipReason.DAMAGED, "damaged in the archive"),
    ],
)
def test_a_member_that_cannot_be_read_is_named_and_the_rest_read(
    tmp_path: Path,
    temporary: Path,
    spoil: Callable[[Path], None],
    reason: SkipReason,
    message: str,
) -> None:
    path = _series_zip(tmp_path, **{"z.dcm": b"some content of a member " * 20})
    spoil(path)
    index = index_folder(path)
    (skipped,) = index.failures
    assert (skipped.path, skipped.reason) == (path / "z.dcm", reason)
    assert message in skipped.message
    assert only_entry(index).shape[0] == 6
    assert not list(temporary.rglob("z.dcm"))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_inflate_without_a_bound_are_refused(
    tmp_path: Path, temporary: Path, method: int
) -> None:
    path = _zip(tmp_path / "x.zip", {"a.dcm": b"content"}, method)
    skipped = _only_skip(path)
    assert skipped.reason is SkipReason.UNSUPPORTED_COMPRESSION
    with pytest.raises(InputError, match="not read: unpack the archive"):
        require_entries(index_folder(path))


@pytest.mark.parametrize("lost", [1, 30, 3000])
def test_a_truncated_archive_says_so_and_leaves_nothing(
    tmp_path: Path, temporary: Path, lost: int
) -> None:
    path = _series_zip(tmp_path)
    truncate(path, lost)
    with pytest.raises(InputError, match=r"scan\.zip is a damaged or incomplete zip"):
        index_folder(path)
    assert list(temporary.iterdir()) == []


def test_an_empty_archive_says_so(tmp_path: Path, temporary: Path) -> None:
    with pytest.raises(InputError, match="empty archive"):
        require_entries(index_folder(_zip(tmp_path / "x.zip", {})))


def test_archives_within_archives_and_folders_are_named(tmp_path: Path, temporary: Path) -> None:
    inner = _zip(tmp_path / "inner.zip", {"a": b"content"})
    outer = _series_zip(tmp_path, **{"b/inner.dcm": inner.read_bytes()})
    (skipped,) = index_folder(outer).failures
    assert (skipped.path, skipped.reason) == (outer / "b/inner.dcm", SkipReason.NESTED_ARCHIVE)
    assert "take it out" in skipped.message
    folder = tmp_path / "series"
    shutil.copy(inner, folder / "inner.zip")
    (skipped,) = index_folder(folder).failures
    assert (skipped.path, skipped.reason) == (folder / "inner.zip", SkipReason.NESTED_ARCHIVE)
    assert "open it by itself" in skipped.message


def test_an_office_document_is_no_archive(tmp_path: Path, temporary: Path) -> None:
    write_series(tmp_path / "series")
    _zip(tmp_path / "series" / "report.docx", {"[Content_Types].xml": b"<Types/>"})
    index = index_folder(tmp_path / "series")
    assert [f.reason for f in index.skipped] == [SkipReason.NOT_DICOM]
    assert index.failures == ()


def test_skipped_members_stand_under_the_archive(tmp_path: Path, temporary: Path) -> None:
    paths = write_series(tmp_path / "series")
    truncate(paths[5], 40)
    members: dict[str, bytes | Path] = {f"d/{p.name}": p for p in paths}
    path = _zip(tmp_path / "scan.zip", members | {"d/notes.txt": b"text"})
    index = index_folder(path)
    assert index.root == path
    assert [f.path for f in index.skipped] == [path / "d/notes.txt", path / f"d/{paths[5].name}"]
    entry = only_entry(index)
    assert [f.path for f in entry.skipped] == [path / f"d/{paths[5].name}"]
    assert WarningCode.FILES_SKIPPED in entry.warning_codes


def test_unpacking_can_be_cancelled_at_every_step_and_leaves_nothing(
    tmp_path: Path, temporary: Path
) -> None:
    path = _series_zip(tmp_path, large=os.urandom(3 << 20))
    phases: list[str] = []

    def stop_after(calls: int) -> Callable[[int, int, str], None]:
        def progress(done: int, total: int, phase: str) -> None:
            phases.append(phase)
            if len(phases) == calls:
                raise Cancelled

        phases.clear()
        return progress

    archive.extract_archive(path, stop_after(-1)).close()
    calls = len(phases)
    assert calls >= 10  # each member, and within the large one
    for number in range(1, calls + 1):
        with pytest.raises(Cancelled):
            archive.extract_archive(path, stop_after(number))
        assert list(temporary.iterdir()) == []


def _left_behind(path: Path, *, age_s: float) -> Path:
    path.mkdir()
    (path / "in-use").touch()
    (path / "member").write_text("of a patient")
    then = time.time() - age_s
    os.utime(path, (then, then))
    return path


def test_what_a_killed_process_left_is_swept_and_nothing_else(
    tmp_path: Path, temporary: Path
) -> None:
    path = _series_zip(tmp_path)
    living = archive.extract_archive(path)
    root = living.folder.parent
    os.utime(root, (1e9, 1e9))
    dead = _left_behind(temporary / "sadmil-zip-dead", age_s=100)
    young = _left_behind(temporary / "sadmil-zip-young", age_s=1)
    other = _left_behind(temporary / "sadmil-else", age_s=100)
    target = _left_behind(tmp_path / "target", age_s=100)
    (temporary / "sadmil-zip-link").symlink_to(target)
    archive.extract_archive(path).close()
    assert not dead.exists()
    assert all((p / "member").exists() for p in (young, other, target))
    assert len(list(living.folder.rglob("*.dcm"))) == 6
    living.close()
    assert not root.exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_does_not_take_the_files_along(tmp_path: Path, temporary: Path) -> None:
    extracted = archive.extract_archive(_series_zip(tmp_path))
    child = os.fork()
    if child == 0:
        extracted.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert len(list(extracted.folder.rglob("*.dcm"))) == 6
    extracted.close()


@pytest.mark.parametrize(
    ("number", "member_alone"), [(errno.ENAMETOOLONG, True), (errno.ENOSPC, False)]
)
def test_what_the_system_refuses_costs_one_member_or_says_why(
    tmp_path: Path,
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    member_alone: bool,
) -> None:
    path = _series_zip(tmp_path, odd=b"content")
    copy = archive._Unpacking._copy

    def refuse(self: Any, info: zipfile.ZipInfo, *rest: Any) -> None:
        copy(self, info, *rest)
        if info.filename == "odd":
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(archive._Unpacking, "_copy", refuse)
    if member_alone:
        index = index_folder(path)
        assert [(f.path, f.reason) for f in index.failures] == [
            (path / "odd", SkipReason.UNREADABLE)
        ]
        assert only_entry(index).shape[0] == 6
        assert not list(temporary.rglob("odd"))
    else:
        with pytest.raises(InputError, match="No space left"):
            index_folder(path)
        assert list(temporary.iterdir()) == []


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_broken_bytes_raise_nothing_but_input_errors(
    tmp_path: Path, temporary: Path, data: st.DataObject
) -> None:
    path = tmp_path / "broken.zip"
    _zip(path, {"a/b.dcm": b"content " * 9, "c.dcm": zlib.compress(b"x" * 99)})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    with suppress(InputError):
        archive.extract_archive(path).close()
    assert list(temporary.iterdir()) == []
