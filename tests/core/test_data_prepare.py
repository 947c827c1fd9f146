"""Preparing scans: what is stored, what is skipped, and what survives kills and bad scans."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from sadmil_core.data import prepare_process
from sadmil_core.data.prepare import PrepareReport, ScanSource, prepare
from sadmil_core.data.prepare_scan import Outcome, fingerprint_of
from sadmil_core.data.store import StoreReader
from sadmil_core.dicom import WarningCode
from sadmil_core.errors import InputError, WriteError
from sadmil_core.preprocess import PreprocessConfig, grid_slices
from sadmil_core.progress import Cancelled
from tests.bodies import PIXEL_MM, head, write_head
from tests.core.test_data_store import files_of
from tests.encoders import Encoding
from tests.synthetic import STUDY, encoded_hu, load, set_to, truncate, write_series

NATIVE = PreprocessConfig()


def source(folder: Path, scan_id: str = STUDY, **options: Any) -> ScanSource:
    return ScanSource(scan_id=scan_id, paths=(folder,), **options)


def write_scans(folder: Path, count: int) -> list[ScanSource]:
    found = []
    for number in range(count):
        hu = head(6 + number, noise_hu=5)
        study = f"1.2.3.{number}"
        write_series(
            folder / study,
            hu=hu,
            pixel_spacing_mm=(PIXEL_MM, PIXEL_MM),
            study_uid=study,
            series_uid=f"{study}.1",
        )
        found.append(source(folder / study, study))
    return found


def one(folder: Path, store: Path, config: PreprocessConfig = NATIVE, **options: Any) -> str:
    """Prepares a single scan in this process, and returns why it failed, if it did."""
    report = prepare([source(folder, **options)], store, config, 0)
    return report.failed.get(options.get("scan_id", STUDY), "")


def test_a_scan_is_stored_as_it_is_read(tmp_path: Path) -> None:
    write_series(tmp_path / "a", slices=5, shuffle_names=True, from_head=True, left_out=[2])
    assert one(tmp_path / "a", tmp_path / "store") == ""
    volume, reader = load(tmp_path / "a"), StoreReader(tmp_path / "store", NATIVE.grid)
    np.testing.assert_array_equal(reader.hu(STUDY), volume.hu)
    info = reader.info(STUDY)
    assert info.sop_instance_uids == tuple(h.sop_instance_uid for h in volume.entry.slices)
    assert info.position_mm == volume.entry.geometry.position_mm
    assert info.series_instance_uid == volume.entry.series_instance_uid
    assert any(text.startswith("MISSING") or "missing" in text for text in info.warnings)


def test_a_grid_is_applied_before_storing(tmp_path: Path) -> None:
    write_head(tmp_path / "a", 6)
    config = PreprocessConfig(size=(40, 40), resample="hu", pixel_spacing_mm=4.0, crop="head")
    assert one(tmp_path / "a", tmp_path / "store", config) == ""
    expected, _ = grid_slices(load(tmp_path / "a"), config.grid)
    np.testing.assert_array_equal(StoreReader(tmp_path / "store").hu(STUDY), expected)


def test_fractional_values_are_rounded_and_it_is_said(tmp_path: Path) -> None:
    hu = np.arange(3 * 64 * 64).reshape(3, 64, 64) % 100 * 0.5
    write_series(tmp_path / "a", hu=hu, slope=0.5, intercept=-10)
    report = prepare([source(tmp_path / "a")], tmp_path / "store", NATIVE, 0)
    assert any(WarningCode.ROUNDED_TO_STORE in text for text in report.warnings[STUDY])
    found = StoreReader(tmp_path / "store").hu(STUDY)
    np.testing.assert_array_equal(found, np.rint(load(tmp_path / "a").hu))


def test_the_named_series_and_stack_are_taken_else_the_fittest(tmp_path: Path) -> None:
    write_head(tmp_path / "a" / "thin", 12, series_uid="1.2.1", spacing_mm=0.6, name="t{}.dcm")
    write_head(tmp_path / "a" / "thick", 10, series_uid="1.2.2", name="k{}.dcm")
    store = tmp_path / "store"
    taken = {}
    for key, options in {
        "fittest": {},
        "named": {"series_instance_uid": "1.2.1"},
        "stack": {"series_instance_uid": "1.2.1", "stack_index": 0},
    }.items():
        named = ScanSource(scan_id=key, paths=(tmp_path / "a",), **options)  # type: ignore[arg-type]
        assert prepare([named], store, NATIVE, 0).failed == {}
        taken[key] = StoreReader(store).info(key).series_instance_uid
    assert taken == {"fittest": "1.2.2", "named": "1.2.1", "stack": "1.2.1"}
    assert "is not below" in one(tmp_path / "a", store, series_instance_uid="1.2.9")
    assert "is not below" in one(tmp_path / "a", store, stack_index=3)


def test_of_several_studies_the_one_named_as_the_scan_is_taken(tmp_path: Path) -> None:
    write_scans(tmp_path / "a", 2)
    store = tmp_path / "store"
    assert prepare([source(tmp_path / "a", "1.2.3.1")], store, NATIVE, 0).failed == {}
    assert StoreReader(store).info("1.2.3.1").series_instance_uid == "1.2.3.1.1"
    assert "2 studies" in prepare([source(tmp_path / "a", "x")], store, NATIVE, 0).failed["x"]


def test_slices_may_be_named_one_by_one(tmp_path: Path) -> None:
    """Of a folder that holds many scans, only the named files are read."""
    paths = write_head(tmp_path / "a", 6)
    write_series(tmp_path / "a", study_uid="1.9", series_uid="1.9.1", name="other-{}.dcm")
    named = ScanSource(scan_id="x", paths=tuple(paths[1:]))
    assert prepare([named], tmp_path / "store", NATIVE, 0).failed == {}
    assert len(StoreReader(tmp_path / "store").hu("x")) == 5


def test_what_is_whole_and_unchanged_is_left_alone(tmp_path: Path) -> None:
    scans, store = write_scans(tmp_path / "a", 3), tmp_path / "store"
    names = tuple(scan.scan_id for scan in scans)
    assert prepare(scans, store, NATIVE, 0).prepared == names
    before = files_of(store)
    assert prepare(scans, store, NATIVE, 0) == PrepareReport(
        prepared=(), unchanged=names, failed={}, warnings={}
    )
    next((tmp_path / "a" / names[1]).glob("*.dcm")).unlink()
    report = prepare(scans, store, NATIVE, 0)
    assert (report.prepared, report.unchanged) == ((names[1],), (names[0], names[2]))
    assert len(StoreReader(store).hu(names[1])) == 6
    assert files_of(store) != before


def test_the_fingerprint_knows_files_times_and_the_choice(tmp_path: Path) -> None:
    (path, *_) = write_head(tmp_path / "a", 3)
    scan = source(tmp_path / "a")
    found = {fingerprint_of(scan)}
    shutil.copytree(tmp_path / "a", tmp_path / "b" / "a")
    assert fingerprint_of(source(tmp_path / "b" / "a")) in found  # moved as a whole
    found.add(fingerprint_of(source(tmp_path / "a", stack_index=0)))
    found.add(fingerprint_of(source(tmp_path / "a", mask_path=path)))
    os.utime(path, ns=(1, 1))
    found.add(fingerprint_of(scan))
    path.rename(path.with_name("renamed.dcm"))
    found.add(fingerprint_of(scan))
    assert len(found) == 5
    with pytest.raises(InputError, match="Nothing says"):
        fingerprint_of(ScanSource(scan_id="x", paths=()))


def test_a_damaged_scan_in_the_store_is_prepared_again(tmp_path: Path) -> None:
    scans, store = write_scans(tmp_path / "a", 1), tmp_path / "store"
    prepare(scans, store, NATIVE, 0)
    before = files_of(store)
    (header,) = store.glob("scans/*/zarr.json")
    header.write_text("{")
    assert prepare(scans, store, NATIVE, 0).prepared == ("1.2.3.0",)
    assert files_of(store) == before


def test_bad_scans_are_listed_with_reasons_and_stop_nobody(tmp_path: Path) -> None:
    scans, store = write_scans(tmp_path / "a", 2), tmp_path / "store"
    (tmp_path / "empty").mkdir()
    write_head(tmp_path / "single", 1)
    for path in write_head(tmp_path / "cut", 4):
        truncate(path, 4000)
    bad = [source(tmp_path / name, name) for name in ("absent", "empty", "single", "cut")]
    report = prepare([*bad, *scans], store, NATIVE, 2)
    assert set(report.prepared) == {scan.scan_id for scan in scans}
    assert list(report.failed) == ["absent", "empty", "single", "cut"]
    for name, words in {
        "absent": "does not exist",
        "empty": "empty folder",
        "single": "1 slice",
        "cut": "cut",
    }.items():
        assert words in report.failed[name]
    with pytest.raises(InputError, match="given twice"):
        prepare([scans[0], scans[0]], store, NATIVE)


def write_mask(path: Path, volume: Any, mask: np.ndarray[Any, Any], shift_mm: float = 0) -> Path:
    image = SimpleITK.GetImageFromArray(mask.astype(np.uint8))
    geometry = volume.entry.geometry
    origin = np.add(geometry.origins_mm[0], (shift_mm, 0, 0))
    image.SetOrigin(origin.tolist())
    image.SetSpacing((geometry.column_spacing_mm, geometry.row_spacing_mm, geometry.spacing_mm))
    SimpleITK.WriteImage(image, str(path))
    return path


def test_masks_lie_on_the_grid_of_their_scan(tmp_path: Path) -> None:
    write_head(tmp_path / "a", 6)
    volume = load(tmp_path / "a")
    mask = np.zeros(volume.hu.shape, np.uint8)
    mask[2, 20:30, 24:40] = 1
    path = write_mask(tmp_path / "mask.nii.gz", volume, mask * 255)
    assert one(tmp_path / "a", tmp_path / "store", mask_path=path) == ""
    np.testing.assert_array_equal(StoreReader(tmp_path / "store").mask(STUDY), mask)

    config = PreprocessConfig(size=(30, 30), resample="hu", pixel_spacing_mm=7.2)
    assert one(tmp_path / "a", tmp_path / "grid", config, mask_path=path) == ""
    coarse = StoreReader(tmp_path / "grid").mask(STUDY)
    assert coarse is not None
    # (30 x 7.2 - 64 x 3.6) / 2 mm lie beyond the matrix's edge: one coarse pixel.
    np.testing.assert_array_equal(np.argwhere(coarse[2]).min(axis=0), (9, 11))
    assert coarse.sum() == mask.sum() / 4


def test_a_mask_that_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    write_head(tmp_path / "a", 6)
    volume = load(tmp_path / "a")
    moved = write_mask(tmp_path / "moved.nii.gz", volume, np.ones(volume.hu.shape), 3.0)
    short = write_mask(tmp_path / "short.nii.gz", volume, np.ones((5, 64, 64)))
    assert "does not lie where" in one(tmp_path / "a", tmp_path / "store", mask_path=moved)
    assert "(5, 64, 64)" in one(tmp_path / "a", tmp_path / "store", mask_path=short)


PROGRAM = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from sadmil_core.data.prepare import prepare
    from tests.core.test_data_prepare import NATIVE, source
    root = Path(sys.argv[1])
    scans = [source(path, path.name) for path in sorted(root.iterdir())]
    def progress(done, total, phase):
        print(done, flush=True)
        sys.stdin.readline()
    prepare(scans, Path(sys.argv[2]), NATIVE, 1, progress)
    """
)


def test_killed_in_the_middle_and_run_again_it_is_as_if_nothing_had_happened(
    tmp_path: Path,
) -> None:
    scans, store = write_scans(tmp_path / "a", 5), tmp_path / "store"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "a"), str(store)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for done in (b"0", b"1"):
            assert process.stdout.readline().strip() == done
            process.stdin.write(b"\n")
            process.stdin.flush()
        assert process.stdout.readline().strip() == b"2"
        process.send_signal(signal.SIGKILL)
    done = {path: path.stat().st_mtime_ns for path in store.glob("scans/*/zarr.json")}
    assert len(done) >= 2
    report = prepare(scans, store, NATIVE, 1)
    assert len(report.unchanged) >= 2
    assert len(report.prepared) + len(report.unchanged) == 5
    assert all(path.stat().st_mtime_ns == then for path, then in done.items())
    prepare(scans, tmp_path / "undisturbed", NATIVE, 0)
    assert files_of(store) == files_of(tmp_path / "undisturbed")


def test_a_killed_process_costs_the_scan_it_had_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans, store = write_scans(tmp_path / "a", 4), tmp_path / "store"
    real = prepare_process.PrepareProcess.prepare

    def prepare_or_die(self: prepare_process.PrepareProcess, scan: ScanSource) -> Outcome:
        if scan.scan_id == "1.2.3.1":
            started = self._started()
            assert started is not None
            started.kill()
        return real(self, scan)

    # The process is looked for, found alive, and dead when it is spoken to.
    monkeypatch.setattr(prepare_process.PrepareProcess, "prepare", prepare_or_die)
    alive = prepare_process.PrepareProcess._started

    def not_looked_at(self: prepare_process.PrepareProcess) -> Any:
        return self._process if self._process and self._process.returncode is None else alive(self)

    monkeypatch.setattr(prepare_process.PrepareProcess, "_started", not_looked_at)
    report = prepare(scans, store, NATIVE, 1)
    assert "SIGKILL" in report.failed["1.2.3.1"]
    assert set(report.prepared) == {"1.2.3.0", "1.2.3.2", "1.2.3.3"}
    monkeypatch.undo()
    assert prepare(scans, store, NATIVE, 1).prepared == ("1.2.3.1",)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_is_stopped_keeps_what_is_done(tmp_path: Path, workers: int) -> None:
    scans, store = write_scans(tmp_path / "a", 4), tmp_path / "store"

    def stop(done: int, total: int, phase: str) -> None:
        if done == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        prepare(scans, store, NATIVE, workers, stop)
    assert not (store / ".unfinished").exists()
    report = prepare(scans, store, NATIVE, workers)
    assert len(report.unchanged) >= 2
    assert len(report.unchanged) + len(report.prepared) == 4


def test_a_store_that_cannot_be_written_to_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = write_scans(tmp_path / "a", 2)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    store = tmp_path / "store"
    prepare(scans[:1], store, NATIVE, 0)
    monkeypatch.setattr("sadmil_core.data.store.os.fsync", full)
    with pytest.raises(WriteError, match=r"disk is full.*goes on from there"):
        prepare(scans, store, NATIVE, 0)
    assert scans[0].scan_id in StoreReader(store)


def test_no_scans_are_no_fault(tmp_path: Path) -> None:
    assert prepare([], tmp_path / "store", NATIVE).prepared == ()


@pytest.mark.parametrize("workers", [0, 1])
def test_compressed_and_multiframe_slices_arrive_too(tmp_path: Path, workers: int) -> None:
    write_series(tmp_path / "a", hu=encoded_hu(4), syntax="rle", encoding=Encoding())
    report = prepare([source(tmp_path / "a")], tmp_path / "store", NATIVE, workers)
    assert report.failed == {}
    np.testing.assert_array_equal(StoreReader(tmp_path / "store").hu(STUDY), encoded_hu(4))


def test_slices_without_positions_have_none_in_the_store(tmp_path: Path) -> None:
    write_series(tmp_path / "a", change=set_to(ImagePositionPatient=None))
    assert one(tmp_path / "a", tmp_path / "store") == ""
    assert StoreReader(tmp_path / "store").info(STUDY).position_mm == (None,) * 6
