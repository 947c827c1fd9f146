"""The geometric tools behind the phantom: smooth noise, interpolation, shapes, slabs.

Anatomical coordinates are millimetres with x to the patient's left, y to the back and z to the
crown; the origin lies in the midline just behind the sella turcica.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats = NDArray[np.floating[Any]]
Point = tuple[float, float, float]
Window = tuple[slice, slice, slice]


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, ...], sigma: Sequence[float]
) -> Floats:
    """Gaussian noise of unit variance, smoothed.

    Args:
        rng: Source of randomness.
        shape: Shape of the result.
        sigma: Standard deviation of the smoothing along each axis, in samples.
    """
    noise = rng.standard_normal(shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, sigma, mode="wrap", truncate=2.5)
    out: Floats = (noise / max(float(noise.std()), 1e-6)).astype(np.float32)
    return out


def taps(
    positions: NDArray[np.float64], length: int, *, cubic: bool
) -> list[tuple[NDArray[np.intp], Floats]]:
    """Interpolation taps (indices and weights) for sampling an axis at fractional positions.

    Args:
        positions: Sample positions in index units.
        length: Length of the sampled axis; positions outside repeat the edge.
        cubic: Catmull-Rom (four taps) instead of linear (two).
    """
    base = np.floor(positions)
    t = positions - base
    if cubic:
        weights = [
            ((-0.5 * t + 1.0) * t - 0.5) * t,
            (1.5 * t - 2.5) * t * t + 1.0,
            ((-1.5 * t + 2.0) * t + 0.5) * t,
            (0.5 * t - 0.5) * t * t,
        ]
        first = -1
    else:
        weights, first = [1.0 - t, t], 0
    return [
        (np.clip(base + first + i, 0, length - 1).astype(np.intp), w.astype(np.float32))
        for i, w in enumerate(weights)
    ]


def resample(
    volume: Floats, axis: int, positions: NDArray[np.float64], *, cubic: bool = False
) -> Floats:
    """Samples one axis of a 3-D array at fractional index positions.

    Plain sums of shifted copies rather than a matrix product: the same bits come out whatever
    linear algebra library is installed and however many threads it uses.
    """
    shape = [1, 1, 1]
    shape[axis] = -1
    total: Floats | None = None
    for index, weight in taps(positions, volume.shape[axis], cubic=cubic):
        part = volume.take(index, axis=axis)
        part *= weight.reshape(shape)
        total = part if total is None else np.add(total, part, out=total)
    assert total is not None
    return total


def occupancy(distance: Floats, edge: float) -> Floats:
    """The share of a sample inside a surface, from the signed distance (mm, negative inside)."""
    out: Floats = np.clip(np.float32(0.5) - distance * np.float32(1.0 / edge), 0.0, 1.0)
    return out


def sheet_occupancy(distance: Floats, half: Floats | float, edge: float) -> Floats:
    """The share of a sample covered by a sheet that may be thinner than the sample.

    Args:
        distance: Distance to the middle of the sheet, mm, not negative.
        half: Half the thickness of the sheet, mm; nothing is covered where it is not positive.
        edge: Width of a sample, mm.
    """
    upper = np.minimum(half, distance + 0.5 * edge)
    lower = np.maximum(-np.asarray(half), distance - 0.5 * edge)
    out: Floats = np.clip((upper - lower) / edge, 0.0, 1.0).astype(np.float32)
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Tube:
    """A rounded cone between two points, optionally drawn out along z into a plate.

    Attributes:
        a: First end of the axis, mm.
        b: Second end of the axis, mm.
        ra: Radius at the first end, mm.
        rb: Radius at the second end, mm.
        tall: Half the extra height along z, mm.
    """

    a: Point
    b: Point
    ra: float
    rb: float
    tall: float = 0.0

    def bounds(self) -> tuple[Point, Point]:
        """The corners of a box around the shape."""
        r = max(self.ra, self.rb)
        pad = (r, r, r + self.tall)
        low = tuple(min(p, q) - d for p, q, d in zip(self.a, self.b, pad, strict=True))
        high = tuple(max(p, q) + d for p, q, d in zip(self.a, self.b, pad, strict=True))
        return (low[0], low[1], low[2]), (high[0], high[1], high[2])

    def distance(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Signed distance in mm, negative inside (approximate where the radius changes)."""
        ux, uy, uz = (q - p for p, q in zip(self.a, self.b, strict=True))
        px, py, pz = x - self.a[0], y - self.a[1], z - self.a[2]
        t = np.clip((px * ux + py * uy + pz * uz) / (ux * ux + uy * uy + uz * uz + 1e-9), 0, 1)
        dz = pz - t * uz
        if self.tall:
            dz = np.maximum(np.abs(dz) - self.tall, 0.0)
        d = np.sqrt((px - t * ux) ** 2 + (py - t * uy) ** 2 + dz**2)
        out: Floats = d - (self.ra + t * (self.rb - self.ra))
        return out

    def mirrored(self) -> Tube:
        """The same shape on the other side of the midline."""
        (ax, ay, az), (bx, by, bz) = self.a, self.b
        return Tube(a=(-ax, ay, az), b=(-bx, by, bz), ra=self.ra, rb=self.rb, tall=self.tall)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ball:
    """An ellipsoid, optionally turned about z.

    Attributes:
        c: Centre, mm.
        r: Half-axes, mm.
        turn: Rotation about z in radians (x axis towards y axis).
    """

    c: Point
    r: Point
    turn: float = 0.0

    def bounds(self) -> tuple[Point, Point]:
        """The corners of a box around the shape."""
        flat = max(self.r[:2]) if self.turn else None
        half = (flat or self.r[0], flat or self.r[1], self.r[2])
        low = tuple(c - h for c, h in zip(self.c, half, strict=True))
        high = tuple(c + h for c, h in zip(self.c, half, strict=True))
        return (low[0], low[1], low[2]), (high[0], high[1], high[2])

    def distance(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Signed distance in mm, negative inside (close to exact near the surface)."""
        px, py, pz = x - self.c[0], y - self.c[1], z - self.c[2]
        if self.turn:
            cos, sin = float(np.cos(self.turn)), float(np.sin(self.turn))
            px, py = px * cos + py * sin, py * cos - px * sin
        px, py, pz = px / self.r[0], py / self.r[1], pz / self.r[2]
        k0 = np.sqrt(px**2 + py**2 + pz**2)
        px, py, pz = px / self.r[0], py / self.r[1], pz / self.r[2]
        k1 = np.sqrt(px**2 + py**2 + pz**2)
        out: Floats = k0 * (k0 - 1.0) / np.maximum(k1, 1e-6)
        # At the very centre the quotient above vanishes although the point is well inside.
        return np.where(k0 < 0.05, np.float32(-min(self.r)), out)

    def mirrored(self) -> Ball:
        """The same shape on the other side of the midline."""
        return Ball(c=(-self.c[0], self.c[1], self.c[2]), r=self.r, turn=-self.turn)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prism:
    """An upright prism over a convex polygon, with the edges of its top and bottom rounded off.

    Attributes:
        corners: Corners (x, y) in mm, going round from +x towards +y.
        z: Height of its middle, mm.
        half: Half its height, mm.
        grow: Distance by which the surface is moved outwards, mm.
        dome: How much (mm) the outline shrinks from the middle to the top and bottom.
    """

    corners: tuple[tuple[float, float], ...]
    z: float
    half: float
    grow: float = 0.0
    dome: float = 0.0

    def bounds(self) -> tuple[Point, Point]:
        """The corners of a box around the shape."""
        xs, ys = zip(*self.corners, strict=True)
        g = self.grow
        return (
            (min(xs) - g, min(ys) - g, self.z - self.half - g),
            (max(xs) + g, max(ys) + g, self.z + self.half + g),
        )

    def distance(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Signed distance in mm, negative inside (a lower bound near the corners)."""
        up = np.abs(z - self.z)
        lean = self.dome * (up / self.half) ** 2
        d = up - self.half
        for (ax, ay), (bx, by) in zip(
            self.corners, self.corners[1:] + self.corners[:1], strict=True
        ):
            length = float(np.hypot(bx - ax, by - ay))
            d = np.maximum(d, ((by - ay) * (x - ax) - (bx - ax) * (y - ay)) / length + lean)
        out: Floats = d - self.grow
        return out

    def mirrored(self) -> Prism:
        """The same shape on the other side of the midline."""
        corners = tuple((-x, y) for x, y in reversed(self.corners))
        return Prism(corners=corners, z=self.z, half=self.half, grow=self.grow, dome=self.dome)


Shape = Tube | Ball | Prism


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Where the samples of a slab lie in the scanner and how that maps to the anatomy.

    Attributes:
        x_mm: Scanner x of the columns, mm, evenly spaced.
        y_mm: Scanner y of the rows, mm, evenly spaced.
        matrix: 3x3, scanner offset (mm) to anatomical coordinates (mm).
        inverse: Its inverse.
        centre: Scanner position (mm) of the anatomical origin.
        slack: How far (mm) warps may move a point from where the matrix puts it.
    """

    x_mm: NDArray[np.float64]
    y_mm: NDArray[np.float64]
    matrix: NDArray[np.float64]
    inverse: NDArray[np.float64]
    centre: NDArray[np.float64]
    slack: float

    @property
    def step(self) -> float:
        """In-plane distance between samples, mm."""
        return float(self.x_mm[1] - self.x_mm[0])


@dataclass(slots=True, kw_only=True)
class Slab:
    """The thin samples of one slice, all arrays (thin samples, rows, columns).

    Attributes:
        grid: Geometry shared by all slabs of a head.
        z_mm: Scanner z of the thin samples, mm.
        x: Anatomical x of every sample, mm.
        y: Anatomical y, mm.
        z: Anatomical z, mm.
        hu: What has been painted so far, HU.
        extra: Further fields by name, same shape.
        bottom: Below this anatomical height nothing touches the slab, mm.
        top: Above this anatomical height nothing touches the slab, mm.
    """

    grid: Grid
    z_mm: NDArray[np.float64]
    x: Floats
    y: Floats
    z: Floats
    hu: Floats
    extra: dict[str, Floats] = field(default_factory=dict)
    bottom: float = field(init=False)
    top: float = field(init=False)

    def __post_init__(self) -> None:
        # One sample of margin, for surfaces are soft.
        self.bottom = float(self.z.min()) - self.edge
        self.top = float(self.z.max()) + self.edge

    @property
    def edge(self) -> float:
        """Width over which a surface is softened, mm: one sample."""
        return self.grid.step

    def window(self, low: Point, high: Point) -> Window | None:
        """The part of the slab that an anatomical box can touch, or None."""
        if low[2] > self.top or high[2] < self.bottom:
            return None
        inverse = self.grid.inverse
        lo, hi = np.asarray(low), np.asarray(high)
        middle = inverse @ (0.5 * (lo + hi)) + self.grid.centre
        half = np.abs(inverse) @ (0.5 * (hi - lo)) + self.grid.slack + self.grid.step
        if middle[2] + half[2] < self.z_mm[0] or middle[2] - half[2] > self.z_mm[-1]:
            return None
        cols = np.searchsorted(self.grid.x_mm, (middle[0] - half[0], middle[0] + half[0]))
        rows = np.searchsorted(self.grid.y_mm, (middle[1] - half[1], middle[1] + half[1]))
        if cols[0] >= cols[1] or rows[0] >= rows[1]:
            return None
        return slice(None), slice(int(rows[0]), int(rows[1])), slice(int(cols[0]), int(cols[1]))

    def inside(self, shape: Shape, window: Window, rough: float = 0.0) -> Floats:
        """Occupancy (0 to 1) of a shape in a window of the slab.

        Args:
            shape: The shape.
            window: From :meth:`window`.
            rough: How irregular its surface is, mm.
        """
        d = shape.distance(self.x[window], self.y[window], self.z[window])
        if rough:
            uneven = self.extra["lumps"][window] + 0.7 * self.extra["grain"][window]
            d = d + np.float32(rough) * uneven
        return occupancy(d, self.edge)

    def paint(
        self,
        shape: Shape,
        hu: float,
        *,
        share: float = 1.0,
        both: bool = False,
        rough: float = 0.0,
    ) -> None:
        """Blends a shape of one density into the slab.

        Args:
            shape: What to paint.
            hu: Density, HU.
            share: Opacity, 0 to 1.
            both: Paint the mirror image too.
            rough: How irregular the surface is, mm.
        """
        window = self.window(*shape.bounds())
        if window is not None:
            target = self.hu[window]
            inside = self.inside(shape, window, rough)
            target += np.float32(share) * inside * (np.float32(hu) - target)
        if both:
            self.paint(shape.mirrored(), hu, share=share, rough=rough)

    def blend(self, weight: Floats, hu: Floats | float) -> None:
        """Blends a density into the whole slab with the given weights (0 to 1)."""
        self.hu += (weight * (hu - self.hu)).astype(np.float32, copy=False)
