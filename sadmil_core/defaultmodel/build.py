"""The default model from its hosts: folds that report, choices within them, and the model."""

from __future__ import annotations

import json
import math
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sadmil_core.atomic import make_folder, replacing
from sadmil_core.checkpoint import CheckpointHeader
from sadmil_core.configs import to_mapping
from sadmil_core.data.featurebags import FeatureBags
from sadmil_core.data.features import write_features
from sadmil_core.data.manifest import read_manifest
from sadmil_core.defaultmodel.agreement import FoldModel, agreement
from sadmil_core.defaultmodel.card import default_card
from sadmil_core.defaultmodel.cohort import PLAIN, STORE, read_hosts, split_hosts, write_cohort
from sadmil_core.defaultmodel.pretrain import PretrainConfig, pretrain
from sadmil_core.defaultmodel.scores import ScanScores, measured, scan_auroc, score, slice_auroc
from sadmil_core.defaultmodel.slicepool import SlicePool, open_slice_pool
from sadmil_core.model.assemble import assembled, over_features
from sadmil_core.model.trained import TrainedModel, load_checkpoint, save_checkpoint
from sadmil_core.progress import Progress, no_progress
from sadmil_core.result import DecisionRule
from sadmil_core.synth.pool import run_jobs, stopped
from sadmil_core.training.calibrate import even_threshold, fit_temperature, youden_threshold
from sadmil_core.training.fit import MODEL_FILE, Splits, fit, held
from sadmil_core.training.loop import Stopped
from sadmil_core.training.order import seed_for
from sadmil_core.training.ranks import joined_ranks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from sadmil_core.checkpoint import Provenance
    from sadmil_core.data.scans import ManifestScan
    from sadmil_core.defaultmodel.recipe import Candidate, Recipe
    from sadmil_core.model.sadmil import SaDmil
    from sadmil_core.training.config import TrainingConfig
    from sadmil_core.training.ranks import Ranks

REPORT_FILE = "report.json"
_POOL = "pool"
_START = "start.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one network learns from, stops by, and is judged on.

    Attributes:
        name: Its folder.
        train: Scans.
        validation: Scans of other hosts.
        test: Scans of yet others; none for the final network.
        encoder: Scans that its encoder learns from.
    """

    name: str
    train: tuple[ManifestScan, ...]
    validation: tuple[ManifestScan, ...]
    test: tuple[ManifestScan, ...]
    encoder: tuple[ManifestScan, ...]


@dataclass(slots=True, kw_only=True)
class Build:
    """A default model in the making; every step goes on where it was stopped.

    Attributes:
        folder: Of all that is made.
        recipe: How.
        ranks: This process.
        provenance: Of the model, but for its description and source.
        stop: Asked whether to stop.
        progress: Told how far each step is.
        say: Told what is done, a line at a time.
        watched: Folders of unlabelled scans on whose order other models are asked, too.
        watching: These others.
        processes: Networks that are trained at a time, each on one thread.
    """

    folder: Path
    recipe: Recipe
    ranks: Ranks
    provenance: Provenance
    stop: Callable[[], bool] = lambda: False
    progress: Progress = no_progress
    say: Callable[[str], None] = lambda _line: None
    watched: tuple[Path, ...] = ()
    watching: tuple[TrainedModel, ...] = ()
    processes: int = 1

    def run(self, hosts: Iterable[Path]) -> Path:
        """Makes the model.

        Args:
            hosts: Folders of head CT without hemorrhage; none for phantoms alone.

        Returns:
            The checkpoint; ``report.json`` beside it holds the figures.

        Raises:
            InputError: No series can be a host.
            TrainingError: Another process works in the folder.
            Stopped: Asked to; the same call goes on.
            WriteError: The disk is full, or the like.
        """
        make_folder(self.folder)
        with held(self.folder):
            return self._run(list(hosts))

    def _run(self, hosts: list[Path]) -> Path:
        scans, about = self._cohort(hosts)
        final, folds = _parts(scans, self.recipe)
        pool = open_slice_pool(scans, self.folder / STORE, self.folder / _POOL, self._stoppable)
        if self.processes > 1:
            self._ahead([final, *folds], scans)
        # The final encoder first: what it is made like is not chosen.
        encoder = self._encoder(final, pool, self.recipe.final_pretraining)
        judged = [self._fold(part, pool) for part in folds]
        chosen = _choose(judged)
        self.say(f"chosen: {chosen}")
        about["agreement"] = self._agreement(folds, pool, chosen, about["hosts"])
        return self._finish(final, encoder, judged, chosen, about)

    def _stoppable(self, done: int, total: int, phase: str) -> None:
        """Progress of what is saved after every step, and can stop there."""
        if self.stop():
            raise Stopped
        self.progress(done, total, phase)

    def _ahead(self, parts: Sequence[Part], scans: Sequence[ManifestScan]) -> None:
        """Trains all there is to train in processes; whoever asks for it then finds it done."""

        def tell() -> None:
            if self.stop():
                raise Stopped

        jobs = {
            part.name: (self.folder, self.recipe, self.provenance, part, tuple(scans))
            for part in parts
        }
        for name, seconds in run_jobs(_trained_ahead, jobs, self.processes, tell):
            self.say(f"{name}: trained ({seconds:.0f} s)")

    def _cohort(self, folders: list[Path]) -> tuple[list[ManifestScan], dict[str, Any]]:
        start = time.perf_counter()
        about: dict[str, Any] = {"hosts": [], "hosts_sha256": "", "refused": {}}
        by_name = {}
        if folders:
            found = read_hosts(folders, self.recipe.preprocess.grid, self._stoppable)
            by_name = dict(found.by_name)
            about = {
                "hosts": sorted(by_name),
                "hosts_sha256": found.sha256,
                "refused": dict(found.refused),
            }
            for name, reason in found.refused.items():
                self.say(f"no host: {name}: {reason}")
        scans = write_cohort(by_name, self.folder, self.recipe, self._stoppable)
        about["scans"] = len(scans)
        about["positive_scans"] = sum(bool(scan.label) for scan in scans)
        self.say(f"{len(by_name)} hosts, {len(scans)} scans ({time.perf_counter() - start:.0f} s)")
        return scans, about

    def _encoder(self, part: Part, pool: SlicePool, config: PretrainConfig) -> TrainedModel:
        start = time.perf_counter()
        recipe = self.recipe
        header = CheckpointHeader(
            name=part.name,
            model=recipe.encoder_model,
            preprocess=recipe.preprocess,
            rule=DecisionRule(),
            supervision="mask",
        )
        encoder = pretrain(
            header,
            config,
            part.encoder,
            pool,
            recipe.augment,
            self.folder / part.name / "encoder",
            seed=recipe.seed,
            stop=self.stop,
            progress=self.progress,
        )
        self.say(f"{part.name}: encoder ({time.perf_counter() - start:.0f} s)")
        return encoder

    def _features(self, part: Part, encoder: TrainedModel) -> dict[str, FeatureBags]:
        folder = self.folder / part.name
        scans = [*part.train, *part.validation, *part.test]
        report = write_features(
            scans, self.folder / STORE, encoder, folder, stop=self.stop, progress=self.progress
        )
        by_id = {scan.scan_id: scan for scan in read_manifest(report.manifest).scans}
        named = {"train": part.train, "validation": part.validation, "test": part.test}
        return {
            name: FeatureBags([by_id[scan.scan_id] for scan in of])
            for name, of in named.items()
            if of
        }

    def _head(
        self,
        part: Part,
        encoder: TrainedModel,
        bags: dict[str, FeatureBags],
        candidate: Candidate,
        seed: int,
    ) -> TrainedModel:
        folder = self.folder / part.name / "heads" / f"{candidate.name}-{seed}"
        start = folder / _START
        if not start.is_file():
            make_folder(folder)
            model = self.recipe.head_model(candidate)
            header = replace(encoder.header, model=model, model_sha256="")
            save_checkpoint(start, over_features(encoder, model, seed_for("weights", seed)), header)
        splits = Splits(
            train=bags["train"], validation=bags["validation"], sha256=bags["train"].sha256
        )
        self._fit(self.recipe.head_run(candidate, seed), splits, folder, start)
        return load_checkpoint(folder / MODEL_FILE)

    def _fit(
        self, config: TrainingConfig, splits: Splits, folder: Path, start: Path
    ) -> CheckpointHeader:
        return fit(
            config,
            splits,
            folder,
            self.ranks,
            preprocess=self.recipe.preprocess,
            start_path=start,
            stop=self.stop,
            progress=self.progress,
        )

    def _fold(self, part: Part, pool: SlicePool) -> dict[str, list[dict[str, list[ScanScores]]]]:
        """By candidate, for each seed the scores of the validation and the test scans."""
        start = time.perf_counter()
        encoder = self._encoder(part, pool, self.recipe.fold_pretraining)
        bags = self._features(part, encoder)
        read: dict[str, list[dict[str, list[ScanScores]]]] = {}
        for candidate in self.recipe.candidates:
            read[candidate.name] = [
                _read(self._head(part, encoder, bags, candidate, seed).module, bags, part)
                for seed in range(self.recipe.seeds)
            ]
        self.say(f"{part.name}: {time.perf_counter() - start:.0f} s")
        return read

    def _agreement(
        self, folds: Sequence[Part], pool: SlicePool, chosen: str, hosts: Sequence[str]
    ) -> dict[str, Any]:
        """Of the folds' models with others; reported, and nothing is chosen by it."""
        if not self.watched or not self.watching:
            return {}
        candidate = next(c for c in self.recipe.candidates if c.name == chosen)
        models = []
        for part in folds:
            encoder = self._encoder(part, pool, self.recipe.fold_pretraining)
            head = self._head(part, encoder, self._features(part, encoder), candidate, 0)
            module = assembled(encoder, head)
            header = replace(encoder.header, model=module.config)
            kept_from = frozenset(scan.patient_id for scan in part.test)
            models.append(
                FoldModel(model=TrainedModel(module=module, header=header), kept_from=kept_from)
            )
        return agreement(models, hosts, self.watched, self.watching, self.progress)

    def _finish(
        self,
        final: Part,
        encoder: TrainedModel,
        judged: Sequence[dict[str, list[dict[str, list[ScanScores]]]]],
        chosen: str,
        about: dict[str, Any],
    ) -> Path:
        bags = self._features(final, encoder)
        candidate = next(c for c in self.recipe.candidates if c.name == chosen)
        heads = [
            self._head(final, encoder, bags, candidate, seed) for seed in range(self.recipe.seeds)
        ]
        losses = [_loss(score(h.module, bags["validation"], final.validation)) for h in heads]
        head = heads[int(np.argmin(losses))]
        module = assembled(encoder, head)
        labels = "scan and slice labels" if candidate.slices else "scan labels"
        test = [each for fold in judged for seed in fold[chosen] for each in seed["test"]]
        report = _report(judged, chosen) | about | {"recipe": to_mapping(self.recipe)}
        header = replace(
            encoder.header,
            name="default",
            model=module.config,
            model_sha256="",
            rule=_rule(test),
            provenance=replace(
                self.provenance,
                description="SA-DMIL, its encoder pre-trained on masks of synthetic hemorrhage; "
                f"heads ({chosen}) on {labels}.",
                source=f"sadmil train-default; hosts {about['hosts_sha256'][:12] or 'none'}",
                phantoms_only=not about["hosts"],
            ),
        )
        path = self.folder / "default.safetensors"
        header = save_checkpoint(path, module, header)
        report["model_sha256"] = header.model_sha256
        with replacing(self.folder / REPORT_FILE) as stream:
            stream.write(f"{json.dumps(report, indent=1)}\n".encode())
        with replacing(path.with_suffix(".md")) as stream:
            stream.write(default_card(header, report).encode())
        return path


def _trained_ahead(
    folder: Path,
    recipe: Recipe,
    provenance: Provenance,
    part: Part,
    scans: tuple[ManifestScan, ...],
) -> float:
    """Trains what belongs to a part, in a process of its own; the seconds that it took."""
    start = time.perf_counter()
    torch.set_num_threads(1)
    with joined_ranks() as ranks:
        build = Build(
            folder=folder, recipe=recipe, ranks=ranks, provenance=provenance, stop=stopped
        )
        pool = open_slice_pool(scans, folder / STORE, folder / _POOL)
        with suppress(Stopped):  # then the run knows
            if part.test:
                build._fold(part, pool)
            else:
                build._encoder(part, pool, recipe.final_pretraining)
    return time.perf_counter() - start


def _parts(scans: Sequence[ManifestScan], recipe: Recipe) -> tuple[Part, list[Part]]:
    hosts = sorted({scan.patient_id for scan in scans if scan.site != "phantom"})
    phantoms = tuple(scan for scan in scans if scan.site == "phantom")
    by_phantom = not hosts
    if by_phantom:
        hosts = sorted({scan.patient_id for scan in phantoms})
        phantoms = ()
    folds = split_hosts(hosts, recipe.folds, recipe.seed)
    final = _part("final", scans, (), folds[0][: recipe.validation_hosts], phantoms)
    parts = []
    for number, test in enumerate(folds):
        beside = folds[(number + 1) % len(folds)]
        count = max(1, len(beside) // 2) if by_phantom else recipe.validation_hosts
        parts.append(_part(f"fold-{number}", scans, test, beside[:count], phantoms))
    if by_phantom:
        final = _part("final", scans, (), folds[0], ())
    # Its validation hosts only say when a head has learnt enough: its encoder may know them.
    return replace(final, encoder=(*final.train, *final.validation)), parts


def _part(
    name: str,
    scans: Sequence[ManifestScan],
    test: Sequence[str],
    validation: Sequence[str],
    phantoms: tuple[ManifestScan, ...],
) -> Part:
    added = {scan.scan_id for scan in phantoms}
    own = [scan for scan in scans if scan.scan_id not in added]
    kept = [scan for scan in own if scan.site != PLAIN]
    held = {*test, *validation}
    train = (*(scan for scan in kept if scan.patient_id not in held), *phantoms)
    return Part(
        name=name,
        train=train,
        encoder=train,
        validation=tuple(scan for scan in kept if scan.patient_id in validation),
        test=tuple(scan for scan in own if scan.patient_id in test),
    )


def _read(module: SaDmil, bags: dict[str, FeatureBags], part: Part) -> dict[str, list[ScanScores]]:
    return {
        "validation": score(module, bags["validation"], part.validation),
        "test": score(module, bags["test"], part.test),
    }


def _choose(judged: Sequence[dict[str, list[dict[str, list[ScanScores]]]]]) -> str:
    """The candidate with the best mean of both AUROCs over the folds' validation hosts.

    Mean pooling cannot win: its slices have no ranking, and so an AUROC of a half.
    """
    merit = {}
    for name in judged[0]:
        values = [
            (
                scan_auroc(seed["validation"])
                + slice_auroc(seed["validation"], lambda s: s.attention)
            )
            / 2
            for fold in judged
            for seed in fold[name]
        ]
        merit[name] = float(np.mean(values))
    return max(merit, key=lambda name: -math.inf if math.isnan(merit[name]) else merit[name])


def _report(
    judged: Sequence[dict[str, list[dict[str, list[ScanScores]]]]], chosen: str
) -> dict[str, Any]:
    """The outer folds' figures of each candidate, and of the plain hosts."""
    figures: dict[str, Any] = {}
    for name in judged[0]:
        parts = [_edited(seed["test"]) for fold in judged for seed in fold[name]]
        figures[name] = measured(parts)
        by_seed = [
            np.mean([scan_auroc(_edited(fold[name][seed]["test"])) for fold in judged])
            for seed in range(len(judged[0][name]))
        ]
        figures[name]["scan_auroc"]["seed_sd"] = float(np.std(by_seed))
    plain = {
        scan.host: scan.logit
        for fold in judged
        for scan in fold[chosen][0]["test"]
        if scan.scan_id.endswith(f"/{PLAIN}")
    }
    nested = [_edited(seed["test"]) for fold in judged for seed in fold[_choose([fold])]]
    return {
        "chosen": chosen,
        "outer": figures,
        "nested": measured(nested),
        "chosen_in_each_fold": [_choose([fold]) for fold in judged],
        "plain_hosts_logits": plain,
    }


def _edited(scans: Iterable[ScanScores]) -> list[ScanScores]:
    return [scan for scan in scans if not scan.scan_id.endswith(f"/{PLAIN}")]


def _rule(scans: Sequence[ScanScores]) -> DecisionRule:
    """Temperature and thresholds, on scans that the networks which read them have not met."""
    logits = np.array([scan.logit for scan in scans])
    labels = np.array([scan.label for scan in scans])
    temperature = fit_temperature(logits, labels)
    probability = 1 / (1 + np.exp(-np.clip(logits / temperature, -700, 700)))
    positive = [scan for scan in scans if scan.label]
    share = np.concatenate([scan.attention * len(scan.slices) for scan in positive])
    bleeds = np.concatenate([scan.slices for scan in positive])
    return DecisionRule(
        temperature=temperature,
        scan_threshold=even_threshold(probability, labels),
        slice_threshold=youden_threshold(share, bleeds),
    )


def _loss(scans: Sequence[ScanScores]) -> float:
    sign = np.array([1.0 if scan.label else -1.0 for scan in scans])
    logits = np.array([scan.logit for scan in scans])
    return float(np.logaddexp(0.0, -sign * logits).mean())
