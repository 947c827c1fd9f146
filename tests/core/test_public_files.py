"""The files that ship with pydicom and pydicom-data: odd, old, damaged, and never a traceback."""

from __future__ import annotations

import warnings
from pathlib import Path

import data_store
import numpy as np
import pydicom
import pydicom.data
import pytest

from sadmil_core.dicom import SliceHeader, decode_slice, index_folder, load_volume, read_headers
from sadmil_core.errors import DecodeError
from tests.commands import run_sadmil

FOLDERS = {
    "pydicom": Path(pydicom.data.__file__).parent / "test_files",
    "pydicom-data": Path(next(iter(data_store.__path__))) / "data",
}
FILES = [
    path for folder in FOLDERS.values() for path in sorted(folder.rglob("*")) if path.is_file()
]


def test_there_are_such_files() -> None:
    assert len(FILES) > 150


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_file_is_an_entry_or_skipped_with_a_reason(path: Path) -> None:
    index = index_folder(path)
    assert index.entries or index.skipped
    assert all(file.reason and file.message for file in index.skipped)
    for entry in index.entries:
        try:
            volume = load_volume(entry)
        except DecodeError as error:
            assert path.name in str(error)  # noqa: PT017 - a volume is as good an outcome
        else:
            assert len(volume.entry.slices) + len(volume.entry.skipped) >= len(entry.slices)


def _ct_headers() -> list[SliceHeader]:
    found = [read_headers(path) for path in FILES]
    return [header for headers in found if isinstance(headers, tuple) for header in headers]


@pytest.mark.parametrize("header", _ct_headers(), ids=lambda h: f"{h.path.name}-{h.frame_number}")
def test_what_plain_pydicom_decodes_comes_out_the_same(header: SliceHeader) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, of what is odd about the files
        dataset = pydicom.dcmread(header.path, force=True)
        try:
            stored = dataset.pixel_array
        except (AttributeError, NotImplementedError, RuntimeError, ValueError) as error:
            pytest.skip(f"plain pydicom cannot decode it: {type(error).__name__}")
    if header.frame_number is not None and stored.ndim == 3:
        stored = stored[header.frame_number - 1]
    expected = stored * header.slope + header.intercept
    if header.padding is not None:
        low, high = header.padding
        expected[(stored >= low) & (stored <= high)] = -1000
    hu = decode_slice(header, mend_quirk=False)
    np.testing.assert_allclose(hu, np.clip(expected, -32768, 32767), atol=1e-3)


@pytest.mark.parametrize("folder", FOLDERS.values(), ids=FOLDERS)
def test_a_whole_folder_of_them_is_indexed_and_predicted(
    folder: Path,
    tmp_path: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = tmp_path / "out.csv"
    predict = ("predict", folder, "--model", model, "--csv", rows, "--score-unfit")
    for words in (("index", folder), predict):
        assert run_sadmil(monkeypatch, capsys, *words).status in (0, 1)
    assert len(rows.read_text().splitlines()) > 5
