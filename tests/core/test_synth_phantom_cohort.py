"""Phantoms as hosts and as cohorts: what they know of themselves, files, where bleeds lie."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydicom import dcmread

from sadmil_core.atomic import explain_refusal
from sadmil_core.data.manifest import read_manifest
from sadmil_core.dicom import index_folder, load_volume
from sadmil_core.errors import WriteError
from sadmil_core.synth import phantom_cohort as cohorts
from sadmil_core.synth.cohort import CohortError, SyntheticScan
from sadmil_core.synth.find_host import find_host
from sadmil_core.synth.host import Host, HostUnfit, Tissue
from sadmil_core.synth.insert import BLEEDS, draw_bleeds, shown_slices
from sadmil_core.synth.phantom import PhantomConfig
from sadmil_core.synth.phantom_cohort import draw_bleeds_at, draw_phantom, phantom_cohort
from sadmil_core.synth.phantom_host import make_phantom_host
from sadmil_core.synth.series import SeriesIdentity, write_series
from tests.commands import run_sadmil

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_TALL = PhantomConfig(
    slices=40,
    size=128,
    pixel_mm=1.8,
    spacing_mm=4.7,
    supersampling=1,
    anatomy_mm=1.8,
    air_above_mm=20.0,
)


@pytest.fixture(scope="module")
def host() -> Host:
    return make_phantom_host(np.random.default_rng(3), _TALL)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantoms") / "out"
    phantom_cohort(out, scans=3, seed=2, arm="uniform", size=128, positive_share=0.5)
    return out


def _median_hu(host: Host, tissue: Tissue) -> float:
    return float(np.median(host.hu[host.tissue == tissue]))


def test_a_phantom_knows_its_tissues(host: Host) -> None:
    assert 25 < _median_hu(host, Tissue.BRAIN) < 40
    assert _median_hu(host, Tissue.VENTRICLE) < 20
    assert _median_hu(host, Tissue.CSF) < 22
    assert _median_hu(host, Tissue.SKULL) > 400
    assert _median_hu(host, Tissue.SINUS) > _median_hu(host, Tissue.BRAIN) + 8
    assert _median_hu(host, Tissue.OUTSIDE) < -900
    inside = host.intracranial
    assert 700 < inside.sum() * np.prod(host.spacing_mm) / 1000 < 1900
    assert not host.depth_mm[~inside].any()
    assert (host.depth_mm[inside] > 0).all()


def test_a_phantom_knows_its_own_coordinates(host: Host) -> None:
    x, y, z = host.place
    inside = host.intracranial
    assert np.isfinite(host.place).all()
    # Columns run to the patient's left, rows to the back, slices to the crown.
    assert (np.diff(x[:, 64, 20:108], axis=1) > 0).all()
    assert (np.diff(y[:, 20:108, 64], axis=1) < 0).all()
    assert (np.diff(z[:, 64, 64]) > 0).all()
    for values, low, high in ((x, -1, 1), (y, -1, 1), (z, 0, 1)):
        assert values[inside].min() == pytest.approx(low, abs=0.12)
        assert values[inside].max() == pytest.approx(high, abs=0.12)
    assert np.abs(x[host.tissue == Tissue.FALX]).max() < 0.05
    assert y[host.tissue == Tissue.SINUS].min() < -0.9
    assert z[host.tissue == Tissue.TENTORIUM].max() < 0.6


def test_the_finder_finds_in_a_phantom_what_it_is_made_of(tmp_path: Path, host: Host) -> None:
    frame = cohorts._frame(host, len(host.hu))
    identity = SeriesIdentity(key="k", patient_id="P", description="d", phantom=True)
    write_series(host.hu, frame, identity, tmp_path)
    found = find_host(load_volume(index_folder(tmp_path).entries[0]))
    one, two = host.intracranial, found.intracranial
    assert 2 * (one & two).sum() / (one.sum() + two.sum()) > 0.9
    both = one & two
    assert np.abs(host.place - found.place)[:, both].mean(axis=1) == pytest.approx(
        [0.0, 0.0, 0.0], abs=0.1
    )


def test_a_stack_beside_the_brain_is_no_host() -> None:
    with pytest.raises(HostUnfit, match="passes the brain by"):
        make_phantom_host(np.random.default_rng(0), PhantomConfig(slices=1, size=128, pixel_mm=1.8))


def test_the_same_number_is_the_same_scan() -> None:
    one, two, other = (draw_phantom(7, n, size=96, positive_share=1.0) for n in (0, 0, 1))
    assert isinstance(one, SyntheticScan)
    assert isinstance(two, SyntheticScan)
    assert isinstance(other, SyntheticScan)
    assert one.hu.tobytes() == two.hu.tobytes()
    assert one.truth.tobytes() == two.truth.tobytes()
    assert one.patient_id != other.patient_id
    assert one.slices.any()


def _auroc(shown: NDArray[np.bool_]) -> float:
    """Of the centre rule within a scan."""
    score = -np.abs(np.arange(len(shown)) - (len(shown) - 1) / 2)
    wins = np.sign(score[shown][:, None] - score[~shown])
    return float(0.5 * (wins.mean() + 1))


def _interval(values: list[float]) -> tuple[float, float]:
    drawn = np.random.default_rng(0).choice(values, (2000, len(values))).mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def test_a_centre_rule_wins_in_whole_heads_and_not_in_the_uniform_arm(host: Host) -> None:
    natural, uniform = [], []
    for number in range(40):
        rng = np.random.default_rng([1, number])
        natural.append(_auroc(shown_slices(host, draw_bleeds(host, rng, list(BLEEDS)))))
        # Evenly spread places, so that few scans suffice.
        bleeds, start = draw_bleeds_at(host, rng, (number + 0.5) / 40, 13)
        shown = shown_slices(host, bleeds)[start : start + 13]
        if not shown.all():
            uniform.append(_auroc(shown))
    low, high = _interval(uniform)
    assert low <= 0.5 <= high
    assert high - low < 0.25
    assert _interval(natural)[0] > 0.7
    assert _interval(natural)[0] > high


def test_a_cohort_is_whole_and_gone_on_with(cohort: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(cohort, again)
    shutil.rmtree(again / "scans" / "scan-00001")  # as if killed in it
    report = phantom_cohort(again, scans=3, seed=2, arm="uniform", size=128, positive_share=0.5)
    assert (report.written, report.kept, report.skipped) == (1, 2, ())
    for file in sorted((cohort / "scans").rglob("*.*")):
        assert file.read_bytes() == (again / file.relative_to(cohort)).read_bytes()
    scans = read_manifest(report.manifest).scans
    assert len({scan.patient_id for scan in scans}) == 3
    assert {scan.label for scan in scans} == {True, False}
    for scan in scans:
        assert scan.path is not None
        assert scan.mask_path is not None
        assert scan.site == "phantom-uniform"
        volume = load_volume(index_folder(scan.path).entries[0])
        mask = load_volume(index_folder(scan.mask_path).entries[0])
        assert volume.hu.shape == mask.hu.shape
        assert scan.label == bool((mask.hu > 0).any())
        assert scan.label == any(bool(each.label) for each in scan.slices)


def test_the_files_say_that_there_is_no_patient(cohort: Path) -> None:
    file = next((cohort / "scans" / "scan-00000" / "series").glob("*.dcm"))
    dataset = dcmread(file)
    assert "not a patient" in dataset.ImageComments
    assert dataset.QualityControlSubject == "YES"
    assert "PatientIdentityRemoved" not in dataset
    checker = shutil.which("dciodvfy")
    if checker is None:
        pytest.skip("dciodvfy is not installed")
    said = subprocess.run([checker, str(file)], capture_output=True, text=True, check=False)
    assert "Error" not in said.stderr + said.stdout


def test_other_folders_and_settings_are_refused(cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="phantoms"):
        phantom_cohort(cohort, scans=1, seed=2, arm="natural", size=128, positive_share=0.5)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(CohortError, match="not empty"):
        phantom_cohort(tmp_path, scans=1, seed=0)
    with pytest.raises(ValueError, match="sideways"):
        phantom_cohort(tmp_path / "new", scans=1, seed=0, arm="sideways")


def test_a_full_disk_is_named_and_scans_that_cannot_be_made_are_told(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise explain_refusal(tmp_path, OSError(28, "No space left on device"))

    monkeypatch.setattr(cohorts, "draw_phantom", lambda *_, **__: "no place")
    report = phantom_cohort(tmp_path / "none", scans=2, seed=0)
    assert report.skipped == (("scan 0", "no place"), ("scan 1", "no place"))
    monkeypatch.undo()
    monkeypatch.setattr("sadmil_core.synth.cohort.write_mask", full)
    with pytest.raises(WriteError, match="disk is full"):
        phantom_cohort(tmp_path / "out", scans=1, seed=0, size=96)
    assert not any((tmp_path / "out" / "scans").iterdir())


def test_the_command_says_what_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("synth", "phantom", "--out", tmp_path / "out", "--scans", 1, "--size", 96)
    done = run_sadmil(monkeypatch, capsys, *words, "--workers", 1)
    assert done.status == 0
    assert "1 scan(s) written" in done.out
    checked = run_sadmil(monkeypatch, capsys, "manifest", "check", tmp_path / "out/manifest.csv")
    assert checked.status == 0
