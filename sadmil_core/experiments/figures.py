"""The report's figures: each arm with its seeds, and metrics along alpha."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sadmil_core.evaluation.figures import COLOURS, DASHES, GREY, Picture, svg_figure
from sadmil_core.evaluation.scorers import CENTRE
from sadmil_core.experiments.arms import ATT_MIL
from sadmil_core.experiments.sentences import HEADLINES, title_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

    from sadmil_core.experiments.analysis import Number
    from sadmil_core.experiments.finish import Result


def pictures(result: Result) -> tuple[Picture, ...]:
    """All figures that the numbers allow."""
    found = [_arms(result)]
    if result.plan.kind == "alpha":
        found.append(_alphas(result))
    return tuple(found)


def _known(result: Result, key: str) -> list[tuple[str, Number]]:
    return [
        (arm.name, arm.numbers[key])
        for arm in result.analysis.arms
        if key in arm.numbers and arm.numbers[key].mean.value is not None
    ]


def _arms(result: Result) -> Picture:
    """Each arm's headline: mean and interval, and each seed as a point."""
    rows = max(len(_known(result, key)) for key in HEADLINES)
    with svg_figure(9.0, 0.9 + 0.32 * rows) as (figure, svg):
        for ax, key in zip(figure.subplots(1, 2), HEADLINES, strict=True):
            _forest(ax, _known(result, key), key)
    return Picture(
        key="arms",
        svg=svg[0],
        caption="Mean over seeds with the 95 % interval of resampled patients (line), and each "
        "seed (points): the spread of the points is that of training.",
    )


def _forest(ax: Axes, numbers: list[tuple[str, Number]], key: str) -> None:
    for at, (name, number) in enumerate(reversed(numbers)):
        blind = len(number.by_seed) < 2 and name == CENTRE
        mean = number.mean
        if mean.low is not None and mean.high is not None:
            ax.plot([mean.low, mean.high], [at, at], color=GREY, lw=1.4)
        ax.plot(mean.value or 0.0, at, "D" if blind else "s", color=COLOURS[0], ms=5, zorder=3)
        offsets = [at - 0.22] * len(number.by_seed)
        ax.plot(number.by_seed, offsets, "o", color=COLOURS[1], ms=2.5, alpha=0.8)
    ax.set_yticks(range(len(numbers)), [name for name, _ in reversed(numbers)])
    ax.set_ylim(-0.6, len(numbers) - 0.4)
    ax.set_title(title_of(key))
    ax.axvline(0.5, color=GREY, lw=0.6, ls=":")


def _alphas(result: Result) -> Picture:
    """The headlines along alpha, a line for S1 and for S2."""
    with svg_figure(9.0, 3.2) as (figure, svg):
        for ax, key in zip(figure.subplots(1, 2), HEADLINES, strict=True):
            for number, order in enumerate(result.plan.config.orders):
                _ladder(ax, list(_along(result, order, key)), order, number)
            centre = result.analysis.arm(CENTRE).numbers[key].mean.value
            if centre is not None:
                ax.axhline(centre, color=GREY, lw=0.8, ls=":", label=CENTRE)
            ax.set_title(title_of(key))
            ax.set_xlabel("alpha")
            ax.legend()
    return Picture(
        key="alpha",
        svg=svg[0],
        caption="Means over seeds along alpha (0 is Att-MIL), bars: 95 % intervals of resampled "
        "patients; points: each seed.",
    )


def _along(result: Result, order: int, key: str) -> Iterator[tuple[float, Number]]:
    for arm in sorted(result.arms, key=lambda arm: arm.alpha):
        number = result.analysis.arm(arm.name).numbers[key]
        if (arm.name == ATT_MIL or arm.order == order) and number.mean.value is not None:
            yield arm.alpha, number


def _ladder(ax: Axes, ladder: list[tuple[float, Number]], order: int, place: int) -> None:
    colour = COLOURS[place]
    means = [number.mean for _, number in ladder]
    alphas = [alpha for alpha, _ in ladder]
    ax.plot(alphas, [m.value or 0.0 for m in means], DASHES[place], color=colour, label=f"S{order}")
    for alpha, mean in zip(alphas, means, strict=True):
        if mean.low is not None and mean.high is not None:
            ax.plot([alpha, alpha], [mean.low, mean.high], color=colour, lw=1, alpha=0.6)
    for alpha, number in ladder:
        ax.plot([alpha] * len(number.by_seed), number.by_seed, ".", color=colour, ms=4, alpha=0.6)
