# make demo   the whole pipeline on the sample paper, without a key
# make test   the tests
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow check paper label-studio

demo: .venv/local.done
	$(BIN)/python examples/demo/run_demo.py

test: .venv/dev.done
	$(BIN)/python -m pytest

test-slow: .venv/dev.done .venv/local.done
	$(BIN)/python -m pytest -m slow

check: .venv/dev.done
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

label-studio: .venv-label-studio/done # for a slow test; it needs an environment of its own

.venv-label-studio/done:
	$(PYTHON) -m venv .venv-label-studio
	.venv-label-studio/bin/python -m pip install --quiet 'label-studio==1.23.2'
	touch $@

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
