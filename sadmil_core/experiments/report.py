"""An experiment's numbers as JSON, and its report as one page of HTML."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sadmil_core import RESEARCH_USE_NOTICE, __version__
from sadmil_core.atomic import replacing
from sadmil_core.configs import to_mapping
from sadmil_core.evaluation.document import estimate_document
from sadmil_core.evaluation.report_html import Cell, Grid, Row, number_cell
from sadmil_core.evaluation.sentences import interval_text
from sadmil_core.experiments.analysis import MEASURE_BY_KEY, Difference, Number
from sadmil_core.experiments.arms import ATT_MIL, TRAINED_BASELINES
from sadmil_core.experiments.figures import pictures
from sadmil_core.experiments.hard_cases import HARD_MEASURES
from sadmil_core.experiments.sentences import facts, shown, title_of
from sadmil_core.paths import resource_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sadmil_core.evaluation.figures import Picture
    from sadmil_core.experiments.analysis import ArmResult, Pair
    from sadmil_core.experiments.finish import Result

SCHEMA_VERSION = 1
TEMPLATE = "experiment.html.j2"
TITLES = {
    "alpha": "Experiment: how much smoothness",
    "order": "Experiment: S1, S2 or none",
    "graph": "Experiment: smooth over which graph",
    "ablation": "Experiment: what each part is worth",
    "overhead": "Experiment: what smoothness costs",
}


def write_report(result: Result) -> tuple[Path, Path]:
    """Writes ``KIND.json`` and ``KIND.html`` into the experiment's folder.

    Returns:
        The two.

    Raises:
        WriteError: The system refused.
    """
    kind, folder = result.plan.kind, result.plan.folder
    paths = folder / f"{kind}.json", folder / f"{kind}.html"
    write_json(result_document(result), paths[0])
    page = html_page(
        TITLES[kind],
        facts(result),
        shown(result),
        _grids(result),
        pictures(result),
        _how(result),
    )
    with replacing(paths[1]) as stream:
        stream.write(page.encode("utf-8", "backslashreplace"))
    return paths


def write_json(document: dict[str, Any], path: Path) -> None:
    """Writes a document, whole or not at all.

    Raises:
        WriteError: The system refused.
    """
    text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    with replacing(path) as stream:
        stream.write(text.encode("utf-8", "backslashreplace"))


def head_document(kind: str, config: Any) -> dict[str, Any]:
    """What stands at the top of each experiment's numbers."""
    return {
        "schema_version": SCHEMA_VERSION,
        "software_version": __version__,
        "notice": RESEARCH_USE_NOTICE,
        "experiment": kind,
        "config": to_mapping(config),
    }


def result_document(result: Result) -> dict[str, Any]:
    """All numbers as values JSON can hold; no NaN: null, with the reason beside it."""
    analysis, cohort = result.analysis, result.analysis.cohort
    runs = {arm.name: arm for arm in result.arms}
    return head_document(result.plan.kind, result.plan.config) | {
        "bags": "features" if result.features else "images",
        "test": {
            "scans": len(cohort),
            "positive": int((cohort.scan_label == 1).sum()),
            "negative": int((cohort.scan_label == 0).sum()),
            "with_positive_and_negative_slices": int(cohort.both.sum()),
            "patients": int(cohort.patient.max()) + 1,
        },
        "resamples": analysis.resamples,
        "chosen_on_validation": [
            {"name": c.name, "chosen": c.chosen, "by": c.by, "values": c.values}
            for c in result.choices
        ],
        "not_run": list(result.plan.not_run),
        "arms": [_arm(arm, runs.get(arm.name)) for arm in analysis.arms],
        "differences": [_pair(pair) for pair in analysis.pairs],
        "shown": list(shown(result)),
    }


def _arm(arm: ArmResult, planned: Any) -> dict[str, Any]:
    return {
        "name": arm.name,
        "seeds": list(arm.seeds),
        "alpha": getattr(planned, "alpha", None),
        "order": getattr(planned, "order", None) or None,
        "graph": getattr(planned, "graph", None) or None,
        "metrics": {key: _number(number) for key, number in arm.numbers.items()},
        "signatures": [
            [{"key": s.key, "found": s.found, "message": s.message} for s in each]
            for each in arm.signatures
        ],
    }


def _number(number: Number) -> dict[str, Any]:
    return estimate_document(number.mean) | {
        "by_seed": list(number.by_seed),
        "seed_sd": number.seed_sd,
    }


def _pair(pair: Pair) -> dict[str, Any]:
    return {
        "first": pair.first,
        "second": pair.second,
        "first_minus_second": {
            key: estimate_document(each.sampling)
            | {
                "seed_sd": each.seed_sd,
                "seed_interval": None if each.seed_low is None else [each.seed_low, each.seed_high],
                "pairs_of_seeds": each.pairs,
                "finding": each.finding,
            }
            for key, each in pair.differences.items()
        },
    }


def html_page(
    title: str,
    facts_line: str,
    sentences: Sequence[str],
    grids: Sequence[Grid],
    figures: Sequence[Picture],
    how: Sequence[str],
) -> str:
    """The page as text. Names are escaped."""
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
        facts=facts_line,
        shown=sentences,
        tables=grids,
        pictures=figures,
        how=how,
    )


_GRIDS = (
    (
        "Slices",
        ("within_auroc", "within_auroc_evidence", "within_auprc", "top1_hit", "top3_hit"),
    ),
    ("Slices: where smoothing may hurt", tuple(measure.key for measure in HARD_MEASURES)),
    ("Scans", ("scan_auroc", "scan_auprc", "sensitivity_at_90", "brier", "ece", "scan_f1")),
    ("Slices: decisions by the stored rule", ("slice_f1", "slice_precision", "slice_recall")),
    (
        "Mechanisms: attention",
        (
            "roughness_sa",
            "roughness_f",
            "edge_roughness_sa",
            "edge_roughness_f",
            "total_variation",
            "entropy",
            "attention_mass",
        ),
    ),
    (
        "Mechanisms: decisions and fit",
        ("crossings", "slice_flips", "scan_flips", "gap_loss", "gap_auroc"),
    ),
)
_COMPARED = (
    "within_auroc",
    *(measure.key for measure in HARD_MEASURES),
    "scan_auroc",
    "top1_hit",
    "crossings",
    "slice_flips",
    "gap_loss",
    "roughness_sa",
    "roughness_f",
    "edge_roughness_sa",
    "edge_roughness_f",
    "entropy",
)


def _grids(result: Result) -> list[Grid]:
    grids = []
    for caption, keys in _GRIDS:
        used = [
            key
            for key in keys
            if any(
                key in arm.numbers and arm.numbers[key].mean.value is not None
                for arm in result.analysis.arms
            )
        ]
        rows = tuple(
            Row(
                title=arm.name,
                cells=tuple(_cell(arm.numbers.get(key)) for key in used),
                lead=bool(arm.seeds) and arm.name not in TRAINED_BASELINES,
            )
            for arm in result.analysis.arms
            if any(key in arm.numbers for key in used)
        )
        if used:
            head = ("", *(_title(key, result) for key in used))
            grids.append(Grid(caption=caption, head=head, rows=rows))
    return [*grids, _differences(result)]


def _title(key: str, result: Result) -> str:
    lower = ", lower is better" if MEASURE_BY_KEY[key].better == "lower" else ""
    return f"{title_of(key, features=result.features)}{lower}"


def _cell(number: Number | None) -> Cell:
    if number is None or number.mean.value is None:
        return number_cell(None if number is None else number.mean)
    cell = number_cell(number.mean)
    sd = number.seed_sd
    spread = "" if sd is None else f" seed SD {sd:.4f}"
    return Cell(text=cell.text, interval=f"{cell.interval}{spread}", why=cell.why)


def _differences(result: Result) -> Grid:
    keys = [
        key
        for key in _COMPARED
        if any(
            key in pair.differences and pair.differences[key].sampling.value is not None
            for pair in result.analysis.pairs
        )
    ]
    return Grid(
        caption="Differences, first minus second: in brackets the interval of resampled patients, "
        "then the t interval of the seeds. Coloured: shown, both leave 0 out.",
        head=("", *(_title(key, result) for key in keys)),
        rows=tuple(
            Row(
                title=f"{pair.first} minus {pair.second}",
                cells=tuple(_difference(pair.differences.get(key)) for key in keys),
                lead=pair.second == ATT_MIL,
            )
            for pair in result.analysis.pairs
        ),
    )


def _difference(difference: Difference | None) -> Cell:
    if difference is None or difference.sampling.value is None:
        return number_cell(None if difference is None else difference.sampling)
    seeds = (
        ""
        if difference.seed_low is None
        else f" seeds [{difference.seed_low:+.3f}, {difference.seed_high:+.3f}]"
    )
    return Cell(
        text=f"{difference.sampling.value:+.4f}",
        interval=f"{interval_text(difference.sampling, signed=True)}{seeds}",
        kind="apart" if difference.finding in ("higher", "lower") else "",
        why=f"n = {difference.sampling.n} {difference.sampling.unit}, {difference.pairs} pairs",
    )


def _how(result: Result) -> list[str]:
    noise = result.plan.config.noise
    added = (
        f"each feature by {noise.feature_share:g} of its standard deviation over the test instances"
        if result.features
        else f"each pixel by {noise.sd_hu:g} HU"
    )
    return [
        *result.plan.warnings,
        "A number is the mean over the seeds; its interval resamples patients (95 %, percentiles), "
        "its seed SD is the standard deviation over the seeds. Neither holds the other.",
        "Seeds are compared in pairs: the same seed means the same split, order and first weights "
        "wherever the networks have the same shape.",
        "Slices are judged by attention where a network has it, else by the probability of its "
        "instance head, its evidence, or its share of the answer.",
        "All-negative and the centre rule see no image; mean and max pooling were trained like the "
        "others, each with every seed.",
        f"Flips: decisions that change when Gaussian noise disturbs {added}; {noise.repeats} "
        "repeats, the same noise for all networks.",
        "Gap: cross-entropy of the logits as they are, on validation minus on the training scans "
        "without augmentation; patients of both are resampled apart.",
        "Roughness is the mean squared difference of neighbours, of S·a and of f."
        if result.ordered
        else "The rows of these bags have no order (the config's graph is the bags' own edges): "
        "roughness is over their edges, and nothing is said of neighbouring rows.",
    ]
