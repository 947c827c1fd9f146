"""Bleeds of few slices and away from the centre, told apart by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sadmil_core.evaluation.bootstrap import point
from sadmil_core.evaluation.metrics import mean_over_scans
from sadmil_core.evaluation.scorers import Cohort
from sadmil_core.experiments.hard_cases import HARD_MEASURES, hard_cases


def cohort(*positive: tuple[int, ...], slices: int = 9) -> Cohort:
    labels = np.zeros((len(positive), slices))
    for scan, places in enumerate(positive):
        labels[scan, list(places)] = 1
    count = len(positive)
    return Cohort(
        scan_label=labels.max(axis=1),
        patient=np.arange(count),
        slice_label=labels.ravel(),
        bounds=np.arange(count + 1) * slices,
        scan_of_slice=np.repeat(np.arange(count), slices),
        both=labels.max(axis=1) > 0,
    )


def test_each_group_is_of_its_own_scans() -> None:
    data = cohort((0,), (4,), (3, 4), (4, 5, 6, 7, 8), (0, 1, 2, 3, 4), ())
    values = np.array([0.1, 0.2, 0.4, 0.8, 0.6, np.nan])
    found = hard_cases(mean_over_scans(values, "positive scans", "none"), data)
    means = {key: point(each, len(data)) for key, each in found.items()}
    assert means["within_auroc_single"] == pytest.approx((0.1 + 0.2) / 2)
    assert means["within_auroc_few"] == pytest.approx((0.1 + 0.2 + 0.4) / 3)
    assert means["within_auroc_off_centre"] == pytest.approx(0.1)  # 6 / 8 is central still
    assert found["within_auroc_few"].n == 3


def test_a_group_without_scans_has_no_number() -> None:
    data = cohort((3, 4, 5, 6))
    found = hard_cases(mean_over_scans(np.array([0.9]), "positive scans", "none"), data)
    assert [each.evaluate for each in found.values()] == [None] * len(HARD_MEASURES)
    assert all("no such scan" in each.reason for each in found.values())
