"""Real scans, where they are at hand: known answers of the published weights, odd geometry."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch

from sadmil_core.dicom import (
    CTVolume,
    SkippedFile,
    StackEntry,
    WarningCode,
    index_folder,
    load_volume,
    read_headers,
)
from sadmil_core.dicom.decode import decode_hu
from sadmil_core.model.trained import load_checkpoint
from sadmil_core.predict import Predictor
from sadmil_core.published.mapping import import_bundle
from sadmil_core.result import ScanResult
from tests.reference import published_data, reference_data

pytestmark = pytest.mark.reference

POSITIVE, NEGATIVE = "rsna_pos_ID_b026766696", "rsna_neg_ID_1acc4b6d6c"
# series, checkpoint, probability, strongest slice (0-based, foot to head), its attention
KNOWN = [
    (POSITIVE, "baseline", 1.00000, 14, 0.10357),
    (POSITIVE, "att_0_5", 1.00000, 14, 0.06671),
    (POSITIVE, "att_0_9", 0.99958, 14, 0.07142),
    (NEGATIVE, "baseline", 0.11984, 23, 0.07223),
    (NEGATIVE, "att_0_5", 0.02400, 20, 0.02837),
    (NEGATIVE, "att_0_9", 0.11846, 14, 0.03706),
]


def _ct(*parts: str) -> Path:
    folder = reference_data().joinpath("ct", *parts)
    if not folder.exists():
        pytest.skip(f"the reference data lacks {'/'.join(parts)}")
    return folder


def _entry(folder: Path) -> StackEntry:
    (entry,) = index_folder(folder).entries
    return entry


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other on busy cores take several times as long as one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def volumes() -> dict[str, CTVolume]:
    return {name: load_volume(_entry(_ct(name))) for name in (POSITIVE, NEGATIVE)}


@pytest.fixture(scope="module")
def results(
    volumes: dict[str, CTVolume], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[tuple[str, str], ScanResult]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SADMIL_DATA_DIR", str(tmp_path_factory.mktemp("models")))
        found = {}
        for name in {name for _, name, *_ in KNOWN}:
            path = import_bundle(published_data() / "models" / f"{name}.ckpt", name)
            predictor = Predictor(load_checkpoint(path), device="cpu")
            for series, volume in volumes.items():
                found[series, name] = predictor.run(volume)
        yield found


@pytest.mark.parametrize(("series", "name", "probability", "peak", "attention"), KNOWN)
def test_published_weights_give_the_known_answers(
    results: dict[tuple[str, str], ScanResult],
    series: str,
    name: str,
    probability: float,
    peak: int,
    attention: float,
) -> None:
    result = results[series, name]
    assert result.scan_probability == pytest.approx(probability, abs=1e-4)
    assert result.peak == peak
    assert result.attention[peak] == pytest.approx(attention, abs=1e-4)
    assert result.slice_threshold == pytest.approx(1 / 57)
    assert result.scan_positive == (series == POSITIVE)
    assert result.contribution is not None
    assert result.padding_contribution is not None
    total = float(result.contribution.sum()) + result.padding_contribution
    assert total == pytest.approx(result.scan_logit, abs=1e-3)
    assert not result.warnings


def test_the_labelled_series_are_read_as_they_are(volumes: dict[str, CTVolume]) -> None:
    positive, negative = volumes[POSITIVE], volumes[NEGATIVE]
    assert positive.hu.shape == (34, 512, 512)
    assert negative.hu.shape == (31, 512, 512)
    # 12 bits and unsigned, but with its true intercept: nothing to mend.
    assert WarningCode.RSNA_12BIT_QUIRK not in positive.entry.warning_codes
    assert WarningCode.INVALID_UID in positive.entry.warning_codes
    assert abs(positive.entry.geometry.tilt_deg) == pytest.approx(24, abs=0.5)
    for volume in (positive, negative):
        assert -1100 <= np.percentile(volume.hu, 5) <= -900
        brain = volume.hu[volume.hu.shape[0] // 2, 206:306, 206:306]
        assert 15 <= np.median(brain) <= 60


def test_the_order_is_that_of_the_labels(volumes: dict[str, CTVolume]) -> None:
    lines = (_ct() / "rsna_labels.csv").read_text().splitlines()
    header = lines[0].split(",")
    z_of = {}
    for line in lines[1:]:
        cells = dict(zip(header, line.split(","), strict=True))
        z_of[Path(cells["file"]).name] = cells["z"]
    for volume in volumes.values():
        z = [float(z_of[slice_.path.name]) for slice_ in volume.entry.slices]
        assert z == sorted(z)
        assert z == pytest.approx(list(volume.entry.geometry.z_mm), abs=1e-3)


def test_the_tilted_ge_series_keeps_its_tilt_and_its_spacings() -> None:
    entry = _entry(_ct("dcm_qa_ct_GE_tilt"))
    assert len(entry.slices) == 28
    assert entry.geometry.tilt_deg == pytest.approx(18.5, abs=0.1)
    assert min(entry.geometry.spacings_mm) == pytest.approx(1.08, abs=0.01)
    assert max(entry.geometry.spacings_mm) == pytest.approx(6.99, abs=0.01)
    assert {WarningCode.TILTED, WarningCode.UNEVEN_SPACING} <= set(entry.warning_codes)


def test_series_in_jpeg_2000_of_both_layouts_are_read() -> None:
    signed, layouts = set(), []
    for folder in sorted(_ct("rsna_normal_looking").iterdir()):
        entry = _entry(folder)
        header = entry.slices[len(entry.slices) // 2]
        layout = (header.signed, header.intercept)
        signed.add(header.signed)
        if layout in layouts:
            continue
        layouts.append(layout)
        hu = decode_hu(header)
        assert hu.shape == (512, 512)
        inside = hu[hu > -2000]  # the corners of some files hold -3024, without a padding tag
        assert -1100 <= np.percentile(inside, 5) <= -900
        assert 10 <= np.median(hu[206:306, 206:306]) <= 70
    assert signed == {True, False}


def test_a_whole_jpeg_2000_series_loads_without_a_word_from_pydicom() -> None:
    folder = min(_ct("rsna_normal_looking").iterdir())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        volume = load_volume(_entry(folder))
    assert volume.hu.dtype == np.int16
    assert WarningCode.SLICES_UNDECODABLE not in volume.entry.warning_codes


@pytest.mark.parametrize("name", ["693_UNCI.dcm", "693_UNCR.dcm", "693_J2KR.dcm"])
def test_the_same_slice_in_several_encodings(name: str) -> None:
    (header,) = read_headers(_ct("robustness", name))
    assert not isinstance(header, SkippedFile)
    dataset = pydicom.dcmread(header.path)
    expected = dataset.pixel_array.astype(np.int32) * int(dataset.RescaleSlope)
    expected += int(dataset.RescaleIntercept)
    if header.padding is not None:
        low, high = header.padding
        padded = (dataset.pixel_array >= low) & (dataset.pixel_array <= high)
        expected[padded] = -1000
    np.testing.assert_array_equal(decode_hu(header), expected)


def test_the_frames_of_an_enhanced_ct_are_slices() -> None:
    path = _ct("robustness", "eCT_Supplemental.dcm")
    (entry,) = index_folder(path).entries
    dataset = pydicom.dcmread(path)
    groups = dataset.PerFrameFunctionalGroupsSequence
    z_mm = [float(g.PlanePositionSequence[0].ImagePositionPatient[2]) for g in groups]
    order = sorted(range(len(z_mm)), key=z_mm.__getitem__)
    assert entry.geometry.z_mm == tuple(z_mm[k] for k in order)
    assert [header.frame_number for header in entry.slices] == [k + 1 for k in order]
    # A map of blood flow, whose RescaleType says so.
    assert WarningCode.NOT_HOUNSFIELD in entry.warning_codes
    expected = dataset.pixel_array[order].astype(np.int32) - 1024
    np.testing.assert_array_equal(load_volume(entry).hu, expected)


def test_bf16_comes_to_the_same_decision(
    results: dict[tuple[str, str], ScanResult],
    volumes: dict[str, CTVolume],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SADMIL_DATA_DIR", str(tmp_path))
    path = import_bundle(published_data() / "models" / "att_0_9.ckpt", "rough")
    rough = Predictor(load_checkpoint(path), device="cpu", precision="bf16").run(volumes[POSITIVE])
    exact = results[POSITIVE, "att_0_9"]
    assert rough.scan_probability == pytest.approx(exact.scan_probability, abs=0.01)
    assert torch.allclose(
        torch.tensor(rough.attention), torch.tensor(exact.attention), rtol=0.1, atol=1e-3
    )
