"""Tables of predictions and labels: recognised by their columns, joined, refused whole."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from sadmil_core.errors import EvaluationError
from sadmil_core.evaluation.labels import join, read_labels
from sadmil_core.evaluation.predictions import read_predictions
from sadmil_core.evaluation.values import SliceRule
from sadmil_core.result import DecisionRule
from tests.evaluations import (
    PADDED,
    make_set,
    report_rows,
    write_authors,
    write_labels,
    write_report,
    write_rows,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_slice_report_comes_back_as_it_was(tmp_path: Path) -> None:
    data = make_set(6)
    path = write_report(tmp_path / "p.csv", data)
    found = join(read_predictions(path), read_labels(write_labels(tmp_path / "l.csv", data)))
    assert found.name == "model"
    assert found.notes == ()
    for before, after in zip(data.predictions, found.predictions, strict=True):
        assert after.rule == before.rule
        for name in ("attention", "attention_logit", "evidence", "position_mm", "slice_positive"):
            assert np.array_equal(getattr(after, name), getattr(before, name)), name
    for was, read in zip(data.truths, found.truths, strict=True):
        assert (read.patient_id, read.label, read.site) == (was.patient_id, was.label, was.site)
        assert np.array_equal(read.slice_labels, was.slice_labels)


def test_parquet_reads_as_csv_does(tmp_path: Path) -> None:
    rows = report_rows(make_set(3))
    for row in rows:
        row |= {
            "attention": float(row["attention"]),
            "slice_positive": row["slice_positive"] == "true",
        }
        row["evidence"] = None
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "p.parquet")
    write_rows(tmp_path / "p.csv", rows)
    tables = [read_predictions(tmp_path / name) for name in ("p.csv", "p.parquet")]
    for a, b in zip(*(table.scans for table in tables), strict=True):
        assert a.evidence is b.evidence is None
        assert np.array_equal(a.attention, b.attention)  # type: ignore[arg-type]
        assert np.array_equal(a.slice_positive, b.slice_positive)


def test_the_authors_tables_lose_their_pads_and_gain_the_order_of_the_labels(
    tmp_path: Path,
) -> None:
    data = make_set(6)
    predicted, labelled = write_authors(tmp_path, data)
    found = join(read_predictions(predicted), read_labels(labelled))
    assert any("pad the bags" in note for note in found.notes)
    for before, after in zip(data.predictions, found.predictions, strict=True):
        assert after.slice_keys == before.slice_keys
        assert before.attention is not None
        assert after.attention == pytest.approx(before.attention * len(before) / PADDED)
        assert after.rule == SliceRule(padding=PADDED)  # the longest bag shows no pads
        called = (after.attention > 1 / PADDED) & (before.scan_probability > 0.5)
        assert np.array_equal(after.slice_positive, called)


def test_hard_outputs_are_said(tmp_path: Path) -> None:
    predicted, _ = write_authors(tmp_path, make_set(4, scan_probability=1.0))
    assert any("hard decisions" in note for note in read_predictions(predicted).notes)


def _set(row: int, **cells: Any) -> Callable[[list[dict[str, Any]]], None]:
    return lambda rows: rows[row].update(cells)


BAD_ROWS = {
    "not a number": (_set(3, attention="many"), "line 5: attention is 'many', not a number"),
    "not finite": (_set(3, evidence="nan"), "line 5: evidence is 'nan'"),
    "no probability": (
        lambda rows: [row.update(scan_probability="1.5") for row in rows],
        "line 2: scan_probability is '1.5', not a number from 0 to 1",
    ),
    "another probability": (_set(3, scan_probability="0.123"), "line 5: scan_probability differs"),
    "half a column": (_set(3, evidence=""), "line 5: evidence is blank, but other slices"),
    "the same slice twice": (_set(3, slice_index="2"), "line 5: the slice_index 2 is there twice"),
    "no flag": (_set(3, slice_positive="perhaps"), "line 5: slice_positive is 'perhaps'"),
    "no rule": (
        lambda rows: [r.update(slice_rule="some") for r in rows],
        "'some' is no slice rule",
    ),
}


@pytest.mark.parametrize(("spoil", "message"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_bad_row_is_named(tmp_path: Path, spoil: Any, message: str) -> None:
    rows = report_rows(make_set(2))
    spoil(rows)
    with pytest.raises(EvaluationError, match="bad row") as caught:
        read_predictions(write_rows(tmp_path / "p.csv", rows))
    assert message in str(caught.value)


def test_all_bad_rows_are_listed_at_once(tmp_path: Path) -> None:
    rows = report_rows(make_set(2))
    for row in rows[2:5]:
        row["attention"] = "x"
    with pytest.raises(EvaluationError, match="3 bad rows") as caught:
        read_predictions(write_rows(tmp_path / "p.csv", rows))
    assert [f"line {line}" in str(caught.value) for line in (3, 4, 5, 6, 7)] == [
        False, True, True, True, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no rows"),
        (b"a,b\n1,2\n", "is no table of predictions: its columns are a, b"),
        (b"a,a\n1,2\n", "has the column a more than once"),
        (b"a,b\n1\n", "line 2: 1 cells under 2 columns"),
        (b"\xff\xfe\x00", "is not a CSV file in UTF-8"),
    ],
)
def test_what_is_no_table_is_said(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "p.csv").write_bytes(content)
    with pytest.raises(EvaluationError, match=message):
        read_predictions(tmp_path / "p.csv")
    with pytest.raises(EvaluationError, match="cannot be read"):
        read_predictions(tmp_path / "absent.csv")
    (tmp_path / "p.parquet").write_bytes(content)
    with pytest.raises(EvaluationError, match="is not a Parquet file"):
        read_predictions(tmp_path / "p.parquet")


def test_what_does_not_match_is_said_on_either_side(tmp_path: Path) -> None:
    data = make_set(8)
    some = data.restricted(frozenset(t.scan_id for t in data.truths[:6]))
    others = data.restricted(frozenset(t.scan_id for t in data.truths[2:]))
    found = join(
        read_predictions(write_report(tmp_path / "p.csv", some)),
        read_labels(write_labels(tmp_path / "l.csv", others)),
    )
    assert [t.scan_id for t in found.truths] == [f"scan{at:03}" for at in range(2, 6)]
    assert found.notes == (
        "2 labelled scans without a prediction left out (scan006, scan007)",
        "2 predicted scans without labels left out",
    )
    with pytest.raises(EvaluationError, match="no scan in common"):
        join(
            read_predictions(tmp_path / "p.csv"),
            read_labels(tmp_path / "l.csv")[4:],
        )


def test_slices_that_do_not_match_are_said(tmp_path: Path) -> None:
    data = make_set(2)
    _, labelled = write_authors(tmp_path, data)
    rows = report_rows(data)
    table = read_predictions(write_rows(tmp_path / "p.csv", rows[:-1]))
    assert (
        "1 labelled slice without a prediction left out" in join(table, read_labels(labelled)).notes
    )
    lines = labelled.read_text().splitlines()
    labelled.write_text("\n".join(lines[:-1]) + "\n")
    full = read_predictions(write_rows(tmp_path / "p.csv", rows))
    found = join(full, read_labels(labelled))
    assert "1 predicted slice without a label left out" in found.notes
    assert np.isnan(found.truths[1].slice_labels[-1])


def test_the_series_that_speaks_for_its_study_is_judged(tmp_path: Path) -> None:
    data = make_set(2)
    rows = report_rows(data)
    second = [row | {"series_instance_uid": "0.2", "sop_instance_uid": f"x{at}",
                     "study_readout": "false", "scan_probability": "0.25"}
              for at, row in enumerate(rows[:10])]  # fmt: skip
    table = read_predictions(write_rows(tmp_path / "p.csv", second + rows))
    by_scan = write_rows(
        tmp_path / "l.csv",
        [{"schema_version": 1, "scan_id": f"scan{at:03}", "scan_label": at} for at in range(2)],
    )
    found = join(table, read_labels(by_scan))
    assert found.predictions[0].series_instance_uid == "scan000.1"
    named = write_rows(
        tmp_path / "n.csv",
        [
            {
                "schema_version": 1,
                "scan_id": "scan000",
                "scan_label": 0,
                "series_instance_uid": "0.2",
            },
            {"schema_version": 1, "scan_id": "scan001", "scan_label": 1, "series_instance_uid": ""},
        ],
    )
    assert join(table, read_labels(named)).predictions[0].scan_probability == 0.25


def test_a_negative_scan_has_negative_slices_only(tmp_path: Path) -> None:
    data = make_set(2)
    table = read_predictions(write_report(tmp_path / "p.csv", data))
    rows = [{"schema_version": 1, "scan_id": f"scan{at:03}", "scan_label": at} for at in range(2)]
    negative, positive = join(table, read_labels(write_rows(tmp_path / "l.csv", rows))).truths
    assert (negative.slice_labels == 0).all()
    assert np.isnan(positive.slice_labels).all()


def test_labels_by_number_and_by_split(tmp_path: Path) -> None:
    data = make_set(2)
    table = read_predictions(write_report(tmp_path / "p.csv", data))
    rows = [
        {"schema_version": 1, "scan_id": f"scan{at:03}", "split": split, "slice_index": 2,
         "slice_label": at}
        for at, split in enumerate(("val", "test"))
    ]  # fmt: skip
    path = write_rows(tmp_path / "l.csv", rows)
    (truth,) = join(table, read_labels(path, split="test")).truths
    assert np.flatnonzero(truth.slice_labels == 1).tolist() == [2]
    with pytest.raises(EvaluationError, match="no scan of the split 'train'"):
        read_labels(path, split="train")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2,a.dcm,b,1,0", "instance_label is '2', neither 0 nor 1"),
        ("1,a.dcm,b,0,0", "the bag b is labelled 0 and has a positive slice"),
        ("1,a.dcm,b,1,0\n1,a.dcm,b,1,1", "line 3: the instance 'a' is not named once"),
        ("1,a.dcm,b,1,0\n1,c.dcm,b,0,1", "the bag b has several labels"),
    ],
)
def test_labels_that_contradict_are_refused(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "l.csv").write_text(
        f"instance_label,instance_name,bag_name,bag_label,order\n{line}\n"
    )
    with pytest.raises(EvaluationError, match=message):
        read_labels(tmp_path / "l.csv")


def test_several_models_in_one_table_are_refused(tmp_path: Path) -> None:
    rows = report_rows(make_set(2))
    rows[0]["model_id"] = "another"
    with pytest.raises(EvaluationError, match="several models: another, model"):
        read_predictions(write_rows(tmp_path / "p.csv", rows))


def test_series_that_were_not_scored_are_counted(tmp_path: Path) -> None:
    rows = report_rows(make_set(2))
    for row in rows[:10]:
        row |= dict.fromkeys(("scan_probability", "attention", "evidence", "slice_positive"), "")
    table = read_predictions(write_rows(tmp_path / "p.csv", rows))
    assert len(table.scans) == 1
    assert table.notes == ("1 series in the table were not scored",)


@given(
    st.sampled_from(["attention", "evidence", "probability"]),
    st.floats(-1e6, 1e6),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0, 57]),
)
def test_a_rule_reads_as_reports_write_it(
    score: Any, limit: float, uniform: bool, gated: bool, padding: int
) -> None:
    uniform = uniform and score == "attention"
    rule = DecisionRule(
        slice_score=score,
        slice_threshold=round(limit, 2) if not uniform else 1.5,
        relative_to_uniform=uniform,
        gated=gated,
    )
    found = SliceRule.parse(rule.describe(padding))
    for size in (10, 60):
        bag = max(size, padding)
        assert found.threshold(size) == rule.absolute_slice_threshold(bag)
    assert found.gated == gated
    assert replace(found).score == score
