"""One head: what varies between people, where it lies in the scanner, and its smooth fields."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from sadmil_core.synth.fields import Floats, Grid, Slab, resample, smooth_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

CROWN_MM = 92.0
"""Height of the skin of the crown above the anatomical origin in an average head, mm."""

_COARSE_XY = 3.0
_COARSE_Z = 3.0
_FACE_MM = 24.0  # above this anatomical height no nose or ear stands out, mm
_CENTRE_Z = 12.0  # height of the widest section of the cranial cavity, mm


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadTraits:
    """What differs from head to head.

    Attributes:
        scale: Size relative to the average along x, y and z.
        skull: Thickness of the vault relative to the average.
        scalp_mm: Thickness of the scalp, mm.
        atrophy: Width of the sulci relative to the average.
        ventricles: Calibre of the ventricles relative to the average.
        asymmetry: Calibre of the left lateral ventricle relative to the right.
        brain_hu: Offset of all brain tissue, HU.
        contrast_hu: Grey matter above white matter, HU.
        air: Extent of the frontal sinuses and mastoid cells, 0 to 1.
        pineal_mm: Radius of the pineal calcification, mm; 0 for none.
        choroid_mm: Radius of the choroid plexus calcifications (right, left), mm; 0 for none.
        falx_calcified: Whether the falx carries calcification.
        ganglia_calcified: Whether the basal ganglia are calcified.
        infarct: Whether an old infarct is present (dark, no blood).
        venous_hu: Density of the dural sinuses, HU.
    """

    scale: tuple[float, float, float]
    skull: float
    scalp_mm: float
    atrophy: float
    ventricles: float
    asymmetry: float
    brain_hu: float
    contrast_hu: float
    air: float
    pineal_mm: float
    choroid_mm: tuple[float, float]
    falx_calcified: bool
    ganglia_calcified: bool
    infarct: bool
    venous_hu: float


def draw_traits(rng: np.random.Generator) -> HeadTraits:
    """Draws a head; frequencies of the calcifications follow the literature."""
    age = float(rng.random())
    size = rng.normal(1.0, 0.025)
    return HeadTraits(
        scale=(
            float(np.clip(size * rng.normal(1.0, 0.025), 0.92, 1.08)),
            float(np.clip(size * rng.normal(1.0, 0.025), 0.92, 1.08)),
            float(np.clip(size * rng.normal(1.0, 0.02), 0.93, 1.07)),
        ),
        skull=float(rng.uniform(0.8, 1.25)),
        scalp_mm=float(rng.uniform(4.0, 7.0)),
        atrophy=0.55 + 0.9 * age * float(rng.uniform(0.5, 1.3)),
        ventricles=0.75 + 0.55 * age * float(rng.uniform(0.5, 1.4)),
        asymmetry=float(rng.uniform(0.85, 1.18)),
        brain_hu=float(rng.normal(0.0, 1.2)),
        contrast_hu=float(rng.uniform(7.0, 9.5)),
        air=float(rng.uniform(0.3, 1.0)),
        pineal_mm=float(rng.uniform(1.2, 3.0)) if rng.random() < 0.71 else 0.0,
        choroid_mm=(
            (float(rng.uniform(1.5, 3.2)), float(rng.uniform(1.5, 3.2)))
            if rng.random() < 0.66
            else (0.0, 0.0)
        ),
        falx_calcified=bool(rng.random() < 0.07),
        ganglia_calcified=bool(rng.random() < 0.08),
        infarct=bool(rng.random() < 0.12),
        venous_hu=float(rng.uniform(48.0, 64.0)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A head placed in the scanner, with its smooth fields on a coarse grid.

    Attributes:
        traits: What is particular about it.
        grid: Fine in-plane samples and the placement.
        fields: Coarse arrays (z, y, x) by name: anatomical ``x``, ``y``, ``z`` (mm);
            ``vault``, distance to the inner table (mm, negative inside); ``skin``, distance to
            the skin (mm, negative inside); ``sulcus``, distance to the nearest sulcal sheet
            (mm, signed); ``open``, ``lumps`` and ``grain``, noise of unit variance.
        coarse_x: Scanner x of the coarse columns, mm.
        coarse_y: Scanner y of the coarse rows, mm.
        coarse_z: Scanner z of the coarse planes, mm.
    """

    traits: HeadTraits
    grid: Grid
    fields: dict[str, Floats]
    coarse_x: NDArray[np.float64]
    coarse_y: NDArray[np.float64]
    coarse_z: NDArray[np.float64]

    def slab(self, z_mm: NDArray[np.float64]) -> Slab:
        """The empty slab (all air) of the thin samples at the scanner heights ``z_mm``."""
        at_z = (z_mm - self.coarse_z[0]) / _COARSE_Z
        grid = self._cropped(at_z)
        at_y = (grid.y_mm - self.coarse_y[0]) / _COARSE_XY
        at_x = (grid.x_mm - self.coarse_x[0]) / _COARSE_XY
        fine: dict[str, Floats] = {}
        for name, coarse in self.fields.items():
            # Only the folds need a curve through the samples; the rest is smooth anyway.
            cubic = name == "sulcus"
            part = resample(coarse, 0, at_z)
            part = resample(part, 1, at_y, cubic=cubic)
            fine[name] = resample(part, 2, at_x, cubic=cubic)
        x, y, z = fine.pop("x"), fine.pop("y"), fine.pop("z")
        hu = np.full(x.shape, -1000.0, dtype=np.float32)
        return Slab(grid=grid, z_mm=z_mm, x=x, y=y, z=z, hu=hu, extra=fine)

    def _cropped(self, at_z: NDArray[np.float64]) -> Grid:
        """The part of the grid that the head fills at some heights (indices of coarse planes)."""
        low, high = max(int(at_z.min()), 0), int(at_z.max()) + 2
        if float(self.fields["z"][low].min()) < _FACE_MM:
            return self.grid  # nose and ears stand out from the smooth skin
        near = self.fields["skin"][low:high].min(axis=0) < 5.0
        rows, cols = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
        if not rows.size:
            rows = cols = np.array([0, 3])
        y_low, y_high = self.coarse_y[rows[0]], self.coarse_y[rows[-1]]
        x_low, x_high = self.coarse_x[cols[0]], self.coarse_x[cols[-1]]
        y_mm, x_mm = self.grid.y_mm, self.grid.x_mm
        return replace(
            self.grid,
            y_mm=y_mm[(y_mm >= y_low - _COARSE_XY) & (y_mm <= y_high + _COARSE_XY)],
            x_mm=x_mm[(x_mm >= x_low - _COARSE_XY) & (x_mm <= x_high + _COARSE_XY)],
        )


def place_head(
    rng: np.random.Generator,
    traits: HeadTraits,
    *,
    step_mm: float,
    field_of_view_mm: float,
) -> Grid:
    """Places a head in the scanner: slightly off-centre, turned and nodding.

    Scanner coordinates are centred in the field of view in the plane; scanner z has its zero at
    the anatomical origin.

    Args:
        rng: Source of randomness.
        traits: The head.
        step_mm: In-plane distance of the fine samples, mm.
        field_of_view_mm: Side of the square image, mm.
    """
    turn, nod, roll = np.radians(rng.normal(0.0, (2.5, 4.0, 1.5)))
    cz, sz = np.cos(turn), np.sin(turn)
    cx, sx = np.cos(nod), np.sin(nod)
    cy, sy = np.cos(roll), np.sin(roll)
    about_z = np.array([[cz, sz, 0], [-sz, cz, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cx, sx], [0, -sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    matrix = np.diag(1.0 / np.asarray(traits.scale)) @ about_z @ about_x @ about_y
    centre = np.array([rng.normal(0.0, 4.0), rng.normal(-4.0, 3.0), 0.0])
    samples = round(field_of_view_mm / step_mm)
    all_mm = (np.arange(samples) - 0.5 * (samples - 1)) * step_mm
    # Beyond these margins there is only air and the head rest, which is drawn separately.
    x_mm = all_mm[np.abs(all_mm - centre[0]) < 91.0]
    y_mm = all_mm[np.abs(all_mm - centre[1]) < 119.0]
    return Grid(
        x_mm=x_mm,
        y_mm=y_mm,
        matrix=matrix,
        inverse=np.linalg.inv(matrix),
        centre=centre,
        slack=4.0,
    )


def vault_radius(x: Floats, y: Floats, z: Floats) -> Floats:
    """Normalised radius in the cranial cavity: 0 in its centre, 1 at the inner table.

    Args:
        x: Anatomical x, mm.
        y: Anatomical y, mm.
        z: Anatomical z, mm.
    """
    # Narrow at the forehead, widest over the parietal bones.
    across = np.abs(x) / (62.5 * (1.0 + 0.06 * np.tanh((y - 5.0) / 38.0)))
    along = np.abs(y - 2.0) / np.where(y < 2.0, 79.0, 82.0)
    # The forehead is squarer than the back of the head.
    power = np.where(y < 2.0, 2.4, 2.15)
    plane = (across**power + along**power) ** (2.3 / power)
    height = np.abs(z - _CENTRE_Z) / np.where(z > _CENTRE_Z, 67.0, 60.0)
    out: Floats = ((plane + height**2.3) ** (1 / 2.3)).astype(np.float32)
    return out


def _distance(radius: Floats, steps: tuple[float, float, float]) -> Floats:
    gz, gy, gx = np.gradient(radius, *steps)
    slope = np.sqrt(gx**2 + gy**2 + gz**2)
    out: Floats = ((radius - 1.0) / np.maximum(slope, 1.0 / 95.0)).astype(np.float32)
    return out


def _face_distance(x: Floats, y: Floats, z: Floats) -> Floats:
    """Signed distance to the skin of the face and neck, mm (valid below the brows)."""
    heights = (-75.0, -50.0, -30.0, -15.0, 0.0, 12.0, 20.0)
    half = np.interp(z, heights, (58, 63, 68, 70, 68, 62, 40))
    front = np.interp(z, heights, (82, 86, 88, 89, 90, 86, 60))
    back = np.interp(z, heights, (66, 70, 76, 78, 74, 60, 40))
    # Cheeks fall away to the side of the nose: a lower exponent in front than behind.
    power = np.where(y < 0, 2.25, 2.1)
    along = np.abs(y) / np.where(y < 0, front, back)
    radius = ((np.abs(x) / half) ** power + along**power) ** (1 / power)
    lid = (z - 20.0) / 1.5
    out: Floats = np.maximum((radius - 1.0) * 0.5 * (half + front), lid).astype(np.float32)
    return out


def _sulci(rng: np.random.Generator, radius: Floats, p: tuple[Floats, Floats, Floats]) -> Floats:
    """Signed distance (mm) to winding sheets that stand nearly upright on the brain's surface."""
    pitch = 2.6
    lattice = smooth_noise(rng, (84, 84, 84), (1.15, 1.15, 1.15))
    # Pulling every point out towards the surface makes the sheets run inwards from it.
    reach = np.clip(radius, 0.25, 1.3) ** -0.8
    x, y, z = p
    points = np.stack(((z - 15.0) * reach, y * reach, x * reach)) / pitch + 42.0
    value = ndimage.map_coordinates(lattice, points, order=1, mode="wrap").astype(np.float32)
    gz, gy, gx = np.gradient(value, _COARSE_Z, _COARSE_XY, _COARSE_XY)
    slope = np.sqrt(gx**2 + gy**2 + gz**2)
    inside = radius < 1.0
    floor = 0.4 * float(slope[inside].mean()) if inside.any() else 1e-3
    out: Floats = (value / np.maximum(slope, floor)).astype(np.float32)
    return out


def build_head(
    rng: np.random.Generator,
    traits: HeadTraits,
    grid: Grid,
    *,
    low_mm: float,
    high_mm: float,
) -> Head:
    """Computes the smooth fields of a head between two scanner heights.

    Args:
        rng: Source of randomness.
        traits: The head.
        grid: Its placement.
        low_mm: Lowest scanner z needed, mm.
        high_mm: Highest scanner z needed, mm.
    """
    cx = np.arange(grid.x_mm[0] - _COARSE_XY, grid.x_mm[-1] + 2 * _COARSE_XY, _COARSE_XY)
    cy = np.arange(grid.y_mm[0] - _COARSE_XY, grid.y_mm[-1] + 2 * _COARSE_XY, _COARSE_XY)
    cz = np.arange(low_mm - _COARSE_Z, high_mm + 2 * _COARSE_Z, _COARSE_Z)
    shape = (cz.size, cy.size, cx.size)
    offset = (
        cx[None, None, :] - grid.centre[0],
        cy[None, :, None] - grid.centre[1],
        cz[:, None, None] - grid.centre[2],
    )
    coordinates: list[Floats] = []
    for row in grid.matrix:
        straight = row[0] * offset[0] + row[1] * offset[1] + row[2] * offset[2]
        warp = np.clip(smooth_noise(rng, shape, (9.0, 11.0, 11.0)), -2.2, 2.2)
        coordinates.append((straight + 1.1 * warp).astype(np.float32))
    x, y, z = coordinates
    radius = vault_radius(x, y, z)
    vault = _distance(radius, (_COARSE_Z, _COARSE_XY, _COARSE_XY))
    lumps = smooth_noise(rng, shape, (2.2, 2.6, 2.6))
    # Forehead and crown end in the scalp; below the brows the face and the neck take over.
    head = vault - (_vault_thickness(x, y, z, traits) + traits.scalp_mm + 0.5 * lumps)
    face = _face_distance(x, y, z) - 0.4 * lumps
    crest = _crest(x, y, z)
    fields = {
        "x": x,
        "y": y,
        "z": z,
        "vault": (vault + crest).astype(np.float32),
        "bone": (_vault_thickness(x, y, z, traits) + 0.35 * lumps + crest).astype(np.float32),
        "skin": _union(head, face, 6.0),
        "sulcus": _sulci(rng, radius, (x, y, z)),
        "open": smooth_noise(rng, shape, (2.6, 3.0, 3.0)),
        "lumps": lumps,
        "grain": smooth_noise(rng, shape, (0.8, 1.0, 1.0)),
    }
    return Head(traits=traits, grid=grid, fields=fields, coarse_x=cx, coarse_y=cy, coarse_z=cz)


def _crest(x: Floats, y: Floats, z: Floats) -> Floats:
    """How far (mm) the midline ridges of the forehead and the occiput jut into the cavity."""
    narrow = np.clip(1.0 - np.abs(x) / 8.0, 0.0, 1.0) * np.clip((26.0 - z) / 20.0, 0.0, 1.0)
    out: Floats = (narrow * np.where(y > 0, 7.0, 2.5)).astype(np.float32)
    return out


def _union(a: Floats, b: Floats, soft: float) -> Floats:
    h = np.maximum(soft - np.abs(a - b), 0.0)
    out: Floats = (np.minimum(a, b) - h * h / (4.0 * soft)).astype(np.float32)
    return out


def _vault_thickness(x: Floats, y: Floats, z: Floats, traits: HeadTraits) -> Floats:
    """Thickness of the cranial vault, mm."""
    temple = np.clip((np.abs(x) - 30.0) / 25.0, 0, 1) * np.clip((34.0 - z) / 25.0, 0, 1)
    temple *= np.clip(1.3 - np.abs(y + 10.0) / 50.0, 0, 1)
    brow = np.clip((-52.0 - y) / 20.0, 0, 1) * np.clip((34.0 - z) / 20.0, 0, 1)
    brow *= np.clip((42.0 - np.abs(x)) / 22.0, 0, 1)
    back = np.clip((y - 50.0) / 25.0, 0, 1)
    crest = back * np.clip(1.0 - np.abs(x) / 14.0, 0, 1) * np.clip((36.0 - z) / 25.0, 0, 1)
    thick = 6.4 + 1.0 * back + 2.5 * crest - 3.2 * temple + 3.5 * brow
    # The occipital squama and the mastoid region thicken towards the base.
    thick = thick + 2.5 * np.clip((4.0 - z) / 20.0, 0, 1) * np.clip((y - 5.0) / 25.0, 0, 1)
    out: Floats = (traits.skull * thick).astype(np.float32)
    return out
