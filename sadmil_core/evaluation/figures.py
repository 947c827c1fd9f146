"""The report's figures, as SVG that stands inside a page and prints.

Colours are those of Okabe and Ito, told apart by colour-blind readers; lines differ in their
dashes too, so that a black-and-white print can be read.
"""

from __future__ import annotations

import io
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sadmil_core.evaluation.chosen import choose_scans
from sadmil_core.evaluation.ranking import Ranking
from sadmil_core.evaluation.scorers import MAX_POOLING, MEAN_POOLING
from sadmil_core.evaluation.shape import relative_attention, spectrum
from sadmil_core.result import positive_runs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from sadmil_core.evaluation.assessment import Assessment, ModelAssessment
    from sadmil_core.evaluation.chosen import ChosenScan
    from sadmil_core.evaluation.scorers import Cohort, Scorer

    Floats = NDArray[np.float64]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DASHES = ("-", "--", "-.", ":")
GREY = "#6b6b6b"
_BLEED = "#f3d9cc"
_SPECTRUM_BINS = 12
_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    # Text stays text: it can be searched, and the page stays small.
    "svg.fonttype": "none",
    # The same numbers give the same bytes.
    "svg.hashsalt": "sadmil",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A figure.

    Attributes:
        key: In file names and anchors.
        svg: The picture.
        caption: What it shows, and how.
    """

    key: str
    svg: str
    caption: str


def pictures(assessment: Assessment) -> tuple[Picture, ...]:
    """All figures of an assessment; those that have nothing to show are left out."""
    found = [_curves(assessment), _reliability(assessment), _spectrum(assessment)]
    found += [_attention(model) for model in assessment.models]
    return tuple(each for each in found if each is not None)


@contextmanager
def svg_figure(width: float, height: float) -> Iterator[tuple[Figure, list[str]]]:
    """A figure, drawn without pyplot, hence without a display; its SVG when the block ends."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as MatplotlibFigure

    svg: list[str] = []
    with matplotlib.rc_context(_STYLE):
        figure = MatplotlibFigure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure, svg
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    svg.append(text[text.index("<svg") :])


def _line(at: int) -> dict[str, Any]:
    return {"color": COLOURS[at % len(COLOURS)], "linestyle": DASHES[at % len(DASHES)]}


def _curves(assessment: Assessment) -> Picture | None:
    cohort = assessment.cohort
    known = ~np.isnan(cohort.scan_label)
    labels = cohort.scan_label[known] == 1
    if labels.all() or not labels.any():
        return None
    with svg_figure(7.6, 3.7) as (figure, svg):
        roc, pr = figure.subplots(1, 2)
        roc.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, label="chance")
        pr.axhline(labels.mean(), color=GREY, linewidth=0.8, label="chance (prevalence)")
        for at, model in enumerate(assessment.models):
            _draw_curves(roc, pr, model.scorer, known, cohort, model.name, _line(at))
        if len(assessment.models) == 1:
            for at, scorer in enumerate(assessment.models[0].baselines, start=1):
                if scorer.scan_score is not None and scorer.name in (MEAN_POOLING, MAX_POOLING):
                    style = _line(at) | {"linewidth": 1.0}
                    _draw_curves(roc, pr, scorer, known, cohort, scorer.name, style)
        roc.set(xlabel="1 - specificity", ylabel="sensitivity", title="ROC of scans")
        pr.set(xlabel="recall", ylabel="precision", title="Precision-recall of scans")
        for axes in (roc, pr):
            axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.03))
            axes.set_aspect("equal")
        roc.legend(loc="lower right")
        pr.legend(loc="lower left")
    return Picture(
        key="curves",
        svg=svg[0],
        caption=f"Scans: {int(labels.sum())} positive, {int((~labels).sum())} negative. Each curve "
        "steps at the distinct probabilities; a model with hard outputs has a single corner.",
    )


def _draw_curves(
    roc: Axes,
    pr: Axes,
    scorer: Scorer,
    known: NDArray[np.bool_],
    cohort: Cohort,
    name: str,
    style: dict[str, Any],
) -> None:
    if scorer.scan_score is None:
        return
    labels = cohort.scan_label[known] == 1
    ranking = Ranking(scorer.scan_score[known], labels)
    positive, negative = (np.cumsum(each[0]) for each in ranking.counts(np.ones((1, len(labels)))))
    sensitivity = np.r_[0, positive / positive[-1]]
    roc.plot(np.r_[0, negative / negative[-1]], sensitivity, label=name, **style)
    precision = positive / (positive + negative)
    pr.plot(sensitivity, np.r_[precision[0], precision], drawstyle="steps-pre", label=name, **style)


def _reliability(assessment: Assessment) -> Picture | None:
    models = [model for model in assessment.models if model.reliability]
    if not models:
        return None
    with svg_figure(7.6, 3.5) as (figure, svg):
        curve, histogram = figure.subplots(1, 2, width_ratios=(1, 1.1))
        curve.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, label="calibrated")
        offset = 0.008
        for at, model in enumerate(models):
            bins, style = model.reliability, _line(at) | {"linewidth": 1.0}
            x = np.array([each.predicted for each in bins]) + offset * (at - (len(models) - 1) / 2)
            y = np.array([each.observed for each in bins])
            low = y - [each.observed_low for each in bins]
            high = np.array([each.observed_high for each in bins]) - y
            curve.errorbar(
                x,
                y,
                (low, high),
                marker="o",
                markersize=3.5,
                elinewidth=0.7,
                label=model.name,
                **style,
            )
            edges = np.linspace(0, 1, 21)
            chance = [scan.scan_probability for scan in model.data.predictions]
            histogram.stairs(np.histogram(chance, edges)[0], edges, label=model.name, **style)
        curve.set(
            xlabel="predicted probability",
            ylabel="share of positive scans",
            title="Reliability",
            xlim=(-0.02, 1.02),
            ylim=(-0.02, 1.02),
        )
        curve.set_aspect("equal")
        histogram.legend(loc="upper center")
        histogram.set(
            xlabel="predicted probability", ylabel="scans", title="Distribution", xlim=(-0.02, 1.02)
        )
    return Picture(
        key="reliability",
        svg=svg[0],
        caption="Mean predicted probability against the share of positive scans, in ten equally "
        "wide bins; bars are 95 % Wilson intervals. Right: how the probabilities are distributed.",
    )


def _spectrum(assessment: Assessment) -> Picture | None:
    curves = [(model, _mean_spectra(model)) for model in assessment.models]
    shown = [(model, found) for model, found in curves if found is not None]
    if not shown:
        return None
    # The highest bin ends at alternation from slice to slice, half a cycle each.
    frequency = (np.arange(_SPECTRUM_BINS) + 0.5) / (2 * _SPECTRUM_BINS)
    with svg_figure(7.6, 3.3) as (figure, svg):
        axes = figure.subplots()
        for at, (model, (power, white)) in enumerate(shown):
            style = _line(at)
            axes.semilogy(frequency, power, label=model.name, marker="o", markersize=3, **style)
            axes.axhline(
                white,
                color=style["color"],
                linewidth=0.9,
                linestyle=(0, (1, 2)),
                label="slices shuffled" if not at else None,
            )
        axes.set(
            xlabel="frequency along the scan (cycles a slice)",
            ylabel="mean power of S·a",
            title="Smoothness spectrum",
        )
        axes.yaxis.set_major_formatter("{x:g}")
        axes.legend(loc="upper right")
    return Picture(
        key="spectrum",
        svg=svg[0],
        caption="Mean power of the orthonormal DCT-II of S·a by frequency, its mean left out. "
        "Smooth attention falls to the right; the dotted lines are what the same values have on "
        "average in shuffled order, where all frequencies are alike.",
    )


def _mean_spectra(model: ModelAssessment) -> tuple[Floats, float] | None:
    """The mean spectrum of the scans, and the level of the same values shuffled."""
    relative = [
        values
        for scan in model.data.predictions
        if scan.attention is not None
        and len(scan) > _SPECTRUM_BINS
        and (values := relative_attention(scan.attention)) is not None
    ]
    if not relative:
        return None
    rows = np.array([spectrum(each, _SPECTRUM_BINS) for each in relative])
    white = float(np.mean([np.var(each, ddof=1) for each in relative]))
    return np.nanmean(rows, axis=0), white


def _attention(model: ModelAssessment) -> Picture | None:
    chosen = [
        each
        for each in choose_scans(model)
        if model.data.predictions[each.index].attention is not None
    ]
    if not chosen:
        return None
    rows = (len(chosen) + 1) // 2
    with svg_figure(7.6, 2.2 * rows + 0.2) as (figure, svg):
        grid = figure.subplots(rows, 2, squeeze=False).ravel()
        for axes, each in zip(grid, chosen, strict=False):
            _draw_attention(axes, model, each)
        for axes in grid[len(chosen) :]:
            axes.set_visible(False)
    return Picture(
        key=f"attention-{model.name}",
        svg=svg[0],
        caption=f"{model.name}: attention in equal shares (S·a) over the slices, foot to head. "
        "Shaded: slices labelled positive; dots: called positive by the stored rule. Shown are, by "
        "AUROC of the slices within the scan, the best, the median and the worst ranked positive "
        "scan, and the negative scan of the highest probability.",
    )


def _draw_attention(axes: Axes, model: ModelAssessment, chosen: ChosenScan) -> None:
    scan, truth = model.data.predictions[chosen.index], model.data.truths[chosen.index]
    assert scan.attention is not None  # chosen among those that have it
    relative = relative_attention(scan.attention)
    values = scan.attention if relative is None else relative
    x = np.arange(1, len(scan) + 1)
    for first, last in positive_runs(truth.slice_labels == 1):
        axes.axvspan(first + 0.5, last + 1.5, color=_BLEED, linewidth=0)
    axes.plot(x, values, color=COLOURS[0], linewidth=1.2)
    called = scan.slice_positive
    axes.plot(x[called], values[called], "o", color=COLOURS[0], markersize=3)
    if scan.rule.score == "attention" and scan.attention.sum() > 0:
        limit = scan.rule.threshold(len(scan)) * len(scan) / scan.attention.sum()
        axes.axhline(limit, color=GREY, linewidth=0.8, linestyle="--")
    axes.set_title(f"{chosen.why}\np = {scan.scan_probability:.3f}", fontsize=8)
    axes.set(xlim=(0.5, len(scan) + 0.5), ylim=(0, None), xlabel="slice", ylabel="S·a")
