# make demo   set up and run the main job on real data, under every scheme
# make test   set up the same way and run the whole suite
# For a CUDA machine: make demo CONSTRAINTS=/dev/null TORCH="torch>=2.11"

PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
TORCH ?= torch
VENV := .venv
BIN := $(VENV)/bin
SCHEMES := cdni backprop dni dfa frozen

.PHONY: demo test setup lint clean study study-fashion

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) "$(TORCH)"
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --editable ".[dev]"
	touch $@

demo: setup
	@for scheme in $(SCHEMES); do \
		$(BIN)/unlocked train quickstart scheme.name=$$scheme tracking.experiment=demo || exit $$?; \
	done
	@$(BIN)/unlocked compare --experiment demo --plot runs/demo.png
	@echo "dashboard: $(BIN)/unlocked ui    (then open http://127.0.0.1:5000)"

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy platform/unlocked models/unlocked_models

clean:
	rm -rf $(VENV) build dist

# The README's tables and plot: five schemes, three seeds each (about 15 minutes; `make study-fashion` adds an hour).
STUDY := backprop cdni dni dfa frozen
study: setup
	@for seed in 0 1 2; do \
		for scheme in $(STUDY); do for set in digits mnist1d; do \
			$(BIN)/unlocked train $$set/$$scheme seed=$$seed --quiet || exit $$?; \
		done; done; \
		for scheme in cdni dni frozen; do for stages in 1 2 3 4; do \
			$(BIN)/unlocked train mnist1d/$$scheme parallel.stages=$$stages tracking.experiment=depth seed=$$seed --quiet \
			|| exit $$?; \
		done; done; \
	done
	@for set in digits mnist1d; do $(BIN)/unlocked compare --experiment $$set --plot experiments/studies/$$set.png; done
	@$(BIN)/unlocked compare --experiment depth --against stages --plot experiments/studies/depth.png

study-fashion: setup
	@for set in fashion_mlp fashion_cnn; do for scheme in $(STUDY); do \
		$(BIN)/unlocked train $$set/$$scheme || exit $$?; \
	done; $(BIN)/unlocked compare --experiment $$set; done
