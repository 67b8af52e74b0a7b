# make demo        the whole pipeline on the sample papers, without a key, in about two minutes
# make demo-replay the same with recorded answers, in ten seconds and without the models
# make test        the tests
# make test-slow   the tests that take minutes; they download the embedded model (0.6 GB, once)
# make check       linting, formatting, types
# make style       how long and how complex the functions are
# make notebook    run the batch notebook and save its output
#
# make test PYTHON=python3.13 VENV=.venv-3.13 uses another Python, in a virtual environment of its own.
# make test ARGS="-k review" passes arguments to pytest.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SOURCES := pipeline $(wildcard *.py)
DEV_REQUIREMENTS := $(filter-out requirements-local.txt requirements-prefilter.txt requirements-training.txt, $(wildcard requirements*.txt))

.PHONY: demo demo-replay test test-slow check style notebook papers label-studio

demo: $(VENV)/local.done
	$(BIN)/python examples/demo/run_demo.py

demo-replay: $(VENV)/base.done
	$(BIN)/python examples/demo/run_demo.py --replay

test: $(VENV)/dev.done
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

test-slow: $(VENV)/dev.done $(VENV)/local.done
	$(BIN)/python -m pytest -m slow $(ARGS)

check: $(VENV)/dev.done
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

style: $(BIN)/python
	$(BIN)/python tools/style.py $(SOURCES)

notebook: $(VENV)/dev.done
	$(BIN)/python tools/run_notebook.py examples/batch-processing-example.ipynb

papers: $(VENV)/dev.done
	$(BIN)/python examples/papers/make_paper.py

# For a slow test. Label Studio needs an environment of its own, because it requires an older openai package.
label-studio: .venv-label-studio/done

.venv-label-studio/done:
	$(PYTHON) -m venv .venv-label-studio
	.venv-label-studio/bin/python -m pip install --quiet 'label-studio==1.23.2'
	touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/base.done: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	touch $@

$(VENV)/local.done: requirements.txt requirements-local.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --requirement requirements.txt --requirement requirements-local.txt
	touch $@

$(VENV)/dev.done: $(DEV_REQUIREMENTS) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	touch $@
