"""Synthetic scans beside real ones: what is measured, how it is compared, what is written."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from sadmil_core.dicom import index_folder, load_volume
from sadmil_core.errors import InputError
from sadmil_core.synth import realism
from sadmil_core.synth.demo import DEMO_BLEED, write_phantom_study
from sadmil_core.synth.insert_cohort import insert_cohort
from sadmil_core.synth.phantom import PhantomConfig, make_phantom
from sadmil_core.synth.realism import EDGES_HU, FREQUENCIES_MM, Measured, Source, measure_scan
from sadmil_core.synth.realism_compare import compare
from sadmil_core.synth.realism_report import write_realism_report
from sadmil_core.synth.series import Frame, write_mask
from tests.commands import run_sadmil

if TYPE_CHECKING:
    from pathlib import Path

_CONFIG = PhantomConfig(
    slices=22, size=128, pixel_mm=1.8, spacing_mm=6.5, supersampling=1, anatomy_mm=2.0
)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    for seed in (1, 2):
        phantom = make_phantom(np.random.default_rng(seed), _CONFIG, bleed=None)
        write_phantom_study(phantom, folder / str(seed), seed=seed)
    return folder


def _made(
    owner: str, *, real: bool, at: float = 0.0, hu: float = 30.0, seed: int = 0, near: int = 0
) -> Measured:
    rng = np.random.default_rng([seed, int(real), sum(owner.encode())])
    shape = np.exp(-0.5 * ((EDGES_HU[:-1] - hu) / 6) ** 2)
    patches = rng.standard_normal((40, 8))
    patches[:, 2] += at
    return Measured(
        owner=owner,
        real=real,
        histograms={"brain": shape / shape.sum()},
        numbers={"noise SD, HU": 4.0 + at, "skin's edge, FWHM in mm": 1.0},
        power=np.full(len(FREQUENCIES_MM), 0.1),
        patches=patches,
        places=rng.uniform(-1, 1, (40, 3)),
        near=patches[:near] + 2.0,
        near_places=rng.uniform(-1, 1, (near, 3)),
        pictures=(),
    )


def _both(apart: float, heads: int = 8, near: int = 0) -> list[Measured]:
    """Heads that are on both sides, the synthetic scans apart by so many SDs in one feature."""
    names = [f"H{n}" for n in range(heads)]
    return [
        *(_made(name, real=True) for name in names),
        *(_made(name, real=False, at=apart, near=near) for name in names),
    ]


def test_the_classifier_tells_what_differs_and_nothing_else() -> None:
    alike, unlike = compare(_both(0.0), 1).classifiers[0], compare(_both(3.0), 1).classifiers[0]
    assert alike.auc is not None
    assert alike.low is not None
    assert alike.high is not None
    assert alike.low <= 0.5 <= alike.high
    assert unlike.auc is not None
    assert unlike.auc > 0.95
    assert unlike.heads == 8
    assert unlike.patches == 640


def test_tissue_near_bleeds_is_compared_apart() -> None:
    anywhere, near = compare(_both(0.0, near=20), 1).classifiers
    assert near.auc is not None
    assert near.auc > 0.95
    assert anywhere.auc == pytest.approx(0.5, abs=0.1)
    assert near.patches <= 8 * 20 + 8 * 40


def test_heads_on_one_side_only_are_left_out_where_there_are_enough_of_both() -> None:
    other = [_made(f"X{n}", real=True, at=4.0) for n in range(8)]
    found = compare([*_both(0.0), *other], 1)
    assert found.shared == 8
    assert found.scans == (16, 8)
    assert found.classifiers[0].heads == 8
    assert found.classifiers[0].auc == pytest.approx(0.5, abs=0.1)


def test_too_few_heads_are_said() -> None:
    found = compare(_both(0.0, heads=3), 1).classifiers[0]
    assert found.auc is None
    assert "3 real head(s)" in found.reason


def test_distances_are_those_of_the_densities() -> None:
    scans = [_made(f"R{n}", real=True) for n in range(3)]
    scans += [_made(f"S{n}", real=False, hu=40.0) for n in range(3)]
    sides = compare(scans, 1).distances["brain: densities, HU"]
    assert sides.real is not None
    assert sides.real.middle == pytest.approx(0.0, abs=1e-6)
    assert sides.synthetic is not None
    assert sides.synthetic.middle == pytest.approx(10.0, rel=1e-3)
    doubled = [replace(s, power=s.power * (1 if s.real else 2)) for s in scans]
    spectrum = compare(doubled, 1).distances["noise: spectrum, dB"].synthetic
    assert spectrum is not None
    assert spectrum.middle == pytest.approx(10 * np.log10(2), rel=1e-3)
    assert compare(scans, 1).distances["skull: densities, HU"].real is None


def test_a_scan_is_measured_with_its_bleed_apart(tmp_path: Path) -> None:
    phantom = make_phantom(np.random.default_rng(4), _CONFIG, bleed=DEMO_BLEED)
    write_phantom_study(phantom, tmp_path / "scan", seed=4)
    entry = index_folder(tmp_path / "scan").entries[0]
    geometry = entry.geometry
    frame = Frame(
        row_direction=geometry.row_direction,
        column_direction=geometry.column_direction,
        origins_mm=np.asarray(geometry.origins_mm),
        pixel_mm=(1.8, 1.8),
        thickness_mm=6.5,
    )
    write_mask(phantom.lesion, frame, tmp_path / "mask.nrrd")
    source = Source(entry=entry, mask_path=tmp_path / "mask.nrrd", real=False)
    one, two = (measure_scan(source, 3, 256) for _ in range(2))
    assert isinstance(one, Measured)
    assert isinstance(two, Measured)
    assert np.array_equal(one.patches, two.patches)
    # The clot is some 66 HU, in brain of about 31.
    assert 18 < one.numbers["bleed above its surroundings, HU"] < 45
    middle = 0.5 * (EDGES_HU[1:] + EDGES_HU[:-1])
    assert 25 < float((one.histograms["brain"] * middle).sum()) < 40
    assert float(one.histograms["brain"][(middle > 50) & (middle < 80)].sum()) < 0.03
    assert len(one.near) > 10
    assert np.nansum(one.power) == pytest.approx(1.0)
    assert any(picture.bleed.any() for picture in one.pictures)
    assert all(picture.grey.shape == (320, 320) for picture in one.pictures)
    plain = measure_scan(replace(source, mask_path=None), 3, 256)
    assert isinstance(plain, Measured)
    assert "bleed, SD inside, HU" not in plain.numbers
    dense = [(np.abs(m.patches[:, -1] - 62) < 12).sum() for m in (one, plain)]
    assert dense[0] < dense[1]
    assert len(plain.near) == 0
    write_mask(phantom.lesion[1:], frame, tmp_path / "short.nrrd")
    short = measure_scan(replace(source, mask_path=tmp_path / "short.nrrd"), 3, 256)
    assert isinstance(short, str)
    assert "21" in short


@pytest.mark.parametrize("tilt_deg", [0.0, 18.0])
def test_masks_of_tilted_stacks_can_be_read_back(tilt_deg: float, tmp_path: Path) -> None:
    tilt = np.deg2rad(tilt_deg)
    mask = np.zeros((6, 20, 30), np.bool_)
    mask[2, 3:7, 10:20] = mask[4, 10:12, 1:3] = True
    frame = Frame(
        row_direction=(1.0, 0.0, 0.0),
        column_direction=(0.0, float(np.cos(tilt)), float(-np.sin(tilt))),
        origins_mm=np.outer(np.arange(6.0), (0.0, 0.0, 5.0)),
        pixel_mm=(0.5, 0.6),
        thickness_mm=5.0,
    )
    write_mask(mask, frame, tmp_path / "mask.nrrd")
    volume = load_volume(index_folder(tmp_path / "mask.nrrd").entries[0])
    assert np.array_equal(volume.hu > 0, mask)
    assert volume.entry.geometry.row_spacing_mm == pytest.approx(0.5)
    assert volume.entry.geometry.spacing_mm == pytest.approx(5.0 * np.cos(tilt))
    assert ("NO_ORIENTATION" in volume.entry.warning_codes) == (tilt_deg > 0)


def test_the_command_writes_numbers_figures_and_pairs(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    insert_cohort(real, tmp_path / "made", scans=2, seed=3, positive_share=1.0)
    out = tmp_path / "report"
    words = ("synth", "report", "--synthetic", tmp_path / "made", "--real", real, "--out", out)
    done = run_sadmil(monkeypatch, capsys, *words, "--workers", 1)
    assert done.status == 0
    assert "realism.html" in done.out
    document = json.loads((out / "realism.json").read_text())
    assert document["scans"] == [2, 2]
    assert document["shared"] == 2  # a host and what was inserted into it are one head
    assert document["classifiers"][0]["auc"] is None
    assert document["numbers"]["noise SD, HU"]["real"]["n"] == 2
    page = (out / "realism.html").read_text()
    assert "not measured (2 real head(s), of at least 4)" in page
    key = json.loads((out / "pictures" / "key.json").read_text())["synthetic"]
    assert set(key.values()) <= {"left", "right"}
    assert key
    for name in key:
        assert f'src="pictures/{name}"' in page
        with Image.open(out / "pictures" / name) as image:
            assert image.size == (648, 320)
    assert (out / "pictures" / "bleed-01.png").is_file()


def test_folders_without_a_head_are_refused(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no CT series"):
        write_realism_report(tmp_path / "empty", real, tmp_path / "out")
    monkeypatch.setattr(realism, "find_host", _refuse)
    with pytest.raises(InputError, match="too round"):
        write_realism_report(real, real, tmp_path / "out")


def _refuse(*_: object, **__: object) -> None:
    raise realism.HostUnfit("too round")
