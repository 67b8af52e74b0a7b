# make demo   the whole pipeline on the sample paper, without a key
# make test   the tests
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow check paper

demo: .venv/local.done
	$(BIN)/python examples/demo/run_demo.py

test: .venv/dev.done
	$(BIN)/python -m pytest

test-slow: .venv/dev.done .venv/local.done
	$(BIN)/python -m pytest -m slow

check: .venv/dev.done
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

paper: .venv/dev.done
	$(BIN)/python examples/papers/make_paper.py

$(BIN)/python:
	$(PYTHON) -m venv .venv

.venv/local.done: requirements.txt requirements-local.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --requirement requirements-local.txt
	touch $@

.venv/dev.done: requirements.txt requirements-dev.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	touch $@
