# make demo   set up and run the main job on real data, under every scheme
# make check  format, lint, types and the unit tests: what needs no Ray, no live processes and no training to a bar
# make test   set up the same way and run the tests
# make test-all   and the proofs that take their time: kills at every place of a run, hosts, long runs, three seeds
# make floors   the unit tests with every dependency at its lower bound, in .venv-floors
# make docs   build the documentation into build/docs
# For a CUDA machine: make demo CONSTRAINTS=/dev/null TORCH="torch>=2.11"

PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
TORCH ?= torch
VENV := .venv
BIN := $(VENV)/bin
SCHEMES := cdni backprop dni dfa frozen
WORKERS ?= 2
unexport PYTHONDONTWRITEBYTECODE  # or each of the suite's many processes compiles all that it imports
# one process has all tests that need Ray, the others take the rest file by file
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

.PHONY: demo check unit test test-all floors setup lint docs clean study

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
	@echo "dashboard: $(BIN)/unlocked ui    (it prints the address to open)"

check: lint unit

unit:
	$(PYTEST) -m "not ray and not live and not learns and not slow"

test: setup
	$(PYTEST) -m "not slow"

test-all: setup
	$(PYTEST) --seeds 3

# torch is the build of constraints.txt: .ci/floors.py says why
floors:
	$(PYTHON) -m venv $(VENV)-floors
	$(PYTHON) .ci/floors.py > $(VENV)-floors/constraints.txt
	$(VENV)-floors/bin/pip install --quiet --constraint $(CONSTRAINTS) --constraint $(VENV)-floors/constraints.txt \
		--editable ".[dev]"
	$(MAKE) --no-print-directory unit VENV=$(VENV)-floors

lint: setup
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check .
	$(BIN)/python -m pytest --noconftest tests/test_layers.py
	$(BIN)/mypy platform/unlocked models/unlocked_models

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

clean:
	rm -rf $(VENV) $(VENV)-floors build dist

# The tables of docs/results/accuracy.md and their plots: every scheme, three seeds. An hour on two cores, most of it Fashion-MNIST's.
study: setup
	@set -e; for seed in 0 1 2; do \
		for scheme in $(SCHEMES); do for set in digits mnist1d; do \
			$(BIN)/unlocked train $$set/$$scheme seed=$$seed --quiet; \
		done; done; \
	done; \
	for set in fashion_mlp fashion_cnn; do for scheme in $(SCHEMES); do \
		$(BIN)/unlocked train $$set/$$scheme --quiet; \
	done; done; \
	for set in digits mnist1d fashion_mlp fashion_cnn; do $(BIN)/unlocked compare --experiment $$set; done; \
	$(BIN)/unlocked sweep studies/depth --plot experiments/studies/depth.png
