"""The demo study as DICOM: round trip, order, and what a failed first run leaves."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import pytest

from sadmil_core.errors import WriteError
from sadmil_core.progress import Cancelled
from sadmil_core.synth import demo
from sadmil_core.synth.phantom import BleedKind, Phantom, PhantomConfig, make_phantom

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SMALL = PhantomConfig(slices=6, size=96, pixel_mm=2.4, spacing_mm=24.0, supersampling=1)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(np.random.default_rng(7), SMALL, bleed=BleedKind.INTRAPARENCHYMAL)


@pytest.fixture
def small_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "DEMO_CONFIG", SMALL)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_round_trip_of_values_and_positions(phantom: Phantom, tmp_path: Path) -> None:
    paths = demo.write_phantom_study(phantom, tmp_path / "study", seed=1)
    assert len(paths) == 6
    for index, path in enumerate(paths):
        image = pydicom.dcmread(path)
        hu = image.pixel_array.astype(int) * int(image.RescaleSlope) + int(image.RescaleIntercept)
        np.testing.assert_array_equal(hu, phantom.hu[index])
        assert float(image.ImagePositionPatient[2]) == pytest.approx(24.0 * index)
        assert [float(v) for v in image.ImageOrientationPatient] == [1, 0, 0, 0, 1, 0]
        assert [float(v) for v in image.PixelSpacing] == [2.4, 2.4]
        assert image.SliceThickness == 24.0


def test_columns_run_to_the_left_and_rows_to_the_back(phantom: Phantom, tmp_path: Path) -> None:
    image = pydicom.dcmread(demo.write_phantom_study(phantom, tmp_path, seed=1)[0])
    # The first pixel lies at the patient's right front: negative x and y in DICOM's terms.
    assert float(image.ImagePositionPatient[0]) == pytest.approx(-0.5 * 95 * 2.4)
    assert float(image.ImagePositionPatient[1]) == pytest.approx(-0.5 * 95 * 2.4)


def test_numbers_and_names_run_against_the_position(phantom: Phantom, tmp_path: Path) -> None:
    demo.write_phantom_study(phantom, tmp_path, seed=1)
    images = [pydicom.dcmread(path) for path in sorted(tmp_path.iterdir())]
    heights = [float(image.ImagePositionPatient[2]) for image in images]
    assert heights == sorted(heights, reverse=True)
    assert [image.InstanceNumber for image in images] == [1, 2, 3, 4, 5, 6]


def test_labels_say_that_it_is_a_phantom(phantom: Phantom, tmp_path: Path) -> None:
    images = [pydicom.dcmread(path) for path in demo.write_phantom_study(phantom, tmp_path, seed=1)]
    first = images[0]
    assert first.QualityControlSubject == "YES"
    assert str(first.PatientName) == "Phantom^Demo"
    assert "phantom" in first.SeriesDescription.lower()
    assert "research" in first.ImageComments.lower()
    assert (first.WindowCenter, first.WindowWidth) == (40, 80)
    # The known mislabelled 12-bit files have an intercept near zero; these must not look alike.
    assert (first.BitsStored, first.PixelRepresentation) == (12, 0)
    assert first.RescaleIntercept == -1024
    assert len({image.SOPInstanceUID for image in images}) == 6
    assert len({image.SeriesInstanceUID for image in images}) == 1
    assert all(pydicom.uid.UID(image.SOPInstanceUID).is_valid for image in images)
    assert all(
        image.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID for image in images
    )


def test_same_seed_same_bytes_other_seed_other_uids(phantom: Phantom, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        demo.write_phantom_study(phantom, tmp_path / name, seed=seed)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    uids = [pydicom.dcmread(tmp_path / name / "IM0001.dcm").StudyInstanceUID for name in ("a", "c")]
    assert uids[0] != uids[1]


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not installed")
def test_dciodvfy_finds_no_errors(phantom: Phantom, tmp_path: Path) -> None:
    for path in demo.write_phantom_study(phantom, tmp_path, seed=1)[:2]:
        done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        report = done.stdout + done.stderr
        assert "CTImage" in report
        assert "Error" not in report


@pytest.mark.usefixtures("small_demo")
def test_second_run_touches_nothing(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    folder = demo.ensure_demo_study(
        tmp_path / "cache", lambda done, total, _phase: seen.append((done, total))
    )
    assert folder.parent == tmp_path / "cache"
    assert demo.DEMO_VERSION in folder.name
    assert len(list(folder.iterdir())) == 6
    assert seen == sorted(seen)
    assert seen[-1] == (12, 12)
    before = {path: path.stat().st_mtime_ns for path in (folder, *folder.iterdir())}
    seen.clear()
    assert demo.ensure_demo_study(tmp_path / "cache") == folder
    assert {path: path.stat().st_mtime_ns for path in (folder, *folder.iterdir())} == before
    assert seen == []
    assert list((tmp_path / "cache").iterdir()) == [folder]


@pytest.mark.usefixtures("small_demo")
def test_two_caches_hold_the_same_bytes(tmp_path: Path) -> None:
    one, two = (demo.ensure_demo_study(tmp_path / name) for name in ("one", "two"))
    assert contents(one) == contents(two)


@pytest.mark.usefixtures("small_demo")
@pytest.mark.parametrize("at", [3, 6, 9])
def test_cancelled_first_run_leaves_nothing(tmp_path: Path, at: int) -> None:
    def stop(done: int, total: int, phase: str) -> None:
        if done >= at:
            raise Cancelled

    with pytest.raises(Cancelled):
        demo.ensure_demo_study(tmp_path, stop)
    assert list(tmp_path.iterdir()) == []
    assert len(list(demo.ensure_demo_study(tmp_path).iterdir())) == 6


def failing_after(count: int, code: int) -> Callable[..., None]:
    real, calls = pydicom.dcmwrite, []

    def write(*args: Any, **options: Any) -> None:
        calls.append(1)
        if len(calls) > count:
            raise OSError(code, os.strerror(code))
        real(*args, **options)

    return write


@pytest.mark.usefixtures("small_demo")
def test_full_disk_is_reported_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(demo, "dcmwrite", failing_after(3, errno.ENOSPC))
        with pytest.raises(WriteError, match=r"disk is full") as caught:
            demo.ensure_demo_study(tmp_path)
    assert caught.value.remedy
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("small_demo")
def test_cache_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WriteError, match="could not be written") as caught:
        demo.ensure_demo_study(tmp_path / "file" / "cache")
    assert caught.value.remedy


@pytest.mark.usefixtures("small_demo")
def test_leftovers_of_a_killed_run_and_lost_files_are_made_good(tmp_path: Path) -> None:
    old = tmp_path / f".demo-study-{demo.DEMO_VERSION}.0123456789ab.part"
    fresh = tmp_path / f".demo-study-{demo.DEMO_VERSION}.ba9876543210.part"
    for left in (old, fresh):
        left.mkdir()
        (left / "IM0001.dcm").write_bytes(b"half")
    os.utime(old, (1.0, 1.0))
    folder = demo.ensure_demo_study(tmp_path)
    assert not old.exists()
    assert fresh.exists()  # may belong to a run that is still busy
    whole = contents(folder)
    (folder / "IM0003.dcm").unlink()
    assert contents(demo.ensure_demo_study(tmp_path)) == whole


def test_the_demo_bleed_is_plain_to_see_in_some_slices() -> None:
    config = PhantomConfig(size=128, pixel_mm=1.84, supersampling=1)
    phantom = make_phantom(np.random.default_rng(demo.DEMO_SEED), config, bleed=demo.DEMO_BLEED)
    positive = np.flatnonzero(phantom.slice_positive)
    assert 5 <= positive.size <= 12
    assert positive.size == positive[-1] - positive[0] + 1
    assert phantom.lesion_mm2.max() > 500
    # On the patient's right, which is on the left of the image.
    assert np.argwhere(phantom.lesion)[:, 2].mean() < 64
