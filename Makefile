# Everything runs in a virtual environment inside the checkout; Python and make are all it needs.
# Each target sets up what it needs first, and may be interrupted and run again.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# The exact tested versions. Python 3.10 has its own list: newer releases of some packages left it.
PYTHON_VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
CONSTRAINTS ?= $(firstword $(wildcard constraints/python-$(PYTHON_VERSION).txt) constraints.txt)

# Another build of torch than the tested one, which setuptools is then left to: make env
# TORCH=2.13.0+cu126 VISION=0.28.0+cu126 INDEX=https://download.pytorch.org/whl/cu126
# Without them, what is installed already stays.
GIVEN_TORCH := $(TORCH)
AGAIN := $(if $(GIVEN_TORCH),$(if $(filter env,$(MAKECMDGOALS)),again))
installed = $(shell $(BIN)/python -c 'from importlib.metadata import version; \
	print(version("$(1)"))' 2>/dev/null || sed -n 's/^$(1)==//p' $(CONSTRAINTS))
TORCH ?= $(call installed,torch)
VISION ?= $(call installed,torchvision)

# One thread per test process: two processes of many threads each are slower than two of one.
# A process that is done takes waiting tests of the other: some take a hundred times as long as others.
FAST_TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

.DEFAULT_GOAL := help
.PHONY: help env demo mini data pages docs test test-slow faults test-gpu test-torch test-python lint \
	clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

env: $(STAMP) ## create or update the environment

# The stamp is written last, so an interrupted set-up continues at the next call.
$(STAMP): pyproject.toml $(CONSTRAINTS) $(AGAIN)
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 10) <= sys.version_info[:2] < (3, 14) else \
		"mae_bench needs Python 3.10 to 3.13, and $(PYTHON) is %d.%d: make PYTHON=python3.11 …" \
		% sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	sed -e 's/^torch==.*/torch==$(TORCH)/' -e 's/^torchvision==.*/torchvision==$(VISION)/' \
		$(if $(GIVEN_TORCH),-e '/^setuptools==/d') $(CONSTRAINTS) > $(VENV)/constraints.txt
	$(BIN)/python -m pip install -c $(VENV)/constraints.txt \
		$(if $(INDEX),--extra-index-url $(INDEX)) -e ".[dev,search,slurm]"
	# Both OpenCV packages are pulled in and write the same files. The headless one has to be last:
	# the other one needs libGL, which servers often lack.
	$(BIN)/python -m pip install -q --no-deps --force-reinstall -c $(CONSTRAINTS) \
		opencv-python-headless
	touch $@

.PHONY: again
again:

demo: env ## the main job end to end on the small built-in data
	$(BIN)/python tools/demo.py

mini: env ## the mini suite
	$(BIN)/python tools/run_suite.py configs/suite/mini.yaml --work-dir work_dirs/mini

pages: env ## write the pages and the index of the published tables anew
	$(BIN)/python -m mae_bench.results.table_page docs/tables
	$(BIN)/python -m mae_bench.results.model_index .

docs: env ## build the documentation site: build/site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

data: env ## write the small built-in data to data/miniworld
	$(BIN)/python tools/make_miniworld.py data/miniworld

test: env ## the fast tests
	$(FAST_TESTS)

test-slow: env ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

faults: env ## break what can break: kills, full disks, flipped bits, two hosts, long runs (minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m faults

# A machine without a GPU is told so, and has tested nothing: exit code 2.
test-gpu: env ## on a machine with a GPU: what only it can tell, and all times; see docs/gpu.md
	$(BIN)/python tools/benchmark.py gpu

# For example: make test-torch TORCH=2.11.0 VISION=0.26.0
test-torch: ## the fast tests on another torch: TORCH=2.11.0 VISION=0.26.0
	@test -n "$(GIVEN_TORCH)" || { echo "usage: make test-torch TORCH=2.11.0 VISION=0.26.0"; exit 2; }
	$(MAKE) test VENV=.venv-torch-$(TORCH)

test-python: ## the fast tests on another Python: PYTHON=python3.13
	$(MAKE) test VENV=.venv-python-$(PYTHON_VERSION)

lint: env ## style, types and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

clean: ## remove environments, caches and builds; data and work_dirs stay
	rm -rf .venv .venv-torch-* .venv-python-* .pytest_cache .mypy_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
