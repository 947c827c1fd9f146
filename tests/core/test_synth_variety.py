"""Heads that differ: other anatomy, a shifted midline, surgery, contrast medium, artefacts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import ndimage

from sadmil_core.synth import artefacts, extraaxial, intraaxial, lookalikes, surface, variants
from sadmil_core.synth.host import Host, HostUnfit, Tissue
from sadmil_core.synth.insert import draw_look_alikes, lay_in
from sadmil_core.synth.insertion import apply_edits
from sadmil_core.synth.phantom import PhantomConfig
from sadmil_core.synth.phantom_host import make_phantom_host
from sadmil_core.synth.texture import measure_noise
from sadmil_core.synth.tubes import SCALE_MM, tube

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from sadmil_core.synth.lesions import Edit

_CONFIG = PhantomConfig(
    slices=24, size=128, pixel_mm=1.7, spacing_mm=6.2, supersampling=1, anatomy_mm=1.7
)


@pytest.fixture(scope="module")
def host() -> Host:
    return make_phantom_host(np.random.default_rng(7), _CONFIG)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def first_drawn(draw: Callable[[np.random.Generator], list[Edit]], seeds: int = 20) -> list[Edit]:
    for seed in range(seeds):
        try:
            return draw(rng(seed))
        except HostUnfit:
            continue
    raise AssertionError("no seed found a place")


def ventricles_ml(host: Host) -> float:
    return float((host.tissue == Tissue.VENTRICLE).sum() * np.prod(host.spacing_mm) / 1000)


def test_a_varied_head_keeps_its_skull_and_its_noise(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def noise(of: Host) -> float:
        return measure_noise(of.hu, of.tissue == Tissue.BRAIN)[0]

    other = variants.vary(host, rng(0))
    outside = ~host.intracranial
    assert np.array_equal(other.hu[outside], host.hu[outside])
    assert np.array_equal(other.tissue[outside], host.tissue[outside])
    assert not np.array_equal(other.hu, host.hu)
    assert np.array_equal(variants.vary(host, rng(0)).hu, other.hu)
    assert noise(other) == pytest.approx(noise(host), rel=0.06)
    monkeypatch.setattr(variants, "_restore_noise", lambda *_: None)
    assert noise(variants.vary(host, rng(0))) < noise(other)


@pytest.mark.parametrize(("atrophy", "narrow"), [(1.0, 0.0), (0.0, 1.0)])
def test_ventricles_grow_and_shrink_with_their_labels(
    atrophy: float, narrow: float, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variants, "ATROPHY", atrophy)
    monkeypatch.setattr(variants, "NARROW", narrow)
    ratios = []
    for seed in range(3):
        other = variants.vary(host, rng(seed))
        ratios.append(ventricles_ml(other) / ventricles_ml(host))
        # What is labelled so is fluid still.
        assert np.median(other.hu[other.tissue == Tissue.VENTRICLE]) < 22
    assert min(ratios) > 1.05 if atrophy else max(ratios) < 0.97


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_the_midline_moves_away_from_a_mass_and_the_table_stays(side: float, host: Host) -> None:
    shell = surface.shell_of(host)
    shift = surface.push_across(host, shell, shell.depth_mm, side=side, amount_mm=8.0, z=0.6)
    middle = (np.abs(shell.x) < 0.05) & (np.abs(shell.y) < 0.2) & (np.abs(shell.z - 0.6) < 0.05)
    middle &= shell.depth_mm > 25
    # Columns run to the patient's left: from a mass on the left to the right is back along them.
    assert np.median(shift[2][middle]) == pytest.approx(-side * 8.0, abs=1.0)
    assert np.abs(shift[1][middle]).max() < 1.0
    assert np.abs(shift[:, shell.depth_mm < 2]).max() < 0.3
    assert not shift[0].any()


def test_a_thick_subdural_closes_sulci_and_draws_no_bone_inwards(host: Host) -> None:
    edits = first_drawn(
        lambda r: extraaxial.draw_subdural(host, r, thick_mm=(12.0, 15.0), extent_mm=70.0)
    )
    found = [edit.kind for edit in edits]
    assert found == ["subdural", "effacement"]
    before = host.hu[edits[1].box]
    done = apply_edits(host, edits, rng(0)).hu
    # Beside the bone itself, nothing inside the skull is as dense as bone that was not before.
    deep = host.depth_mm > 3 * max(host.pixel_mm)
    assert not ((done > 150) & deep & (host.hu < 100)).any()
    sulci = (before < 18) & (edits[1].occupancy > 0.5)
    assert sulci.any()
    assert done[edits[1].box][sulci].mean() > before[sulci].mean() + 4


def test_clots_differ_in_how_ragged_they_are(host: Host) -> None:
    def surface_share(seed: int) -> float:
        blood = np.zeros(host.hu.shape, np.bool_)
        edit = intraaxial.draw_intraparenchymal(host, rng(seed), volume_ml=(14.0, 16.0))[0]
        blood[edit.box] = edit.occupancy > 0.5
        border = blood & ~ndimage.binary_erosion(blood, np.ones((1, 3, 3)))
        return float(border.sum() / blood.sum())

    shares = []
    for seed in range(12):
        try:
            shares.append(surface_share(seed))
        except HostUnfit:
            continue
    assert len(shares) > 5
    assert max(shares) > 1.25 * min(shares)


def test_blood_in_sulci_lies_beside_the_bleed_it_comes_with(host: Host) -> None:
    for seed in range(20):
        try:
            clot = intraaxial.draw_intraparenchymal(
                host, rng(seed), volume_ml=(12.0, 30.0), sites={"f": intraaxial.SITES["frontal"]}
            )[0]
            beside = extraaxial.draw_subarachnoid(host, rng(seed), beside=clot)[0]
        except HostUnfit:
            continue
        break
    blood = np.zeros(host.hu.shape, np.bool_)
    blood[clot.box] = clot.occupancy > 0.5
    away = ndimage.distance_transform_edt(~blood, sampling=host.spacing_mm)
    assert np.median(away[beside.box][beside.occupancy > 0.5]) < 20


def test_a_craniotomy_cuts_bone_and_leaves_the_brain(host: Host) -> None:
    edits = first_drawn(lambda r: lookalikes.draw_craniotomy(host, r))
    kerf = edits[0]
    assert kerf.kind == "craniotomy"
    assert not any(edit.bleed for edit in edits)
    cut = kerf.occupancy > 0.5
    assert (host.hu[kerf.box][cut] > 120).all()
    assert not host.intracranial[kerf.box][cut].any()
    done = apply_edits(host, [kerf], rng(0)).hu
    assert done[kerf.box][kerf.occupancy > 0.9].max() < 200
    with pytest.raises(HostUnfit, match="vault"):
        lookalikes.draw_craniotomy(replace(host, hu=np.minimum(host.hu, 60.0)), rng(0))


def test_contrast_medium_stays_within_the_skull_and_is_no_bleed(host: Host) -> None:
    (edit,) = lookalikes.draw_contrast(host, rng(0))
    assert not edit.bleed
    filled = edit.occupancy > 0.5
    assert host.intracranial[edit.box][filled].all()
    y, z = host.place[1][edit.box][filled], host.place[2][edit.box][filled]
    assert ((y > -0.2) & (y < 0.4) & (z < 0.4)).any()  # arteries of the base
    assert ((y < -0.6) & (z > 0.5)).any()  # the sagittal sinus
    done = apply_edits(host, [edit], rng(0)).hu
    assert np.median(done[edit.box][edit.occupancy > 0.95]) > 80


def test_a_tube_fills_its_volume(host: Host) -> None:
    shell = surface.shell_of(host)
    ends = (-0.3, -0.1, 0.55), (0.3, 0.15, 0.65)
    filled = tube(host, shell, ends, 6.0)
    # Of the average head, which this one is a little larger or smaller than.
    length = float(np.linalg.norm((np.array(ends[1]) - np.array(ends[0])) * SCALE_MM))
    expected = np.pi * 36 * length + 4 / 3 * np.pi * 216
    unit = np.stack([np.gradient(values, *host.spacing_mm) for values in (shell.x, shell.y)])
    stretch = np.median(np.abs(unit[0, 2])) * SCALE_MM[0] * np.median(np.abs(unit[1, 1]))
    stretch *= SCALE_MM[1] * float(np.median(np.gradient(shell.z, axis=0))) * SCALE_MM[2]
    stretch /= host.spacing_mm[0]
    found = float(filled.sum()) * float(np.prod(host.spacing_mm)) * float(stretch)
    assert found == pytest.approx(expected, rel=0.25)


def test_motion_changes_some_slices_in_a_row_and_loses_no_density(host: Host) -> None:
    done = artefacts.moved(host, host.hu, rng(2))
    changed = np.flatnonzero(np.abs(done - host.hu).max(axis=(1, 2)) > 1e-3)
    assert 1 <= len(changed) < len(host.hu)
    assert np.array_equal(changed, np.arange(changed[0], changed[-1] + 1))
    for at in changed:
        assert done[at].mean() == pytest.approx(host.hu[at].mean(), abs=3)
        assert np.abs(done[at] - host.hu[at]).max() > 20


def test_a_head_that_stays_where_it_is_is_not_changed(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artefacts, "_MOVED_MM", (1e-9, 2e-9))
    np.testing.assert_allclose(artefacts.moved(host, host.hu, rng(2)), host.hu, atol=0.1)


def test_metal_streaks_both_ways_and_only_near_it(host: Host) -> None:
    seen = 0
    for seed in range(8):
        done = artefacts.with_metal(host, host.hu, rng(seed))
        change = done - host.hu
        near = np.flatnonzero(np.abs(change).max(axis=(1, 2)) > 0)
        assert near.size <= 4
        assert done.max() <= 3000
        brain = change[near][host.intracranial[near] & (done[near] < 200)]
        seen += bool(brain.size and brain.min() < -1 and brain.max() > 1)
    assert seen >= 4


def test_artefacts_are_named_occur_as_stated_and_change_no_truth(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    edits = draw_look_alikes(host, rng(3))
    bleed = first_drawn(lambda r: intraaxial.draw_intraparenchymal(host, r))
    clean = {name: (0.0, act) for name, (_, act) in artefacts.ARTEFACTS.items()}
    always = {name: (1.0, act) for name, (_, act) in artefacts.ARTEFACTS.items()}
    monkeypatch.setattr(artefacts, "ARTEFACTS", clean)
    without = lay_in(host, [*edits, *bleed], rng(4))
    monkeypatch.setattr(artefacts, "ARTEFACTS", always)
    with_all = lay_in(host, [*edits, *bleed], rng(4))
    assert set(with_all.edits) - set(without.edits) == {"motion", "metal"}
    assert np.array_equal(with_all.truth, without.truth)
    assert np.array_equal(with_all.slices, without.slices)
    assert not np.array_equal(with_all.hu, without.hu)

    def same(
        _host: Host, hu: NDArray[np.float32], _rng: np.random.Generator
    ) -> NDArray[np.float32]:
        return hu

    monkeypatch.setattr(artefacts, "ARTEFACTS", {"motion": (0.12, same)})
    often = [artefacts.spoil(host, host.hu, rng(seed))[1] for seed in range(500)]
    assert 0.08 < np.mean([bool(each) for each in often]) < 0.16
