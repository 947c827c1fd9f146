"""``sadmil metrics``: the paper's table again, the page it writes, and wrong usage."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.commands import Outcome, run_sadmil
from tests.evaluations import (
    PADDED,
    make_set,
    write_authors,
    write_labels,
    write_report,
    write_rows,
)
from tests.reference import published_data

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Metrics = Callable[..., Outcome]


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Metrics:
    return lambda *words: run_sadmil(monkeypatch, capsys, "metrics", *words)


def numbers(document: dict[str, Any], model: int = 0, baseline: str = "") -> dict[str, Any]:
    found = document["models"][model]
    if baseline:
        (found,) = [each for each in found["baselines"] if each["name"] == baseline]
    return {key: each["value"] for key, each in found["metrics"].items()}


KEYS = (
    "scan_auroc", "scan_accuracy", "scan_f1",
    "slice_accuracy", "slice_precision", "slice_recall", "slice_f1",
)  # fmt: skip
PAPER = {
    "att_baseline": (0.9309, 0.8533, 0.8429, 0.8383, 0.4812, 0.6824, 0.5644),
    "att_0_5": (0.8494, 0.8533, 0.8308, 0.8839, 0.6276, 0.5980, 0.6125),
    "att_0_9": (0.9229, 0.8267, 0.8030, 0.8553, 0.5233, 0.6414, 0.5764),
}
WITHIN = {"att_baseline": 0.799, "att_0_5": 0.829, "att_0_9": 0.802}


@pytest.mark.reference
def test_the_authors_tables_give_the_papers_numbers_to_four_digits(
    tmp_path: Path, metrics: Metrics
) -> None:
    tables = published_data() / "tables"
    out = tmp_path / "m.json"
    words = [tables / f"{name}.csv" for name in PAPER]
    outcome = metrics(*words, tables / "testing_example.csv", "--json", out)
    assert outcome.status == 0
    assert "2 labelled slices without a prediction" in outcome.err
    document = json.loads(out.read_text())
    for at, (name, expected) in enumerate(PAPER.items()):
        found = numbers(document, at)
        assert [round(found[key], 4) for key in KEYS] == list(expected), name
        assert round(found["within_auroc"], 3) == WITHIN[name]
    assert round(numbers(document, 0, "all-negative")["slice_accuracy"], 4) == 0.8465
    assert round(numbers(document, 0, "centre rule")["within_auroc"], 3) == 0.864
    hard = document["models"][1]["notes"]
    assert any("hard decisions" in note for note in hard)


def test_tables_of_the_authors_form_give_the_numbers_of_their_definition(
    tmp_path: Path, metrics: Metrics
) -> None:
    data = make_set(30)
    predicted, labelled = write_authors(tmp_path, data)
    out = tmp_path / "m.json"
    outcome = metrics(predicted, labelled, "--json", out, "--name", "net")
    assert outcome.status == 0
    truth = np.concatenate([t.slice_labels for t in data.truths]) == 1
    called = np.concatenate(
        [
            (p.attention * len(p) / PADDED > 1 / PADDED) & (p.scan_probability > 0.5)
            for p in data.predictions
            if p.attention is not None
        ]
    )
    found = numbers(json.loads(out.read_text()))
    hits = (called & truth).sum()
    assert found["slice_accuracy"] == pytest.approx((called == truth).mean())
    assert found["slice_precision"] == pytest.approx(hits / called.sum())
    assert found["slice_recall"] == pytest.approx(hits / truth.sum())
    assert f"{found['slice_f1']:.4f}" in outcome.out
    for word in ("net", "all-negative", "centre rule", "mean pooling", "max pooling"):
        assert word in outcome.out
    assert "Research use only" in outcome.out


def test_a_report_and_a_manifest_give_a_page_that_stands_alone(
    tmp_path: Path, metrics: Metrics
) -> None:
    first = make_set(30)
    second = make_set(30, seed=3, name="<other> & co", strength=0.5)
    paths = [write_report(tmp_path / f"{at}.csv", each) for at, each in enumerate((first, second))]
    labels = write_labels(tmp_path / "labels.csv", first)
    page, out = tmp_path / "r.html", tmp_path / "m.json"
    outcome = metrics(*paths, labels, "--html", page, "--json", out, "--seed", 4)
    assert outcome.status == 0
    text = page.read_text()
    body = text[text.index("<body") :]
    assert body.index("Research use only") < body.index("<h1")
    assert text.count("<svg") == 5
    assert "&lt;other&gt; &amp; co" in text
    assert "<other>" not in text
    assert not re.search(r"(?:src|href)\s*=\s*[\"'](?!#)", text)  # nothing is fetched
    assert "Not shown: how much another training seed would change" in text
    document = json.loads(out.read_text())
    assert document["schema_version"] == 1
    assert document["bootstrap"]["seed"] == 4
    value = document["models"][0]["metrics"]["within_auroc"]
    assert {"value", "low", "high", "n", "unit"} <= value.keys()
    assert f"{value['value']:.4f}" in text
    again = tmp_path / "again.html"
    metrics(*paths, labels, "--html", again, "--seed", 4)
    assert again.read_bytes() == page.read_bytes()


def test_thresholds_can_be_frozen_on_validation(tmp_path: Path, metrics: Metrics) -> None:
    test, validation = make_set(30), make_set(30, seed=2)
    words = [write_report(tmp_path / "t.csv", test), write_labels(tmp_path / "l.csv", test)]
    held = write_report(tmp_path / "v.csv", validation)
    labels = write_labels(tmp_path / "vl.csv", validation)
    outcome = metrics(*words, "--validation", held, "--validation-labels", labels)
    assert outcome.status == 0
    assert "specificity reached (90 %)" in outcome.out
    assert "optimistic" not in outcome.out
    assert "optimistic" in metrics(*words).out


def test_seeds_are_told_apart_from_models(tmp_path: Path, metrics: Metrics) -> None:
    sets = [make_set(20, seed=at, name=f"net-seed{at}") for at in range(2)]
    paths = [write_report(tmp_path / f"{each.name}.csv", each) for each in sets]
    outcome = metrics(*paths, write_labels(tmp_path / "l.csv", sets[0]), "--seeds")
    assert "net: 2 seeds; scan AUROC" in outcome.out
    assert "standard deviation" in outcome.out


def test_names_of_tables_that_say_the_same_are_those_of_the_files(
    tmp_path: Path, metrics: Metrics
) -> None:
    data = make_set(10)
    paths = [write_report(tmp_path / f"{name}.csv", data) for name in ("first", "second")]
    outcome = metrics(*paths, write_labels(tmp_path / "l.csv", data))
    assert "Not shown: any difference of first and second" in outcome.out


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["p.csv"], 2, "give predictions, then labels"),
        (["p.csv", "l.csv", "--bootstrap", "100"], 2, "at least 2000"),
        (["p.csv", "l.csv", "--name", "a", "--name", "b"], 2, "given 2 times for 1"),
        (["p.csv", "p.csv", "l.csv", "--name", "a", "--name", "a"], 2, "must differ"),
        (["p.csv", "l.csv", "--name", "centre rule"], 2, "must differ"),
        (["p.csv", "l.csv", "--json", "p.csv"], 2, "is one of the input files"),
        (["p.csv", "l.csv", "--html", "absent/r.html"], 2, "folder that does not exist"),
        (["p.csv", "l.csv", "--html", "x", "--json", "x"], 2, "same file"),
        (["p.csv", "absent.csv"], 1, "absent.csv cannot be read"),
        (["l.csv", "l.csv"], 1, "is no table of predictions"),
        (["p.csv", "p.csv"], 1, "is no table of labels"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_said(
    tmp_path: Path,
    metrics: Metrics,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    status: int,
    message: str,
) -> None:
    data = make_set(4)
    write_report(tmp_path / "p.csv", data)
    write_labels(tmp_path / "l.csv", data)
    monkeypatch.chdir(tmp_path)
    outcome = metrics(*words)
    assert outcome.status == status
    assert message in outcome.err
    assert sorted(each.name for each in tmp_path.iterdir()) == ["l.csv", "p.csv"]


def test_scans_without_slice_labels_are_judged_as_scans(tmp_path: Path, metrics: Metrics) -> None:
    data = make_set(20)
    blind = replace(
        data,
        truths=tuple(
            replace(t, slice_labels=np.full(len(t.slice_labels), np.nan)) for t in data.truths
        ),
    )
    rows = [
        {"schema_version": 1, "scan_id": t.scan_id, "scan_label": int(bool(t.label))}
        for t in blind.truths
    ]
    labels = write_rows(tmp_path / "l.csv", rows)
    outcome = metrics(write_report(tmp_path / "p.csv", data), labels, "--html", tmp_path / "r.html")
    assert outcome.status == 0
    assert "Not shown: anything about slices" in outcome.out
