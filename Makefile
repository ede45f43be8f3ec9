# Everyday commands: `make` or `make help` lists them. Needs Python 3.11 or newer and nothing else.

PYTHON ?= python3
PORT ?= 8787
# Many tests wait for a server: one process more than the cores of a small machine.
PYTEST_WORKERS ?= 3
# Files in the order given, the slow ones first: else a single long one is left for the end.
SPREAD = -n $(PYTEST_WORKERS) --dist loadfile --no-loadscope-reorder

AIRFLOW_3_3 := 3.3.2
AIRFLOW_2_11 := 2.11.2
# Tested on demand, on what was published when they were new: on today's they do not all run.
OTHERS := 2.11 3.0 3.1 3.2
# What the example DAGs need.
EXTRAS_DEMO := local,report,calibrated
EXTRAS := local,dev,amazon,openlineage,celery,browser
EXTRAS_OTHERS := local,dev
EXTRAS_ORACLE := local,dev,oracle
# Tests of what knows no Airflow. With Airflow 3.3's pins they run once; tests/unit/test_constraints.py sees
# to it that the pins of Airflow 2.11 are the same where it matters.
NO_AIRFLOW := $(addprefix tests/unit/,client comparison engine explanations local reports storage)
NO_AIRFLOW += tests/integration/test_guide.py $(addprefix tests/integration/test_local_server_,bucket.py fuzz.py llm.py page.py)
# The project's own, and those of dependencies that come as source alone.
BUILD_TOOLS := hatchling editables setuptools wheel

BIN := .venv/bin
BIN_ORACLE := .venv-oracle/bin

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# The caller's Airflow settings belong to another installation, and unwritten bytecode costs seconds on each start.
$(foreach name,$(filter AIRFLOW_%,$(.VARIABLES)),$(eval unexport $(name)))
unexport PYTHONDONTWRITEBYTECODE
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Importing Airflow writes into its home, which would be ~/airflow.
export AIRFLOW_HOME := $(CURDIR)/.venv/airflow
$(OTHERS:%=test-%): export AIRFLOW_HOME = $(CURDIR)/.venv-$(@:test-%=%)/airflow

# $(call install,environment,constraints file,extras): with pins, the build tools included.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	@echo "Installing into $(1) from $(2); the first time takes a minute or two ..."
	@test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
	@$(1)/bin/python -m pip install --quiet --constraint $(2) $(BUILD_TOOLS)
	@$(1)/bin/python -m pip install --quiet --constraint $(2) --no-build-isolation --editable ".[$(3)]"
endef

# $(call resolve,Airflow's version,constraints file)
define resolve
	rm -rf .venv-resolve
	$(PYTHON) -m venv .venv-resolve
	.venv-resolve/bin/python -m pip install --quiet "apache-airflow==$(1)" $(BUILD_TOOLS) --editable ".[$(EXTRAS)]"
	.venv-resolve/bin/python -m pip check
	echo "# Apache Airflow $(1) with the extras $(EXTRAS). Written by \`make constraints\`; do not edit." > $(2)
	.venv-resolve/bin/python -m pip freeze --all --exclude pip --exclude-editable >> $(2)
	! grep -nvE '^(#.*|[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+)$$' $(2)
	rm -rf .venv-resolve
endef

##@ See it work

.PHONY: demo
demo: .venv/.demo-installed ## Run the example DAG on a real Airflow 3.3 and show what came out
	@$(BIN)/python -m example_dags.demo run

.PHONY: up
up: .venv/.demo-installed ## Keep the same Airflow running, with its web UI, until Ctrl-C
	@$(BIN)/python -m example_dags.demo up

.PHONY: serve
serve: .venv/.demo-installed ## Run ClearTrace Local alone, without a key, on loopback (PORT=8787)
	@mkdir -p .demo/serve
	$(BIN)/cleartrace-local serve --data-dir .demo/serve --port $(PORT)

##@ Check a change

.PHONY: test
test: lint types imports test-3.3 docs test-system ## Everything on Airflow 3.3: style, types, imports, tests, docs

.PHONY: test-all
test-all: test test-2.11 ## The same, then the tests on Airflow 2.11

.PHONY: test-3.3
test-3.3: .venv/.test-installed ## Unit and integration tests on Airflow 3.3
	$(BIN)/python -m pytest $(SPREAD) tests/integration tests/unit

.PHONY: test-2.11 test-3.0 test-3.1 test-3.2
test-2.11: ## Unit and integration tests on Airflow 2.11
test-3.0: ## The same on Airflow 3.0
test-3.1: ## The same on Airflow 3.1
test-3.2: ## The same on Airflow 3.2
$(OTHERS:%=test-%): test-%: .venv-%/.test-installed
	.venv-$*/bin/python -m pytest $(SPREAD) $(NO_AIRFLOW:%=--ignore=%) tests/integration tests/unit

.PHONY: test-system
test-system: .venv/.test-installed ## Tests that start a whole Airflow 3.3
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/system

.PHONY: test-browser
test-browser: .venv/.test-installed ## What `make up` starts, read in Chromium as a person does
	BROWSER_TESTS=required $(BIN)/python -m pytest tests/system/up

.PHONY: oracle
oracle: .venv-oracle/.test-installed ## The engine beside xrfm, which brings torch, in its own environment
	$(BIN_ORACLE)/python -m pytest tests/oracle

.PHONY: test-endurance
test-endurance: .venv/.test-installed ## Long proofs: kills under load, exports of thousands of columns, Celery workers
	AIRFLOW_HOME=$(CURDIR)/.venv/airflow $(BIN)/python -m pytest tests/endurance

.PHONY: lint
lint: .venv/.test-installed ## Style of code (ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: .venv/.test-installed ## Types (mypy, strict)
	$(BIN)/mypy
	$(BIN)/mypy --package example_dags.demo

.PHONY: imports
imports: .venv/.test-installed ## Which package may import which (import-linter)
	$(BIN)/lint-imports

.PHONY: format
format: .venv/.test-installed ## Rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

##@ Build and measure

.PHONY: docs
docs: .venv/.test-installed ## The documentation, warnings being errors, in docs/_build/html
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet -b html docs docs/_build/html

.PHONY: screenshots
screenshots: .venv/.test-installed ## Take the pictures of the documentation anew, in docs/_static/screenshots
	BROWSER_TESTS=required SCREENSHOTS=$(CURDIR)/docs/_static/screenshots $(BIN)/python -m pytest tests/system/up

.PHONY: bench
bench: .venv/.test-installed ## The measurements of benchmarks/, one after the other
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

.PHONY: constraints
constraints: ## Resolve the pins in constraints/ afresh
	$(call resolve,$(AIRFLOW_3_3),constraints/airflow-3.3.txt)
	$(call resolve,$(AIRFLOW_2_11),constraints/airflow-2.11.txt)

##@ Housekeeping

.PHONY: clean
clean: ## Remove the environments, what the demo wrote, and every cache
	rm -rf .venv $(OTHERS:%=.venv-%) .venv-oracle .venv-resolve .demo docs/_build build dist
	rm -rf .coverage* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find airflow_provider_cleartrace benchmarks docs example_dags tests -name __pycache__ -prune -exec rm -rf {} +

.PHONY: help
help: ## This list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9.-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# A second run finds these and installs nothing. The tests need more than the demo, in the same environment.
.venv/.demo-installed: pyproject.toml constraints/airflow-3.3.txt
	$(call install,.venv,constraints/airflow-3.3.txt,$(EXTRAS_DEMO))
	@touch $@

.venv/.test-installed: pyproject.toml constraints/airflow-3.3.txt
	$(call install,.venv,constraints/airflow-3.3.txt,$(EXTRAS))
	@touch .venv/.demo-installed $@

$(OTHERS:%=.venv-%/.test-installed): .venv-%/.test-installed: pyproject.toml constraints/airflow-%.txt
	$(call install,.venv-$*,constraints/airflow-$*.txt,$(EXTRAS_OTHERS))
	@touch $@

.venv-oracle/.test-installed: pyproject.toml constraints/airflow-3.3.txt
	$(call install,.venv-oracle,constraints/airflow-3.3.txt,$(EXTRAS_ORACLE))
	@touch $@
