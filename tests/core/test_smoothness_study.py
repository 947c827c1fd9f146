"""The study of smoothness: its configs are experiments, tables and figures are of its numbers."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from sadmil_core.experiments.config import read_experiment_config

TOOL = Path(__file__).parents[2] / "tools" / "smoothness_study.py"


@pytest.fixture(scope="module")
def tool() -> Any:
    spec = importlib.util.spec_from_file_location("smoothness_study", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def study(tool: Any, tmp_path: Path) -> Any:
    return tool.Study(
        out=tmp_path,
        scans=4,
        seeds=3,
        epochs=2,
        scratch_epochs=1,
        model="default",
        size=96,
        jobs=1,
    )


def test_its_experiments_are_what_the_program_reads(
    tool: Any, study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(tool, "sadmil", lambda *words: asked.append(words))
    monkeypatch.setattr(tool, "feature_count", lambda _folder: 128)
    tool.run_heads(study, "uniform", tmp_path)
    tool.run_scratch(study, tmp_path)
    kinds = [words[1] for words in asked if words[0] == "experiment"]
    assert kinds == ["alpha", "ablation", "graph", "order"]
    for kind in ("alpha", "ablation", "graph"):
        config = read_experiment_config(tmp_path / f"{kind}.toml")
        assert config.seeds == (0, 1, 2)
        assert config.train.length.epochs == 2
        assert config.alphas == ((0.1,) if kind == "graph" else (0.1, 0.5, 0.9))
    assert read_experiment_config(tmp_path / "scratch.toml").train.model.reads_images


def number(value: float, seeds: int = 3) -> dict[str, Any]:
    low, high = value - 0.1, value + 0.1
    return {
        "value": value,
        "low": low,
        "high": high,
        "by_seed": [value] * seeds,
        "seed_sd": 0.01 if seeds > 1 else None,
    }


def document() -> dict[str, Any]:
    arms = [("Att-MIL", None, 0.0, 0.6)]
    arms += [
        (f"S{order}, alpha {a}", order, a, 0.6 + a / 5) for order in (1, 2) for a in (0.1, 0.5)
    ]
    found: list[dict[str, Any]] = [
        {
            "name": name,
            "order": order,
            "alpha": alpha,
            "metrics": {
                "scan_auroc": number(0.9),
                "within_auroc": number(value),
                "within_auroc_single": {"value": None, "reason": "no such scan"},
                "roughness_sa": number(1.0 - alpha),
            },
        }
        for name, order, alpha, value in arms
    ]
    centre = {"within_auroc": number(0.75, seeds=1)}
    found.append({"name": "centre rule", "order": None, "alpha": None, "metrics": centre})
    test = {"scans": 12, "positive": 5}
    return {"test": test, "arms": found, "shown": ["Not shown: anything."]}


def test_tables_and_figures_hold_every_variant(tool: Any, study: Any) -> None:
    documents = {("natural", "alpha"): document(), ("natural", "ablation"): document()}
    text = tool.write_tables(study, documents).read_text()
    assert text.count("| S2, alpha 0.5 |") == 2
    assert "| Att-MIL | 0.900 (0.800 to 1.000) ±0.010 | 0.600 (0.500 to 0.700) ±0.010 | - |" in text
    assert "| centre rule | - | 0.750 (0.650 to 0.850) | - |" in text
    assert text.count("Not shown: anything.") == 2
    tool.draw(study, documents)
    for name in ("smoothness-alpha.png", "smoothness-variants.png"):
        assert (study.out / name).stat().st_size > 5000


def test_what_is_not_finished_is_left_out(tool: Any, study: Any) -> None:
    report = study.out / "natural" / "report"
    report.mkdir(parents=True)
    (report / "alpha.json").write_text("{}")
    assert list(tool.collect(study)) == [("natural", "alpha")]
