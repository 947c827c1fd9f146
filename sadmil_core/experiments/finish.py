"""The end of an experiment: choices on validation, one look at the test split, the report."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from sadmil_core.data.featurebags import FeatureBags
from sadmil_core.data.manifest import read_manifest, require_both_classes
from sadmil_core.data.storebags import StoreBags
from sadmil_core.errors import ExperimentError
from sadmil_core.evaluation.scorers import CENTRE
from sadmil_core.experiments.analysis import Analysis, ArmReadings, analyse
from sadmil_core.experiments.arms import ATT_MIL, TRAINED_BASELINES
from sadmil_core.experiments.choice import Choice, choose
from sadmil_core.experiments.plan import judged_scans
from sadmil_core.experiments.sweep import sweep
from sadmil_core.experiments.work import (
    TEST_READINGS,
    TRAIN_READINGS,
    VALIDATION_READINGS,
    TestReading,
    read_back,
)
from sadmil_core.progress import Progress, no_progress
from sadmil_core.training.loop import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sadmil_core.data.scans import ManifestScan
    from sadmil_core.experiments.arms import Arm
    from sadmil_core.experiments.plan import Plan, Run
    from sadmil_core.experiments.work import Outcome

_LISTED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An experiment that is finished.

    Attributes:
        plan: What was run.
        arms: Those that were judged, under the names they are reported by.
        choices: Made on validation.
        analysis: On the test split.
        features: Whether the bags are features; then noise is feature noise.
        ordered: Whether the rows of a bag have an order: not where the config's own graph is
            the bags' edges.
    """

    plan: Plan
    arms: tuple[Arm, ...]
    choices: tuple[Choice, ...]
    analysis: Analysis
    features: bool
    ordered: bool


def require_done(outcomes: Iterable[Outcome]) -> None:
    """Refuses to go on after work that was stopped or failed.

    Raises:
        ExperimentError: Runs failed.
        Stopped: Somebody asked to.
    """
    outcomes = list(outcomes)
    failed = [each for each in outcomes if each.kind == "failed"]
    if failed:
        listed = "; ".join(f"{each.title}: {each.message}" for each in failed[:_LISTED])
        more = f"; and {len(failed) - _LISTED} more" if len(failed) > _LISTED else ""
        raise ExperimentError(
            f"{len(failed)} of {len(outcomes)} runs failed: {listed}{more}",
            remedy="What is finished is kept; the same command tries the others again.",
        )
    if any(each.kind == "stopped" for each in outcomes):
        raise Stopped


def finish(
    plan: Plan,
    *,
    jobs: int = 1,
    threads: int | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Progress = no_progress,
) -> Result:
    """Chooses, reads the test split and judges; trains nothing.

    Args:
        plan: All of its runs must be finished.
        jobs: Processes that read.
        threads: Of each.
        stop: Asked whether to stop.
        progress: Told after each reading.

    Raises:
        ExperimentError: Runs are missing, damaged, or failed to be read.
        Stopped: Asked to; what has been read is kept.
    """
    missing = plan.unfinished
    if missing:
        listed = ", ".join(run.title for run in missing[:_LISTED])
        raise ExperimentError(
            f"{len(missing)} of {len(plan.runs)} runs are not finished ({listed}"
            f"{', ...' if len(missing) > _LISTED else ''}).",
            remedy="Run the command without --merge, or the other shards, to the end.",
        )
    scans = judged_scans(plan)
    require_both_classes(scans, "test")
    patients = {s.scan_id: s.patient_id for s in read_manifest(plan.runs[0].manifest).scans}
    choices = _choices(plan, patients)
    arms = _judged(plan, choices)
    identity = _identity(plan, scans)
    readings = [
        TestReading(run=run, scans=scans, noise=plan.config.noise, identity=identity)
        for _, arm in arms
        for run in plan.of_arm(arm)
    ]
    waiting = [each for each in readings if not each.is_done]
    phase = "reading the test split"
    require_done(
        sweep(waiting, jobs=jobs, threads=threads, stop=stop, progress=progress, phase=phase)
    )
    named = [_readings(name, plan.of_arm(arm)) for name, arm in arms]
    ordered = plan.config.train.objective.graph.edges != "bag"
    analysis = analyse(
        named,
        _pairs(plan, [name for name, _ in arms]),
        patients,
        count=plan.config.resamples,
        ordered=ordered,
    )
    return Result(
        plan=plan,
        arms=tuple(replace(arm, name=name) for name, arm in arms),
        choices=choices,
        analysis=analysis,
        features=_has_features(plan),
        ordered=ordered,
    )


def _has_features(plan: Plan) -> bool:
    model = plan.config.train.model
    return model is not None and not model.reads_images


def _choices(plan: Plan, patients: dict[str, str]) -> tuple[Choice, ...]:
    """One for each name that several arms are candidates of; for `alpha` it only informs."""
    groups: dict[str, list[Arm]] = {}
    for arm in plan.arms:
        name = arm.candidate_of
        if plan.kind == "alpha" and arm.order and len(plan.config.alphas) > 1:
            name = f"The S{arm.order} to take"
        if name:
            groups.setdefault(name, []).append(arm)
    return tuple(
        choose(
            name,
            plan.config.choose_by,
            {
                arm.name: [read_back(run, VALIDATION_READINGS) for run in plan.of_arm(arm)]
                for arm in arms
            },
            patients,
        )
        for name, arms in groups.items()
    )


def _judged(plan: Plan, choices: Sequence[Choice]) -> list[tuple[str, Arm]]:
    """The arms that the test split is read by, and the names they are reported by."""
    chosen = {choice.chosen: choice.name for choice in choices}
    return [
        (chosen[arm.name] if arm.candidate_of else arm.name, arm)
        for arm in plan.arms
        if not arm.candidate_of or arm.name in chosen
    ]


def _pairs(plan: Plan, names: Sequence[str]) -> list[tuple[str, str]]:
    """Each with Att-MIL, S1 with S2, graphs with the first one, all with the baselines."""
    rest = [name for name in names if name not in (ATT_MIL, *TRAINED_BASELINES)]
    found = [(name, ATT_MIL) for name in rest]
    smooth = {order: [n for n in rest if n.startswith(f"S{order}")] for order in (1, 2)}
    if plan.kind in ("order", "ablation", "graph", "alpha"):
        found += [
            (first, second)
            for first in smooth[1]
            for second in smooth[2]
            if first.removeprefix("S1") == second.removeprefix("S2")
            or (len(smooth[1]) == len(smooth[2]) == 1)
        ]
    if plan.kind == "graph":
        for each in smooth.values():
            found += [(other, each[0]) for other in each[1:]]
    found += [(name, base) for base in (CENTRE, *TRAINED_BASELINES) for name in (ATT_MIL, *rest)]
    return found


def _identity(plan: Plan, scans: tuple[ManifestScan, ...]) -> str:
    """Of the test scans, what is known of them, and the noise."""
    if _has_features(plan):
        sha256 = FeatureBags(scans).sha256
    else:
        run = plan.runs[0]
        preprocess = run.open().preprocess
        sha256 = StoreBags(scans, run.base / run.config.data.store, preprocess).sha256
    noise = json.dumps(asdict(plan.config.noise), sort_keys=True)
    return hashlib.sha256(f"{sha256} {noise}".encode()).hexdigest()


def _readings(name: str, runs: Sequence[Run]) -> ArmReadings:
    parts = {
        file: tuple(read_back(run, file) for run in runs)
        for file in (TEST_READINGS, TRAIN_READINGS, VALIDATION_READINGS)
    }
    return ArmReadings(
        name=name,
        seeds=tuple(run.seed for run in runs),
        test=parts[TEST_READINGS],
        train=parts[TRAIN_READINGS],
        validation=parts[VALIDATION_READINGS],
    )
