# Two commands set everything up on a fresh machine: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= out
MUTATIONS ?= 20000
SEED ?= 0

.PHONY: run test lint types imports unit fuzz bench syntax-table demo-model experiment-demo smoothness-study screenshots clean

run: $(VENV)/.app
	$(BIN)/sadmil-viewer --demo --headless-out $(OUT)

test: lint types imports unit

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

imports: $(VENV)/.dev
	$(BIN)/lint-imports

unit: $(VENV)/.dev
	QT_QPA_PLATFORM=offscreen $(BIN)/python -m pytest

# Breaks DICOM files and checks what the reader says of each (docs/fuzzing.md).
fuzz: $(VENV)/.dev
	$(BIN)/python -m tests.fuzz_dicom --mutations $(MUTATIONS) --seed $(SEED)
	$(BIN)/python -m pytest tests/core/test_properties_geometry.py --hypothesis-profile=thorough

bench: $(VENV)/.dev
	$(BIN)/sadmil bench --out $(OUT)/bench.json

# Reads a series in each transfer syntax and writes what came of it into the README.
syntax-table: $(VENV)/.dev
	$(BIN)/python -m tests.transfer_syntax_table --write

# Trains the demonstration model again and writes it to resources/models (about ten minutes).
demo-model: $(VENV)/.dev
	$(BIN)/python tools/train_demo_model.py

# Renders the README's pictures from the real windows, on phantoms.
screenshots: $(VENV)/.dev
	$(BIN)/python tools/screenshots.py --out docs/images --scales 1
	$(BIN)/python tools/screenshots.py --out $(OUT)/gallery --all --scales 1 2

# Phantoms, a store, a briefly trained encoder, its features, an ablation (docs/experiments.md).
experiment-demo: $(VENV)/.dev
	$(BIN)/python tools/experiment_demo.py --out $(OUT)/experiment-demo

# Does smoothness help? Phantoms, frozen features, heads, one network from scratch (docs/smoothness.md).
smoothness-study: $(VENV)/.dev
	$(BIN)/python tools/smoothness_study.py --out $(OUT)/smoothness

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.app: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@ $(VENV)/.app

clean:
	rm -rf $(VENV) $(OUT) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
