# Two commands matter: `make demo` and `make test`. Both create .venv and install Braze into it first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-slow lint bench bench-compare bench-gpu clean

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[test]"
	touch $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/python examples/train_digits.py

test: $(INSTALLED) lint
	$(BIN)/python -m pytest

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow

lint: $(INSTALLED)
	$(BIN)/python -m ruff check .
	mkdir -p .links && ln -sfn .. .links/braze
	$(BIN)/python -m mypy

bench: $(INSTALLED)
	$(BIN)/python bench/run.py

bench-compare: $(INSTALLED)
	$(BIN)/python bench/changes.py

bench-gpu: $(INSTALLED)
	$(BIN)/python bench/gpu.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
