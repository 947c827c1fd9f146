"""Lesions in made heads: where they are put, what changes, what the folder says of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydicom import dcmread

from sadmil_core.atomic import explain_refusal
from sadmil_core.data.manifest import missing_files, read_manifest
from sadmil_core.dicom import index_folder, load_volume
from sadmil_core.errors import WriteError
from sadmil_core.synth import insert_cohort as cohorts
from sadmil_core.synth import intraaxial
from sadmil_core.synth.cohort import CohortError
from sadmil_core.synth.demo import DEMO_BLEED, write_phantom_study
from sadmil_core.synth.host import Host, HostUnfit, Tissue
from sadmil_core.synth.insert import insert_one
from sadmil_core.synth.insert_cohort import insert_cohort, load_host
from sadmil_core.synth.insertion import VISIBLE_MM2, apply_edits
from sadmil_core.synth.lesions import Edit
from sadmil_core.synth.phantom import PhantomConfig, make_phantom
from tests.commands import run_sadmil
from tests.synthetic import write_series

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from sadmil_core.data.scans import ManifestScan
    from sadmil_core.dicom import StackEntry
    from sadmil_core.synth.insert import Draw
    from sadmil_core.synth.insert_cohort import FoundHost

_CONFIG = PhantomConfig(
    slices=26, size=192, pixel_mm=1.25, spacing_mm=5.5, supersampling=1, anatomy_mm=1.6
)


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads")
    for seed in (1, 2):
        phantom = make_phantom(np.random.default_rng(seed), _CONFIG, bleed=None)
        write_phantom_study(phantom, folder / f"secret-name-{seed}", seed=seed)
    return folder


@pytest.fixture(scope="module")
def found(heads: Path) -> FoundHost:
    return load_host(index_folder(heads).entries[0])


@pytest.fixture(scope="module")
def host(found: FoundHost) -> Host:
    return found.host


def test_a_made_head_is_segmented(host: Host) -> None:
    inside = host.intracranial
    brain = host.hu[host.tissue == Tissue.BRAIN]
    assert 800 < inside.sum() * np.prod(host.spacing_mm) / 1000 < 2200
    assert 25 < np.median(brain) < 45
    assert np.median(host.hu[host.tissue == Tissue.SKULL]) > 250
    assert np.median(host.hu[host.tissue == Tissue.VENTRICLE]) < 22
    assert (host.depth_mm > 0).sum() == inside.sum()
    assert not host.depth_mm[~inside].any()


def test_head_coordinates_run_left_front_and_up(host: Host) -> None:
    x, y, z = host.place[:, host.intracranial]
    assert -1.3 < x.min() < -0.8 < 0.8 < x.max() < 1.3
    assert abs(x.mean()) < 0.1
    assert y.min() == pytest.approx(-1, abs=0.15)
    assert y.max() == pytest.approx(1, abs=0.15)
    assert z.min() == 0
    assert z.max() == 1
    middle = host.place[:, len(host.hu) // 2]
    assert middle[0, 0, -1] > middle[0, 0, 0]  # columns run to the patient's left
    assert middle[1, 0, 0] > middle[1, -1, 0]


def test_an_edit_changes_its_own_place_and_no_other(host: Host) -> None:
    at = np.argwhere((host.tissue == Tissue.BRAIN) & (host.depth_mm > 20))[200]
    z, y, x = (slice(int(c) - 3, int(c) + 4) for c in at)
    box = z, y, x
    edit = Edit(
        kind="intraparenchymal",
        bleed=True,
        box=box,
        occupancy=np.ones((7, 7, 7), np.float32),
        target_hu=200.0,
    )
    done = apply_edits(host, [edit], np.random.default_rng(0))
    middle = done.hu[tuple(slice(int(c) - 1, int(c) + 2) for c in at)]
    assert middle.mean() == pytest.approx(200, abs=4)
    changed = np.argwhere(done.hu != host.hu)
    assert (changed.min(axis=0) >= at - 3 - np.array([0, 8, 8])).all()
    assert (changed.max(axis=0) <= at + 3 + np.array([0, 8, 8])).all()
    assert np.array_equal(np.argwhere(done.truth), np.argwhere(_filled(host, box)))
    area = 49 * host.pixel_mm[0] * host.pixel_mm[1]
    assert done.slices.sum() == (7 if area >= VISIBLE_MM2 else 0) == 7


def _filled(host: Host, box: tuple[slice, ...]) -> NDArray[np.bool_]:
    mask = np.zeros(host.hu.shape, bool)
    mask[box] = True
    return mask


def test_tissue_moves_by_what_the_edit_says(host: Host) -> None:
    step = np.where(np.arange(192)[:, None] < 96, 20.0, 40.0).astype(np.float32)
    plain = replace(host, hu=step + np.zeros_like(host.hu), noise_sd_hu=0.5)
    box = (slice(10, 12), slice(70, 120), slice(80, 110))
    shift = np.zeros((3, 2, 50, 30), np.float32)
    shift[1] = 5 * host.pixel_mm[0]
    none = np.zeros((2, 50, 30), np.float32)
    edit = Edit(kind="retouch", bleed=False, box=box, occupancy=none, target_hu=0.0, shift_mm=shift)
    done = apply_edits(plain, [edit], np.random.default_rng(0))
    column = done.hu[10, :, 95]
    assert np.flatnonzero(column > 30)[0] == pytest.approx(101, abs=1)
    assert not done.truth.any()


@pytest.mark.parametrize(
    "draw",
    [
        intraaxial.draw_intraparenchymal,
        intraaxial.draw_intraventricular,
        intraaxial.draw_petechial,
        intraaxial.draw_posterior_fossa,
    ],
)
def test_bleeds_lie_inside_the_skull_and_are_brighter(host: Host, draw: Draw) -> None:
    edits = draw(host, np.random.default_rng(5))
    done = apply_edits(host, edits, np.random.default_rng(6))
    assert edits[0].bleed
    assert done.truth.any()
    assert host.intracranial[done.truth].all()
    inside = done.hu[done.truth].mean()
    assert inside > host.hu[done.truth].mean() + 10
    assert 40 < inside < 85


def test_blood_settles_at_the_back_of_the_ventricles(host: Host) -> None:
    ventricles = host.place[1][host.tissue == Tissue.VENTRICLE]
    for seed in range(4):
        edit = intraaxial.draw_intraventricular(host, np.random.default_rng(seed))[0]
        blood = host.place[1][edit.box][edit.occupancy >= 0.5]
        assert blood.mean() < ventricles.mean()


def test_a_clot_has_about_the_volume_asked_for(host: Host) -> None:
    for seed in range(3):
        edit = intraaxial.draw_intraparenchymal(
            host, np.random.default_rng(seed), volume_ml=(20.0, 24.0)
        )[0]
        # The skull and the falx may cut some of it off.
        assert 10 < edit.occupancy.sum() * np.prod(host.spacing_mm) / 1000 < 32


def test_the_same_seed_gives_the_same_scan_and_negatives_have_edits_too(host: Host) -> None:
    one, two = (insert_one(host, np.random.default_rng(8)) for _ in range(2))
    assert np.array_equal(one.hu, two.hu)
    assert np.array_equal(one.truth, two.truth)
    assert one.positive
    assert not one.slices[~one.truth.any(axis=(1, 2))].any()
    negatives = [insert_one(host, np.random.default_rng(s), positive=False) for s in range(4)]
    assert not any(scan.truth.any() or scan.positive for scan in negatives)
    assert any((scan.hu != host.hu).any() for scan in negatives)


def test_only_the_kinds_asked_for_are_drawn(host: Host) -> None:
    scan = insert_one(host, np.random.default_rng(1), {"intraventricular"})
    assert set(scan.kinds) == {"intraventricular"}
    with pytest.raises(ValueError, match="cerebral"):
        insert_one(host, np.random.default_rng(1), {"cerebral"})


def test_a_head_without_ventricles_takes_no_blood_there(host: Host) -> None:
    tissue = np.where(host.tissue == Tissue.VENTRICLE, Tissue.BRAIN, host.tissue).astype(np.uint8)
    with pytest.raises(HostUnfit, match="ventricles"):
        intraaxial.draw_intraventricular(replace(host, tissue=tissue), np.random.default_rng(0))


def test_a_series_that_bleeds_already_or_is_no_head_is_refused(tmp_path: Path) -> None:
    bled = make_phantom(np.random.default_rng(4), _CONFIG, bleed=DEMO_BLEED)
    write_phantom_study(bled, tmp_path / "bled", seed=4)
    with pytest.raises(HostUnfit, match="bled already"):
        load_host(index_folder(tmp_path / "bled").entries[0])
    write_series(tmp_path / "block", slices=8)
    with pytest.raises(HostUnfit, match="unfit"):
        load_host(index_folder(tmp_path / "block").entries[0])


def test_the_folder_is_anonymous_whole_and_gone_on_with(heads: Path, tmp_path: Path) -> None:
    out, again = tmp_path / "out", tmp_path / "again"
    insert_cohort(heads, out, scans=3, seed=5, positive_share=0.6)
    shutil.rmtree(out / "scans" / "scan-00001")  # as if killed in it
    (out / "scans" / ".scan-00001.part" / "series").mkdir(parents=True)
    report = insert_cohort(heads, out, scans=4, seed=5, positive_share=0.6)
    assert (report.written, report.kept, report.skipped) == (2, 2, ())
    insert_cohort(heads, again, scans=4, seed=5, positive_share=0.6)
    files = sorted(p.relative_to(out) for p in (out / "scans").rglob("*") if p.is_file())
    assert files == sorted(
        p.relative_to(again) for p in (again / "scans").rglob("*") if p.is_file()
    )
    for file in files:
        assert (out / file).read_bytes() == (again / file).read_bytes()
    manifest = read_manifest(report.manifest)
    assert not missing_files(manifest.scans)
    assert len({scan.scan_id for scan in manifest.scans}) == 4
    assert len({scan.patient_id for scan in manifest.scans}) == 2
    for scan in manifest.scans:
        _check_scan(scan)


def _check_scan(scan: ManifestScan) -> None:
    assert scan.path is not None
    assert scan.mask_path is not None
    entry = index_folder(scan.path).entries[0]
    volume, mask = load_volume(entry), load_volume(index_folder(scan.mask_path).entries[0])
    assert not {"GAP", "UNEVEN_SPACING"} & set(entry.warning_codes)
    assert volume.hu.shape == mask.hu.shape
    shown = [bool(each.label) for each in scan.slices]
    area = (mask.hu > 0).sum(axis=(1, 2)) * entry.geometry.row_spacing_mm**2
    assert scan.label == any(shown)
    assert (area[np.array(shown)] >= VISIBLE_MM2).all()
    assert [e.sop_instance_uid for e in scan.slices] == [h.sop_instance_uid for h in entry.slices]
    dataset = dcmread(entry.slices[0].path)
    assert dataset.PatientIdentityRemoved == "YES"
    assert "secret" not in str(dataset).lower()
    assert "phantom" not in str(dataset).lower()


def test_a_folder_of_something_else_or_of_other_settings_is_refused(
    heads: Path, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(CohortError, match="not empty"):
        insert_cohort(heads, tmp_path, scans=1, seed=0)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    out = tmp_path / "out"
    out.mkdir()
    insert_cohort(heads, out, scans=1, seed=0)
    assert json.loads((out / "synth.json").read_text())["seed"] == 0
    with pytest.raises(CohortError, match="seed"):
        insert_cohort(heads, out, scans=1, seed=1)


def test_a_full_disk_is_named_and_leaves_no_part(
    heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise explain_refusal(tmp_path, OSError(28, "No space left on device"))

    monkeypatch.setattr("sadmil_core.synth.cohort.write_mask", full)
    with pytest.raises(WriteError, match="disk is full"):
        insert_cohort(heads, tmp_path / "out", scans=1, seed=0)
    assert not any((tmp_path / "out" / "scans").iterdir())


def test_unfit_hosts_leave_their_scans_to_the_others(
    heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = index_folder(heads).entries[0].series_instance_uid
    real = cohorts.load_host

    def choosy(entry: StackEntry, *, size: int | None = None) -> FoundHost:
        if entry.series_instance_uid == first:
            raise HostUnfit("too dull")
        return real(entry, size=size)

    monkeypatch.setattr(cohorts, "load_host", choosy)
    report = insert_cohort(heads, tmp_path / "out", scans=2, seed=0)
    assert report.written == 2
    assert [reason for _, reason in report.skipped] == ["too dull"]
    monkeypatch.setattr(cohorts, "load_host", lambda *_, **__: _raise())
    with pytest.raises(CohortError, match="too small"):
        insert_cohort(heads, tmp_path / "none", scans=2, seed=0)


def _raise() -> None:
    raise HostUnfit("too small")


def test_the_command_says_what_it_wrote(
    heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("synth", "insert", "--hosts", heads, "--out", tmp_path / "out", "--scans", 1)
    done = run_sadmil(monkeypatch, capsys, *words, "--workers", 1)
    assert done.status == 0
    assert "1 scan(s) written" in done.out
