"""Bleeds around the brain and what only looks like one, in a head that knows its anatomy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import ndimage

from sadmil_core.dicom import index_folder, load_volume
from sadmil_core.pixelgrid import GridConfig
from sadmil_core.synth import extraaxial, lookalikes, surface, traces
from sadmil_core.synth.demo import write_phantom_study
from sadmil_core.synth.find_host import find_host
from sadmil_core.synth.gridhost import host_on_grid
from sadmil_core.synth.host import Host, HostUnfit, Tissue
from sadmil_core.synth.insertion import BLOOD_SHARE, apply_edits
from sadmil_core.synth.lookalikes import LOOK_ALIKES
from sadmil_core.synth.phantom import PhantomConfig, make_phantom
from sadmil_core.synth.phantom_host import make_phantom_host
from sadmil_core.synth.traces import look_for_traces

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sadmil_core.synth.insertion import Insertion
    from sadmil_core.synth.lesions import Edit

    Draw = Callable[[Host, np.random.Generator], list[Edit]]

_CONFIG = PhantomConfig(
    slices=24, size=112, pixel_mm=1.9, spacing_mm=6.2, supersampling=1, anatomy_mm=1.9
)
_BESIDE = ("effacement", "craniotomy", "plate")  # the brain below a layer, and bone
_HALF_MM = surface.HALF_WIDTH_MM
DRAWS: tuple[Draw, ...] = (
    extraaxial.draw_epidural,
    extraaxial.draw_subdural,
    extraaxial.draw_falcine,
    extraaxial.draw_tentorial,
    extraaxial.draw_subarachnoid,
)


@pytest.fixture(scope="module")
def host() -> Host:
    return make_phantom_host(np.random.default_rng(12), _CONFIG)


def _drawn(draw: Draw, host: Host, seeds: int = 4) -> list[list[Edit]]:
    """What a draw makes of some seeds; a place where nothing fits is left out."""
    found = []
    for seed in range(seeds):
        try:
            found.append(draw(host, np.random.default_rng(seed)))
        except HostUnfit:
            continue
    assert found, "no seed found a place"
    return found


def _blood(host: Host, edits: Sequence[Edit]) -> NDArray[np.bool_]:
    mask = np.zeros(host.hu.shape, np.bool_)
    for edit in edits:
        if edit.kind not in _BESIDE:
            mask[edit.box] |= edit.occupancy >= BLOOD_SHARE
    return mask


def _same(one: Sequence[Edit], two: Sequence[Edit]) -> bool:
    return len(one) == len(two) and all(
        a.kind == b.kind
        and a.box == b.box
        and np.array_equal(a.occupancy, b.occupancy)
        and np.array_equal(a.target_hu, b.target_hu)
        for a, b in zip(one, two, strict=True)
    )


@pytest.mark.parametrize("draw", DRAWS)
def test_the_same_seed_draws_the_same_bleed(draw: Draw, host: Host) -> None:
    seed = _fits(draw, host)
    one, two = (draw(host, np.random.default_rng(seed)) for _ in range(2))
    assert _same(one, two)
    assert not any(_same(one, other) for other in _drawn(draw, host)[1:])


@pytest.mark.parametrize("draw", DRAWS)
def test_bleeds_around_the_brain_lie_inside_the_skull(draw: Draw, host: Host) -> None:
    for edits in _drawn(draw, host):
        truth = apply_edits(host, edits, np.random.default_rng(1)).truth
        assert truth.any()
        assert host.intracranial[truth].all()
        bleed, *beside = edits
        assert bleed.bleed
        assert bleed.kind in ("epidural", "subdural", "subarachnoid")
        assert all(edit.kind == "effacement" and not edit.bleed for edit in beside)
        for edit in edits:
            assert 0 <= edit.occupancy.min() <= edit.occupancy.max() <= 1


@pytest.mark.parametrize(
    ("draw", "low", "high"),
    [
        (extraaxial.draw_epidural, 40, 80),
        (extraaxial.draw_subdural, 14, 80),
        (extraaxial.draw_falcine, 51, 77),
        (extraaxial.draw_tentorial, 51, 75),
        (extraaxial.draw_subarachnoid, 42, 71),
    ],
)
def test_bleeds_have_the_densities_of_their_kind(
    draw: Draw, low: float, high: float, host: Host
) -> None:
    for edit, *_ in _drawn(draw, host):
        target = np.broadcast_to(edit.target_hu, edit.occupancy.shape)
        assert low < target[edit.occupancy >= BLOOD_SHARE].mean() < high


def test_acute_subdurals_are_most_frequent_and_old_ones_occur(host: Host) -> None:
    shell = surface.shell_of(host)
    levels = [
        float(extraaxial._aged(host, np.random.default_rng(seed), shell).mean())
        for seed in range(40)
    ]
    assert 16 <= sum(level > 48 for level in levels) <= 34
    assert any(level < 38 for level in levels)


def test_an_epidural_is_a_lens_at_the_table_on_one_side(host: Host) -> None:
    for edits in _drawn(extraaxial.draw_epidural, host):
        truth = _blood(host, edits)
        depth, across = host.depth_mm[truth], host.place[0][truth] * _HALF_MM
        assert depth.min() < 3.5
        assert depth.max() < 27
        assert len(np.unique(np.sign(across))) == 1
        # Thickest in its middle: the deepest blood lies near the centre of what touches bone.
        points = np.stack(np.broadcast_arrays(*host.points_mm(np.s_[:, :, :])))[:, truth]
        outer = points[:, depth < 4].mean(axis=1)
        away = np.linalg.norm(points - outer[:, None], axis=0)
        assert np.median(away[depth > 0.8 * depth.max()]) < np.quantile(away, 0.75)


def test_a_subdural_stays_above_the_tentorium_and_on_its_side(host: Host) -> None:
    for edits in _drawn(extraaxial.draw_subdural, host):
        truth = _blood(host, edits)
        x, _, z = (axis[truth] for axis in host.place)
        assert (np.sign(x) == np.sign(np.median(x))).mean() > 0.97
        assert z.min() > 0.2
        assert host.depth_mm[truth].min() < 6.0


def test_a_falcine_sheet_lies_along_one_side_of_the_falx(host: Host) -> None:
    sides = set()
    for edits in _drawn(extraaxial.draw_falcine, host, 8):
        truth = _blood(host, edits)
        across = host.place[0][truth] * _HALF_MM
        side = float(np.sign(np.median(across)))
        sides.add(side)
        assert (side * across).min() > -2.0
        assert (side * across).max() < 9.5
        assert host.place[2][truth].min() > 0.45
    assert sides == {-1.0, 1.0}


def test_a_tentorial_sheet_lies_on_one_side_between_cerebrum_and_cerebellum(host: Host) -> None:
    sides = set()
    for edits in _drawn(extraaxial.draw_tentorial, host, 8):
        truth = _blood(host, edits)
        x, y, z = (axis[truth] for axis in host.place)
        sides.add(float(np.sign(np.median(x))))
        assert (np.sign(x) == np.sign(np.median(x))).all()
        assert y.max() < 0.1
        assert z.min() > 0.1
        assert z.max() < 0.52
        # A sheet: nowhere thicker than two slices.
        assert truth.sum(axis=0).max() <= 2
    assert sides == {-1.0, 1.0}


def test_subarachnoid_blood_is_in_fluid_and_near_the_surface_never_in_ventricles(
    host: Host,
) -> None:
    for edits in _drawn(extraaxial.draw_subarachnoid, host):
        truth = _blood(host, edits)
        assert not (truth & (host.tissue == Tissue.VENTRICLE)).any()
        near_fluid = ndimage.binary_dilation(host.tissue == Tissue.CSF, np.ones((1, 5, 5)))
        superficial = (host.depth_mm < 18) | near_fluid
        assert superficial[truth].mean() > 0.9


@pytest.mark.parametrize("draw", [extraaxial.draw_epidural, extraaxial.draw_subdural])
def test_the_height_asked_for_is_about_the_height_drawn(
    draw: Callable[..., list[Edit]], host: Host
) -> None:
    def heights(extent_mm: float) -> list[float]:
        low_high = [
            np.flatnonzero(_blood(host, edits).any(axis=(1, 2)))
            for edits in _drawn(lambda h, rng: draw(h, rng, extent_mm=extent_mm), host, 8)
        ]
        return [float(found[-1] - found[0] + 1) * host.spacing_mm[0] for found in low_high]

    short, tall = heights(20.0), heights(75.0)
    assert np.median(short) < 45
    assert np.median(tall) > np.median(short) + 10
    assert max(tall) < 115


def test_thick_layers_push_the_brain_inwards(host: Host) -> None:
    edit = extraaxial.draw_epidural(host, np.random.default_rng(3), thick_mm=(14.0, 18.0))[0]
    assert edit.shift_mm is not None
    assert not edit.shift_mm[0].any()
    strength = np.hypot(*edit.shift_mm[1:])
    assert 2.0 < strength.max() < 16.0
    # Inwards: along the slope of the distance from the table.
    depth = ndimage.gaussian_filter(host.depth_mm, (0, 2, 2))[edit.box]
    slope = np.stack(np.gradient(depth, *host.pixel_mm, axis=(1, 2)))
    along = (edit.shift_mm[1:] * slope).sum(axis=0)
    assert (along[strength > 1.0] > 0).mean() > 0.95


def _upper_half(host: Host) -> Host:
    tissue = np.where(host.place[2] > 0.62, host.tissue, Tissue.OUTSIDE).astype(np.uint8)
    return replace(host, tissue=tissue)


def test_a_head_without_a_place_for_a_bleed_says_so(host: Host) -> None:
    nothing = replace(host, tissue=np.zeros_like(host.tissue))
    for draw in DRAWS:
        with pytest.raises(HostUnfit):
            draw(nothing, np.random.default_rng(0))
    with pytest.raises(HostUnfit, match="room"):
        extraaxial.draw_tentorial(_upper_half(host), np.random.default_rng(0))


def test_the_shell_of_a_head_is_seen_from_its_skull(host: Host) -> None:
    shell = surface.shell_of(host)
    assert shell.inside.sum() == host.intracranial.sum()
    left = shell.inside & (shell.x > 0.5) & (np.abs(shell.y) < 0.1)
    front = shell.inside & (shell.y > 0.5) & (np.abs(shell.x) < 0.1)
    assert shell.angle[left] == pytest.approx(np.pi / 2, abs=0.25)
    assert shell.angle[front] == pytest.approx(0.0, abs=0.25)
    assert shell.across_mm[left].min() > 30


def test_a_window_is_one_inside_zero_outside_and_soft_between() -> None:
    values = np.array([-1.0, 0.0, 0.5, 1.0, 2.0], np.float32)
    assert surface.window(values, 0.0, 1.0, 0.2).tolist() == [0.0, 0.5, 1.0, 0.5, 0.0]


def test_an_edit_is_of_the_part_where_there_is_anything_to_do() -> None:
    box = slice(5, 7), slice(10, 13), slice(20, 24)
    spot = np.zeros((2, 3, 4), np.float32)
    with pytest.raises(HostUnfit, match="no place for the spot"):
        surface.edit_on(box, spot, 50.0, "spot")
    spot[1, 2, 1:3] = 1
    edit = surface.edit_on(box, spot, 50 + spot, "spot", bleed=True)
    assert edit.bleed
    assert edit.box == (slice(6, 7), slice(12, 13), slice(21, 23))
    assert edit.occupancy.tolist() == [[[1.0, 1.0]]]
    assert np.array_equal(edit.target_hu, [[[51.0, 51.0]]])
    shift = np.zeros((3, *spot.shape), np.float32)
    shift[1, 0, 0, 0] = 0.5
    moved = surface.edit_on(box, spot, 50.0, "spot", shift_mm=shift)
    assert moved.box == (slice(5, 7), slice(10, 13), slice(20, 23))
    assert moved.shift_mm is not None
    assert moved.shift_mm[:, 0, 0, 0].tolist() == [0.0, 0.5, 0.0]


@pytest.mark.parametrize("name", sorted(LOOK_ALIKES))
def test_look_alikes_are_inside_the_skull_and_no_blood(name: str, host: Host) -> None:
    _, draw = LOOK_ALIKES[name]
    for edits in _drawn(draw, host, 3):
        assert not any(edit.bleed for edit in edits)
        assert host.intracranial[_blood(host, edits)].all()
        done = apply_edits(host, edits, np.random.default_rng(0))
        assert not done.truth.any()
        assert not done.slices.any()
        assert (done.hu != host.hu).any()
    assert _same(*(draw(host, np.random.default_rng(_fits(draw, host))) for _ in range(2)))


def _fits(draw: Draw, host: Host) -> int:
    for seed in range(6):
        try:
            draw(host, np.random.default_rng(seed))
        except HostUnfit:
            continue
        return seed
    raise AssertionError


@pytest.mark.parametrize(
    ("draw", "low", "high"),
    [
        (lookalikes.draw_pineal, 90, 380),
        (lookalikes.draw_choroid, 90, 380),
        (lookalikes.draw_ganglia, 65, 150),
        (lookalikes.draw_falx_plaque, 120, 420),
        (lookalikes.draw_dense_falx, 44, 66),
        (lookalikes.draw_dense_sinus, 52, 72),
        (lookalikes.draw_hygroma, 4, 14),
        (lookalikes.draw_catheter, 130, 600),
    ],
)
def test_look_alikes_have_their_densities(draw: Draw, low: float, high: float, host: Host) -> None:
    for edits in _drawn(draw, host, 4):
        for edit in edits:
            if edit.kind in _BESIDE:
                continue
            assert low <= np.min(edit.target_hu) <= np.max(edit.target_hu) <= high


def test_calcifications_lie_where_they_occur(host: Host) -> None:
    for edits in _drawn(lookalikes.draw_pineal, host):
        place = [axis[edits[0].box][edits[0].occupancy > 0.05] for axis in host.place]
        assert np.abs(place[0]).max() < 0.2
        assert place[1].max() < 0.15
    both = next(e for e in _drawn(lookalikes.draw_choroid, host) if len(e) == 2)
    middles = [np.median(host.place[0][edit.box]) for edit in both]
    assert min(middles) < -0.1
    assert max(middles) > 0.1


def test_an_infarct_is_darker_than_brain(host: Host) -> None:
    for edits in _drawn(lookalikes.draw_infarct, host):
        where = _blood(host, edits) & (host.tissue == Tissue.BRAIN)
        done = apply_edits(host, edits, np.random.default_rng(0)).hu
        assert done[where].mean() < host.hu[where].mean() - 2.5


def test_traces_of_editing_are_found_where_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(_CONFIG, slices=12, spacing_mm=11.0)
    heads = [make_phantom_host(np.random.default_rng(seed), config) for seed in range(4)]
    honest = look_for_traces(heads, seed=1, scans=1, patches=40)
    assert honest.hosts == 4
    assert honest.low < honest.auc < honest.high
    assert honest.auc < 0.65
    monkeypatch.setattr(traces, "apply_edits", _smear)
    careless = look_for_traces(heads, seed=1, scans=1, patches=40)
    assert careless.auc > 0.9
    assert not careless.no_trace


def _smear(host: Host, edits: list[Edit], rng: np.random.Generator) -> Insertion:
    """As if whoever put in a clot had smoothed the slices about it."""
    done = apply_edits(host, edits, rng)
    if edits[0].bleed:
        done.hu[edits[0].box[0]] = ndimage.gaussian_filter(done.hu[edits[0].box[0]], (0, 0.8, 0.8))
    return done


def test_a_host_on_a_grid_has_the_networks_pixels(tmp_path: Path) -> None:
    phantom = make_phantom(np.random.default_rng(2), _CONFIG, bleed=None)
    write_phantom_study(phantom, tmp_path, seed=2)
    volume = load_volume(index_folder(tmp_path).entries[0])
    config = GridConfig(size=(96, 96), pixel_spacing_mm=2.2)
    host, again = host_on_grid(volume, config), host_on_grid(volume, config)
    assert host.hu.shape == host.tissue.shape == (24, 96, 96)
    assert host.place.shape == (3, 24, 96, 96)
    assert host.pixel_mm == (2.2, 2.2)
    assert np.array_equal(host.hu, again.hu)
    assert np.array_equal(host.tissue, again.tissue)
    found = find_host(volume)
    volumes = [h.intracranial.sum() * np.prod(h.spacing_mm) for h in (host, found)]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.05)
    assert 25 < np.median(host.hu[host.tissue == Tissue.BRAIN]) < 42
    assert not host.depth_mm[~host.intracranial].any()
    edits = extraaxial.draw_subdural(host, np.random.default_rng(1))
    truth = apply_edits(host, edits, np.random.default_rng(1)).truth
    assert host.intracranial[truth].all()
    with pytest.raises(ValueError, match="size"):
        host_on_grid(volume, GridConfig(size=(96, 96)))
