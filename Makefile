# Two commands matter: `make nightly` and `make test`. Both create the environment in .venv if it does not exist.
# Options: AS_OF=YYYY-MM-DD  DATASET=name  DATASET_FILE=file.yaml  DATA_DIR=folder  CUSTOMERS=20000  PLE_HOME=folder  PYTHON=python3.11
#          TORCH_INDEX=https://download.pytorch.org/whl/cpu: with `make setup`, a build of torch without CUDA packages
#          WRITABLE=1: Dagster's pages may start runs
#          ONLY="night model": with `make bench`, these parts
#          TRIALS=folder of the trials' results  MINUTES=K: a sample of the trials  OLD=another checkout
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

TRIALS ?= .trials

export AS_OF DATASET DATASET_FILE DATA_DIR CUSTOMERS

.PHONY: help setup nightly test trials ui docs bench bench-features bench-model bench-gpu compare lint

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

setup: $(STAMP)  ## create the environment in .venv

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed. Name one: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing pinned packages into $(VENV) (a few minutes, once) ..." >&2
	@$(if $(TORCH_INDEX),$(PIP) --no-compile --index-url $(TORCH_INDEX) torch)
	@$(PIP) --no-compile --editable '.[dev]' # Python compiles what it imports, when it imports it
	@touch $(STAMP)

nightly: $(STAMP)  ## run the nightly job for one as-of date
	@$(BIN)/ple nightly

ui: $(STAMP)  ## serve Dagster, MLflow and the scores on loopback
	@$(BIN)/ple ui $(if $(WRITABLE),--writable)

test: $(STAMP) lint  ## linters, types, import rules, tests
	@$(BIN)/python -m pytest

trials: $(STAMP)  ## long tests; a killed run goes on where it stopped (MINUTES=5: a sample)
	@$(BIN)/python -m pytest -n 0 -vv --durations=0 --durations-min=1 --trials=$(TRIALS) $(if $(MINUTES),--minutes=$(MINUTES))

docs: $(STAMP)  ## build the documentation as a site, into .site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --config-file docs/site/mkdocs.yml

bench: $(STAMP)  ## every figure that the README quotes, made again; says first how long that takes (ONLY="night model")
	@$(PIP) --no-compile --editable '.[dev,bench]'
	@$(BIN)/python -m benchmarks.figures $(if $(ONLY),--only $(ONLY))

bench-features: $(STAMP)  ## CPU time, memory and growth of every feature group, beside the plain libraries
	@$(BIN)/python benchmarks/features.py

bench-model: $(STAMP)  ## speed of the model: published PLE beside its peers, kernels beside plain forms, adaTT, scoring
	@$(PIP) --no-compile --editable '.[dev,bench]'
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/model.py

bench-gpu: $(STAMP)  ## the network on a GPU: a step beside its floors, bf16, mamba-ssm, training end to end
	@$(BIN)/python benchmarks/gpu.py

compare: $(STAMP)  ## compare tables, labels and features with those of the checkout OLD
	@$(BIN)/python benchmarks/compare.py $(OLD) .

lint: $(STAMP)  ## ruff, mypy, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo --no-cache
