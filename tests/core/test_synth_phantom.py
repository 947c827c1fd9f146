"""The phantom: determinism, anatomy by density, orientation, bleeds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from sadmil_core.progress import Cancelled
from sadmil_core.synth.bleeds import Bleed, draw_bleed
from sadmil_core.synth.phantom import BleedKind, Phantom, PhantomConfig, make_phantom

SMALL = PhantomConfig(slices=16, size=128, pixel_mm=1.84, spacing_mm=9.0, supersampling=1)
MEDIUM = PhantomConfig(size=256, pixel_mm=0.92, supersampling=1)


def make(
    seed: int, kind: BleedKind | Bleed | None = None, config: PhantomConfig = SMALL
) -> Phantom:
    return make_phantom(np.random.default_rng(seed), config, bleed=kind)


def clot(x: float, y: float, z: float, radius: float = 16.0) -> Bleed:
    return Bleed(
        kind=BleedKind.INTRAPARENCHYMAL,
        centre=(x, y, z),
        radii=(radius, radius, radius),
        rough=0.5,
    )


@pytest.fixture(scope="module")
def clean() -> Phantom:
    return make(3, None, MEDIUM)


def test_same_seed_same_bytes_whatever_the_number_of_threads() -> None:
    one = make(5, BleedKind.INTRAPARENCHYMAL)
    two = make_phantom(np.random.default_rng(5), SMALL, bleed=BleedKind.INTRAPARENCHYMAL, workers=2)
    assert one.hu.tobytes() == two.hu.tobytes()
    assert one.lesion.tobytes() == two.lesion.tobytes()


def test_other_seed_other_anatomy() -> None:
    one, two = make(5), make(6)
    # Far more than noise: bone in one where the other has none.
    assert ((one.hu > 500) != (two.hu > 500)).sum() > 500


def test_shapes_and_types() -> None:
    phantom = make(1)
    assert phantom.hu.shape == phantom.lesion.shape == (16, 128, 128)
    assert phantom.hu.dtype == np.int16
    assert phantom.lesion.dtype == np.bool_
    assert phantom.spacing == (9.0, 1.84, 1.84)
    assert not phantom.lesion.any()
    assert phantom.slice_positive.shape == (16,)
    assert not phantom.slice_positive.any()
    assert phantom.bleed is None


def test_values_fit_into_twelve_bits_and_look_like_a_head(clean: Phantom) -> None:
    hu = clean.hu
    assert hu.min() >= -1024
    assert hu.max() <= 3071
    body = ndimage.binary_fill_holes(hu[16] > -300)
    brain = ndimage.binary_erosion((hu[16] > 0) & (hu[16] < 80), iterations=2)
    assert body is not None
    assert np.median(hu[:, :8, :8]) == pytest.approx(-1000, abs=3)
    assert 24 <= np.median(hu[16][brain]) <= 40
    assert (hu > 900).sum() > 20_000  # compact bone
    assert ((hu > 250) & (hu < 900)).sum() > 20_000  # diploe, thin and partial bone
    assert ((hu > -130) & (hu < -60)).sum() > 10_000  # fat
    assert (ndimage.uniform_filter(hu[14:20].astype(float), (1, 5, 5)) < 15).any()


def test_noise_is_four_to_six_hu_and_correlated(clean: Phantom) -> None:
    air = clean.hu[-1, :60, :200].astype(float) + 1000
    sd = air.std()
    assert 3.0 <= sd <= 6.5
    neighbour = (air[:, 1:] * air[:, :-1]).mean() / sd**2
    # At half the pixel size a neighbour shares most of its noise.
    fine = make(3, None, PhantomConfig(slices=2, spacing_mm=2.0)).hu[-1, :60, :200].astype(float)
    fine += 1000
    assert (fine[:, 1:] * fine[:, :-1]).mean() / fine.var() > max(0.4, neighbour)


def test_foot_end_first_and_crown_last(clean: Phantom) -> None:
    air_inside = [int((ndimage.binary_fill_holes(s > -300) & (s < -600)).sum()) for s in clean.hu]
    # Sinuses and nose lie in the lower third, none at the vault.
    assert sum(air_inside[:12]) > 20 * (sum(air_inside[16:]) + 1)
    size = [int((s > -300).sum()) for s in clean.hu]
    assert size[-3] < 0.6 * max(size)


@pytest.mark.parametrize(
    ("centre", "axis", "low"),
    [
        ((-30.0, 0.0, 30.0), 2, True),
        ((30.0, 0.0, 30.0), 2, False),
        ((30.0, -40.0, 32.0), 1, True),
        ((30.0, 45.0, 32.0), 1, False),
        ((26.0, 46.0, -16.0), 0, True),
        ((30.0, 0.0, 58.0), 0, False),
    ],
)
def test_lesion_lies_where_it_was_put(
    centre: tuple[float, float, float], axis: int, low: bool
) -> None:
    # Right is column 0, the face is row 0, the foot end is slice 0.
    phantom = make(2, clot(*centre, radius=12.0))
    where = np.argwhere(phantom.lesion)[:, axis].mean()
    middle = phantom.lesion.shape[axis] / 2
    assert (where < middle - 1) == low
    assert (where > middle + 1) != low


def test_face_is_at_the_top_of_the_image(clean: Phantom) -> None:
    closed = np.array([ndimage.binary_fill_holes(s > -300) & (s < -700) for s in clean.hu[2:10]])
    # The nose and its sinuses hold more air than the mastoid cells behind the ears.
    assert np.median(np.argwhere(closed)[:, 1]) < 110


def test_clot_is_brighter_than_its_surroundings_and_has_a_dark_rim() -> None:
    phantom = make(4, draw_bleed(np.random.default_rng(1), BleedKind.INTRAPARENCHYMAL), MEDIUM)
    core = ndimage.binary_erosion(phantom.lesion, iterations=1)
    near = ndimage.binary_dilation(phantom.lesion, np.ones((1, 3, 3), bool), iterations=4)
    near &= ~ndimage.binary_dilation(phantom.lesion, np.ones((1, 3, 3), bool), iterations=1)
    near &= (phantom.hu > -20) & (phantom.hu < 100)
    assert 50 <= phantom.hu[core].mean() <= 80
    assert phantom.hu[near].mean() < phantom.hu[core].mean() - 20


@pytest.mark.parametrize("kind", list(BleedKind))
def test_every_kind_of_bleed_shows_as_blood(kind: BleedKind) -> None:
    # A bleed in the drawn place may miss the few thick slices of a small scan, but not twice.
    for seed in range(2):
        phantom = make(seed, kind)
        if phantom.slice_positive.any():
            assert 40 <= np.median(phantom.hu[phantom.lesion]) <= 85
            return
    pytest.fail("no blood to be seen")


def test_positive_slices_of_a_full_scan_are_some_but_not_all() -> None:
    config = PhantomConfig(size=128, pixel_mm=1.84, supersampling=1)
    counts = [
        int(make(seed, BleedKind.INTRAPARENCHYMAL, config).slice_positive.sum())
        for seed in range(3)
    ]
    assert all(3 <= count <= 14 for count in counts)


def test_the_bleed_alone_makes_the_difference() -> None:
    # The same generator state must give the same head, or bright spots could give a class away.
    bleed = clot(-30, 0, 30)
    with_blood, without = make(9, bleed), make(9, None)
    far = ~ndimage.binary_dilation(with_blood.lesion, iterations=4)
    far &= without.hu < 200
    assert np.abs(with_blood.hu[far].astype(int) - without.hu[far]).mean() < 0.5


def test_slice_positive_needs_a_visible_area() -> None:
    lesion = np.zeros((3, 100, 100), dtype=bool)
    lesion[1, :4, :4] = True  # 16 mm²
    lesion[2, :5, :4] = True  # 20 mm²
    phantom = Phantom(hu=np.zeros(lesion.shape, np.int16), lesion=lesion, spacing=(5.0, 1.0, 1.0))
    assert phantom.lesion_mm2.tolist() == [0.0, 16.0, 20.0]
    assert phantom.slice_positive.tolist() == [False, False, True]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_cancelled_run_stops(workers: int) -> None:
    calls = []

    def stop(done: int, total: int, phase: str) -> None:
        calls.append((done, total, phase))
        if done == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        make_phantom(np.random.default_rng(0), SMALL, bleed=None, progress=stop, workers=workers)
    assert [done for done, _, _ in calls] == [1, 2]


@pytest.mark.parametrize(
    "wrong",
    [{"slices": 0}, {"spacing_mm": 0.0}, {"size": 128, "pixel_mm": 0.46}, {"supersampling": 0}],
)
def test_impossible_configurations_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        PhantomConfig(**wrong)  # type: ignore[arg-type]
