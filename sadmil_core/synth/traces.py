"""Whether editing leaves traces: can a patch classifier tell edited tissue that shows no lesion?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage, optimize, stats

from sadmil_core.synth import intraaxial
from sadmil_core.synth.host import HostUnfit, Tissue
from sadmil_core.synth.insertion import apply_edits
from sadmil_core.synth.texture import smooth_keeping_edges

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sadmil_core.synth.host import Host
    from sadmil_core.synth.lesions import Edit

PATCH_SIDE = 9
"""Pixels of a patch."""
_NEAR_MM = 14.0  # from the border of an edit
_CLEAR = 0.02  # what is replaced by less than this shows no lesion
_PENALTY = 1.0
_BOOTSTRAPS = 2000
FEATURES = ("sd", "fine", "along rows", "along columns", "across slices", "peaked", "edges")


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceTest:
    """What a patch classifier makes of tissue near edits.

    Attributes:
        auc: Of positive against negative scans' patches, each scored by a classifier that saw
            other hosts only; 0.5 where editing is no clue.
        low: Lower end of the 95 % interval, from a bootstrap over hosts.
        high: Its upper end.
        hosts: How many hosts.
        patches: How many patches.
    """

    auc: float
    low: float
    high: float
    hosts: int
    patches: int

    @property
    def no_trace(self) -> bool:
        """Whether the interval contains 0.5."""
        return self.low <= 0.5 <= self.high


def look_for_traces(
    hosts: Sequence[Host], *, seed: int, scans: int = 4, patches: int = 60
) -> TraceTest:
    """Compares tissue near clots with tissue near edits without blood, lesions left out.

    Args:
        hosts: At least four heads.
        seed: Of the lesions, patches and the bootstrap.
        scans: Of each class from each host.
        patches: From each scan, at most.

    Raises:
        ValueError: There are fewer than four hosts.
        HostUnfit: Too few of them have a place for lesions.
    """
    if len(hosts) < 4:
        raise ValueError(f"{len(hosts)} hosts cannot be parted; give at least four")
    rows: list[NDArray[np.float64]] = []
    labels: list[int] = []
    owners: list[int] = []
    for owner, host in enumerate(hosts):
        for number in range(scans):
            for positive in (0, 1):
                rng = np.random.default_rng([seed, owner, number, positive])
                draw = intraaxial.draw_intraparenchymal if positive else intraaxial.draw_retouch
                try:
                    edits = draw(host, rng)
                except HostUnfit:
                    continue
                found = _patches(host, edits, rng, patches)
                rows.append(found)
                labels += [positive] * len(found)
                owners += [owner] * len(found)
    if len(set(owners)) < 4 or len(set(labels)) < 2:
        raise HostUnfit("too few of the hosts have a place for lesions")
    x, y, of = np.concatenate(rows), np.array(labels), np.array(owners)
    scores = held_out_scores(x, y, of)
    low, high = host_interval(scores, y, of, seed)
    return TraceTest(
        auc=auc_of(scores, y), low=low, high=high, hosts=len(set(owners)), patches=len(y)
    )


def _patches(
    host: Host, edits: Sequence[Edit], rng: np.random.Generator, most: int
) -> NDArray[np.float64]:
    """(N, F) features of patches of brain near the edits and clear of them."""
    edited = apply_edits(host, edits, rng).hu
    touched = np.zeros(host.hu.shape, np.bool_)
    for edit in edits:
        touched[edit.box] |= edit.occupancy > _CLEAR
    reach = max(1, round(_NEAR_MM / host.pixel_mm[0]))
    margin = PATCH_SIDE // 2 + 1
    slices = np.flatnonzero(touched.any(axis=(1, 2)))
    found: list[NDArray[np.float64]] = []
    for index in slices[(slices > 0) & (slices < len(edited) - 1)]:
        outside = ndimage.distance_transform_edt(~touched[index])
        within = ndimage.distance_transform_edt(host.tissue[index] == Tissue.BRAIN)
        places = np.argwhere((outside > margin) & (outside <= reach) & (within > margin))
        if len(places):
            picks = rng.choice(len(places), min(len(places), 1 + most // len(slices)), False)
            near = smooth_keeping_edges(edited[index - 1 : index + 2], host.noise_sd_hu)
            rest = edited[index - 1 : index + 2] - near
            sd = host.noise_sd_hu
            found += [patch_features(edited, rest, int(index), places[p], sd) for p in picks]
    return np.array(found).reshape(-1, len(FEATURES))


def patch_features(
    hu: NDArray[np.float32],
    rest: NDArray[np.float32],
    index: int,
    place: NDArray[np.int_],
    noise_sd_hu: float,
) -> NDArray[np.float64]:
    """What a patch looks like, by :data:`FEATURES`.

    Args:
        hu: (S, R, C) Hounsfield units.
        rest: (3, R, C) of the slice and its neighbours, what smoothing takes away.
        index: Of the slice.
        place: Row and column of the patch's middle.
        noise_sd_hu: What its densities are counted in.
    """
    half = PATCH_SIDE // 2
    rows = slice(int(place[0]) - half, int(place[0]) + half + 1)
    columns = slice(int(place[1]) - half, int(place[1]) + half + 1)
    patch = hu[index, rows, columns].astype(np.float64)
    patch = (patch - patch.mean()) / noise_sd_hu
    noise = rest[:, rows, columns].astype(np.float64) / noise_sd_hu
    variance = max(float(patch.var()), 1e-6)
    across = noise[1] - 0.5 * (noise[0] + noise[2])
    return np.array(
        [
            np.log(variance),
            np.log(max(float(noise[1].var()), 1e-6)),
            (patch[1:] * patch[:-1]).mean() / variance,
            (patch[:, 1:] * patch[:, :-1]).mean() / variance,
            np.log(max(float(across.var()), 1e-6)),
            float(stats.kurtosis(patch, axis=None)),
            float(np.abs(ndimage.laplace(patch)).mean()),
        ]
    )


def held_out_scores(
    x: NDArray[np.float64], y: NDArray[np.int_], owners: NDArray[np.int_]
) -> NDArray[np.float64]:
    """Each host's patches scored by a logistic regression on the other hosts' (four parts)."""
    scores = np.zeros(len(y))
    part = owners % 4
    for each in range(4):
        train, test = part != each, part == each
        mean, sd = x[train].mean(axis=0), x[train].std(axis=0) + 1e-9
        weights = _fit((x[train] - mean) / sd, y[train])
        scores[test] = (x[test] - mean) / sd @ weights[1:] + weights[0]
    return scores


def _fit(x: NDArray[np.float64], y: NDArray[np.int_]) -> NDArray[np.float64]:
    """Logistic regression with a ridge: the intercept, then the weights."""
    design = np.concatenate([np.ones((len(x), 1)), x], axis=1)
    sign = 2.0 * y - 1.0

    def cost(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margin = sign * (design @ w)
        ridge = np.r_[0.0, w[1:]] * _PENALTY
        slope = -(sign / (1.0 + np.exp(np.clip(margin, -50, 50)))) @ design
        return float(np.logaddexp(0, -margin).sum() + 0.5 * w @ ridge), slope + ridge

    found = optimize.minimize(cost, np.zeros(design.shape[1]), jac=True, method="L-BFGS-B")
    weights: NDArray[np.float64] = found.x
    return weights


def auc_of(scores: NDArray[np.float64], y: NDArray[np.int_]) -> float:
    """The area under the ROC curve; ties count half."""
    ranks = stats.rankdata(scores)
    positive = int(y.sum())
    wins = ranks[y == 1].sum() - positive * (positive + 1) / 2
    return float(wins / (positive * (len(y) - positive)))


def host_interval(
    scores: NDArray[np.float64], y: NDArray[np.int_], owners: NDArray[np.int_], seed: int
) -> tuple[float, float]:
    """The 95 % interval of :func:`auc_of`, from a bootstrap over hosts."""
    rng = np.random.default_rng([seed, 7])
    members = [np.flatnonzero(owners == each) for each in np.unique(owners)]
    aucs = []
    for _ in range(_BOOTSTRAPS):
        drawn = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        if 0 < y[drawn].sum() < len(drawn):
            aucs.append(auc_of(scores[drawn], y[drawn]))
    low, high = np.quantile(aucs, [0.025, 0.975])
    return float(low), float(high)
