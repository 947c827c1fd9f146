"""Whether models agree on the order of scans that nobody has labelled.

No label can be tuned to, and none is needed: where a model trained on drawn lesions has learnt
something other than blood, it orders real scans otherwise than models that have seen real blood.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import rankdata, spearmanr

from sadmil_core.dicom import index_folder, load_volume
from sadmil_core.errors import SadmilError
from sadmil_core.predict import Predictor
from sadmil_core.progress import Progress, no_progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sadmil_core.model.trained import TrainedModel

RESAMPLES = 2000
FEWEST = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldModel:
    """A model with the hosts it was kept from.

    Attributes:
        model: The whole network.
        kept_from: Their study UIDs.
    """

    model: TrainedModel
    kept_from: frozenset[str]


def agreement(
    folds: Sequence[FoldModel],
    hosts: Iterable[str],
    folders: Iterable[Path],
    others: Sequence[TrainedModel],
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Spearman's correlation of scan logits with the mean rank that other models give.

    Args:
        folds: A host's scan is read by the model that was kept from it, any other scan by all,
            whose logits are averaged.
        hosts: The study UIDs of all hosts.
        folders: Of unlabelled series; the first usable series of a study is read.
        others: At least one, for example the published checkpoints.
        progress: Told after each series.

    Returns:
        ``spearman`` with ``low`` and ``high`` (95 %, bootstrap over scans), ``scans``, and
        ``logits`` by study: of this model, and of each of the others.
    """
    known = set(hosts)
    predictors = [(Predictor(fold.model), fold.kept_from) for fold in folds]
    references = [Predictor(model) for model in others]
    own: dict[str, float] = {}
    theirs: dict[str, list[float]] = {}
    entries = [entry for folder in folders for entry in index_folder(folder).entries]
    for number, entry in enumerate(entries):
        progress(number, len(entries), "reading unlabelled scans")
        study = entry.study_instance_uid
        readers = [p for p, kept in predictors if study in kept or study not in known]
        if study in own or not readers:
            continue
        try:
            volume = load_volume(entry)
            logits = [p.run(volume).scan_logit for p in (*readers, *references)]
        except SadmilError:
            continue  # another series of the study may be fit
        own[study] = float(np.mean(logits[: len(readers)]))
        theirs[study] = logits[len(readers) :]
    found: dict[str, Any] = {
        "scans": len(own),
        "logits": {study: [own[study], *theirs[study]] for study in own},
        "others": [model.header.name for model in others],
    }
    if len(own) < FEWEST:
        return found
    ranks = np.mean(rankdata(np.array(list(theirs.values())), axis=0), axis=1)
    return found | correlated(np.array(list(own.values())), ranks)


def correlated(
    own: NDArray[np.float64], ranks: NDArray[np.float64], seed: int = 0
) -> dict[str, float]:
    """Spearman's correlation with its interval over scans."""
    rng = np.random.default_rng(seed)
    resampled = []
    for _ in range(RESAMPLES):
        draw = rng.integers(0, len(own), len(own))
        if len(set(own[draw])) > 1 and len(set(ranks[draw])) > 1:
            resampled.append(spearmanr(own[draw], ranks[draw]).statistic)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return {
        "spearman": float(spearmanr(own, ranks).statistic),
        "low": float(low),
        "high": float(high),
    }
