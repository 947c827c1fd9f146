"""The assessment as one page of HTML that needs nothing else: styles and figures are inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sadmil_core import RESEARCH_USE_NOTICE, __version__
from sadmil_core.atomic import replacing
from sadmil_core.evaluation import sentences
from sadmil_core.evaluation.figures import pictures
from sadmil_core.evaluation.metrics import MEASURE_BY_KEY, MEASURES
from sadmil_core.evaluation.scorers import MAX_POOLING, MEAN_POOLING
from sadmil_core.evaluation.subgroups import GROUP_MEASURES, SMALL
from sadmil_core.paths import resource_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sadmil_core.evaluation.assessment import Assessment, ModelAssessment
    from sadmil_core.evaluation.bootstrap import Estimate
    from sadmil_core.evaluation.noise import NoiseFlips

TEMPLATE = "evaluation.html.j2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell: a number, its interval beneath, why there is none."""

    text: str
    interval: str = ""
    kind: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of a table; without cells it is a heading."""

    title: str
    cells: tuple[Cell, ...] = ()
    lead: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A table of the page."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[Row, ...]
    footnotes: tuple[str, ...] = ()


def write_html(
    assessment: Assessment,
    path: Path,
    *,
    title: str = "Evaluation",
    noise: Mapping[str, NoiseFlips] | None = None,
) -> None:
    """Writes the page, whole or not at all.

    Raises:
        WriteError: The system refused.
    """
    text = html_text(assessment, title=title, noise=noise)
    with replacing(path) as stream:
        stream.write(text.encode("utf-8", "backslashreplace"))


def html_text(
    assessment: Assessment,
    *,
    title: str = "Evaluation",
    noise: Mapping[str, NoiseFlips] | None = None,
) -> str:
    """The page as text. Names from tables are escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resource_path("report", TEMPLATE).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(
        title=title,
        notice=RESEARCH_USE_NOTICE,
        version=__version__,
        facts=sentences.facts(assessment),
        shown=sentences.shown(assessment),
        tables=[
            *result_grids(assessment),
            *_comparison_grids(assessment),
            *_seed_grids(assessment),
        ],
        pictures=pictures(assessment),
        models=[_signatures(model, noise or {}) for model in assessment.models],
        group_tables=[_group_grid(model) for model in assessment.models],
        small=SMALL,
        how=_how(assessment),
    )


def number_cell(estimate: Estimate | None, *, signed: bool = False) -> Cell:
    """A number with its interval; a dash, and why, where there is none."""
    if estimate is None:
        return Cell(text="-", kind="none", why="has no meaning here")
    if estimate.value is None:
        return Cell(text="-", kind="none", why=estimate.reason)
    text = sentences.number_text(estimate.value)
    apart = signed and sentences.differs(estimate)
    return Cell(
        text=f"{estimate.value:+.4f}" if signed else text,
        interval=sentences.interval_text(estimate, signed=signed),
        kind="apart" if apart else "",
        why=f"n = {estimate.n} {estimate.unit}",
    )


def _scorers(assessment: Assessment) -> list[tuple[str, bool, dict[str, Estimate]]]:
    """Models, then baselines, each with whether it is a model, and its numbers.

    The baselines that see no model are given once. Where models cover other slices of the same
    scans, they are those of the first.
    """
    found = [(model.name, True, model.estimates) for model in assessment.models]
    several = len(assessment.models) > 1
    for at, model in enumerate(assessment.models):
        for name, estimates in model.baseline_estimates.items():
            own = name in (MEAN_POOLING, MAX_POOLING)
            if own or not at:
                title = f"{name} ({model.name})" if own and several else name
                found.append((title, False, estimates))
    return found


def result_grids(assessment: Assessment) -> list[Grid]:
    """The numbers: a row a model and a baseline, a column a metric."""
    scorers = _scorers(assessment)
    grids = []
    for caption, keys in _GRIDS:
        asked = [
            (name, is_model, [numbers.get(key) for key in keys])
            for name, is_model, numbers in scorers
            # Baselines have no attention to speak of.
            if is_model or any(key in numbers for key in keys)
        ]
        used = [at for at in range(len(keys)) if any(_is_known(row[at]) for _, _, row in asked)]
        if not used:
            continue
        rows = tuple(
            Row(title=name, cells=tuple(number_cell(row[at]) for at in used), lead=is_model)
            for name, is_model, row in asked
        )
        head = (_head(keys[at], [row[at] for _, _, row in asked]) for at in used)
        notes: dict[str, dict[str, None]] = {}
        for name, _, row in asked:
            for each in row:
                if each is not None and each.value is None and each.reason:
                    notes.setdefault(each.reason, {})[name] = None
        footnotes = tuple(f"{', '.join(names)}: {reason}." for reason, names in notes.items())
        grids.append(Grid(caption=caption, head=("", *head), rows=rows, footnotes=footnotes))
    return grids


_GRIDS = (
    (
        "Scans: ranking and calibration",
        (
            "scan_auroc",
            "scan_auprc",
            "sensitivity_at_90",
            "specificity_at_90",
            "sensitivity_at_95",
            "specificity_at_95",
            "brier",
            "ece",
        ),
    ),
    (
        "Scans: decisions by the stored rule",
        ("scan_accuracy", "scan_sensitivity", "scan_specificity", "scan_f1"),
    ),
    (
        "Slices: ranking",
        ("within_auroc", "within_auprc", "top1_hit", "top3_hit", "pooled_auroc", "pooled_auprc"),
    ),
    (
        "Slices: decisions by the stored rule",
        ("slice_accuracy", "slice_precision", "slice_recall", "slice_f1"),
    ),
    ("Attention", tuple(measure.key for measure in MEASURES if measure.about == "attention")),
)


def _is_known(estimate: Estimate | None) -> bool:
    return estimate is not None and estimate.value is not None


def _head(key: str, estimates: list[Estimate | None]) -> str:
    """The metric, and on how many it rests where that is the same for all."""
    measure = MEASURE_BY_KEY[key]
    counts = {(each.n, each.unit) for each in estimates if each is not None and _is_known(each)}
    count = ""
    if len(counts) == 1:
        ((n, unit),) = counts
        count = f" ({n} {unit})"
    return f"{measure.title}{', lower is better' if measure.better == 'lower' else ''}{count}"


def _comparison_grids(assessment: Assessment) -> list[Grid]:
    heads: list[tuple[str, dict[str, Estimate]]] = [
        (f"{each.first} minus {each.second}", each.differences) for each in assessment.comparisons
    ]
    heads += [
        (f"{model.name} minus {name}", differences)
        for model in assessment.models
        for name, differences in model.over_baselines.items()
    ]
    heads = [each for each in heads if any(e.value is not None for e in each[1].values())]
    rows = tuple(
        Row(
            title=name,
            cells=tuple(
                number_cell(numbers.get(measure.key), signed=True)
                for measure in (MEASURE_BY_KEY[key] for key in _COMPARED)
            ),
        )
        for name, numbers in heads
    )
    if not rows:
        return []
    return [
        Grid(
            caption="Differences on the same scans and resamples. Coloured: the interval leaves 0 "
            "out. All metrics are in metrics.json.",
            head=("first minus second", *(_full_title(key) for key in _COMPARED)),
            rows=rows,
        )
    ]


_COMPARED = (
    "scan_auroc",
    "scan_f1",
    "brier",
    "within_auroc",
    "within_auprc",
    "top1_hit",
    "slice_f1",
)


def _full_title(key: str) -> str:
    measure = MEASURE_BY_KEY[key]
    return f"{measure.about} {measure.title}"


def _seed_grids(assessment: Assessment) -> list[Grid]:
    return [
        Grid(
            caption=f"{group.name}: {len(group.members)} seeds ({', '.join(group.members)})",
            head=("", "mean over seeds", "standard deviation over seeds"),
            rows=tuple(
                Row(
                    title=_full_title(key),
                    cells=(
                        number_cell(mean),
                        Cell(text=f"{group.spread[key]:.4f}" if key in group.spread else "-"),
                    ),
                )
                for key, mean in group.means.items()
            ),
            footnotes=(
                "The interval is that of sampling patients with these weights; the standard "
                "deviation is that of training. Neither holds the other.",
            ),
        )
        for group in assessment.seed_groups
    ]


def _signatures(model: ModelAssessment, noise: Mapping[str, NoiseFlips]) -> dict[str, Any]:
    flips = noise.get(model.name)
    return {
        "name": model.name,
        "signatures": model.signatures,
        "noise": flips.message if flips else "",
    }


def _group_grid(model: ModelAssessment) -> Grid:
    rows: list[Row] = []
    family = ""
    for each in model.groups:
        group = each.group
        if group.family != family:
            family = group.family
            rows.append(Row(title=family))
        counts = (Cell(text=str(group.positives)), Cell(text=str(group.negatives)))
        numbers = tuple(number_cell(each.estimates[key]) for key in GROUP_MEASURES)
        small = " (small)" if group.is_small else ""
        rows.append(Row(title=f"{group.title}{small}", cells=(*counts, *numbers)))
    return Grid(
        caption=model.name,
        head=("", "positive scans", "negative scans", *map(_full_title, GROUP_MEASURES)),
        rows=tuple(rows),
        footnotes=model.absent_groups,
    )


def _how(assessment: Assessment) -> list[str]:
    found = list(assessment.notes)
    for model in assessment.models:
        found.append(f"{model.name}: {model.scorer.origin}.")
        found += [f"{model.name}: {note}." for note in model.data.notes]
        if model.frozen is not None:
            limits = ", ".join(f"{at} %: {limit:.4f}" for at, limit in model.frozen.items())
            found.append(
                f"{model.name}: thresholds frozen on validation, for specificity {limits}."
            )
        found += [
            f"{baseline.name} beside {model.name}: computed from {baseline.origin}."
            for baseline in model.baselines
        ]
    # Baselines that see no model are computed alike beside each.
    unique = dict.fromkeys(found)
    return [*unique, *sentences.definitions()]
