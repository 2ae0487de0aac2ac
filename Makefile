# `make` lists the targets. Requires Python 3.11 or newer, make and bash.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help recommend install install-dev test lint notebooks notebook-pairs config-reference cli-reference docs constraints dist licences audit clean

PYTHON ?= python3
CONFIG ?= configs/demo.yaml
NOTEBOOKS ?= notebooks/*.py
# Processes that run tests at the same time; with 0, pytest runs them itself (for a debugger).
TEST_PROCESSES ?= 2
DEMO ?= --users 1500 --items 1200 --days 60 --seed 0

, := ,
VENV := .venv
BIN := $(VENV)/bin
CORE := $(VENV)/.installed-core
DEV := $(VENV)/.installed-dev
RELEASE := $(VENV)/.installed-release
# dataframely (BSD-3-Clause), huey and skops (MIT) name no licence in their metadata, only in a file.
LICENCES = $(BIN)/pip-licenses --python=$(BIN)/python --from=mixed
STATED_IN_A_FILE := dataframely huey skops
# Exists while the environment is being changed. If it exists at the start, the last installation was interrupted.
MARK := $(VENV)/.half-made
CUT_OFF := $(wildcard $(MARK))

# $(call install,WHAT): pip with pinned versions, without its warnings about missing wheel folders. The exit status is
# pip's.
install = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt $(1) 2>&1 \
	| { grep -v "WARNING: Location .* is ignored" || true; } >&2

help: ## List the targets (this)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

recommend: $(CORE) ## Install what is missing, write the demo catalogue, train, and publish its lists
	$(BIN)/recsys demo-data $(DEMO) --out "$${RECSYS_DATA:-.}/data/demo"
	$(BIN)/recsys run --config $(CONFIG)

install: $(CORE) ## Install the package into .venv
	@:

install-dev: $(DEV) ## Install the package and everything for tests, notebooks and Airflow into .venv
	@:

# Tests of a file share fixtures that train, so a file is never divided. Files stay in the order of tests/conftest.py,
# the longest first: the default order starts with files of many short tests, and ends with a long one in one process.
# Each process computes in one thread, unless a test sets more: threads of several processes on the same cores wait for
# each other, and most of that in busy loops.
test: $(DEV) ## Run the tests; ARGS="-k word" goes to pytest
	@HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(DEV) ## Check style, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

notebooks: $(DEV) ## Run every notebook on the last training and save its outputs; NOTEBOOKS=notebooks/01_data.py runs one
	@HF_HUB_OFFLINE=1 RECSYS_CONFIG="$(abspath $(CONFIG))" $(BIN)/python tests/notebooks/execution.py $(NOTEBOOKS)

notebook-pairs: $(DEV) ## Sync each notebook with its .py, from the newer of the two
	@$(BIN)/jupytext --sync notebooks/*.py

config-reference: $(CORE) ## Write the reference of all settings into docs/reference/configuration.md
	@$(BIN)/python -m recsys.config.reference docs/reference/configuration.md

cli-reference: $(CORE) ## Write the reference of all commands into docs/reference/cli.md
	@$(BIN)/python -m typer recsys.cli.reference utils docs --name recsys --title Commands --output docs/reference/cli.md

docs: $(DEV) ## Build the pages of docs/ into build/docs; a broken link is an error
	@$(BIN)/sphinx-build --fail-on-warning --keep-going --nitpicky --quiet docs build/docs
	@echo "build/docs/index.html"

constraints: $(DEV) ## Pin the versions of .venv in constraints.txt
	@echo '# Every version that the tests ran with, all extras included. Written by `make constraints`.' > $@.part
	@$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' >> $@.part
	@mv $@.part $@.txt

dist: $(RELEASE) ## Build sdist and wheel with SBOM, licences and release notes in dist/
	@rm -rf dist build
	@$(BIN)/python -m build --no-isolation --outdir dist . > /dev/null
	@$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --of JSON -o dist/sbom.cdx.json $(BIN)/python
	@$(LICENCES) --format=markdown --with-urls --output-file=dist/LICENCES.md > /dev/null
	@awk '/^## /{if (seen++) exit} seen' CHANGELOG.md > dist/RELEASE_NOTES.md
	@ls -l dist

licences: $(RELEASE) ## Check that every installed package has a licence of the allow list
	@$(LICENCES) --ignore-packages $(STATED_IN_A_FILE) --partial-match --allow-only="$$(paste -sd';' .licences-allowed)" > /dev/null
	@echo "All licences are in .licences-allowed"

audit: $(RELEASE) ## Look up known vulnerabilities of the pinned versions (needs the internet)
	@$(BIN)/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt || { \
		echo "pip-audit found vulnerabilities, or could not reach the vulnerability service (see above)." \
			"Nothing was checked if it could not: run 'make audit' with access to the internet." >&2; exit 1; }

clean: ## Remove caches and build products; keep .venv and data
	@rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name $(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

$(CORE): pyproject.toml constraints.txt $(CUT_OFF)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is $$($(PYTHON) --version 2>&1), Python 3.11 or newer is needed;" \
			"name one: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@if [ -n "$(CUT_OFF)" ] || ! $(BIN)/python -c "" 2> /dev/null; then \
		echo "Making $(VENV)$(if $(CUT_OFF), again: the last installation was interrupted)" >&2; \
		mkdir -p $(VENV); touch $(MARK); \
		find $(VENV) -mindepth 1 -maxdepth 1 ! -path $(MARK) -exec rm -rf {} +; \
		$(PYTHON) -m venv $(VENV); \
	fi
	@echo "Installing the package into $(VENV): a few minutes the first time" >&2
	@touch $(MARK)
# PyTorch is installed first, so that no requirement of a later package can select another build.
	@$(call install,torch==2.13.0)
	@$(call install,--editable ".[offline-encoder$(,)report$(,)tune$(,)ab]")
	@touch $@; rm $(MARK)

$(DEV): $(CORE)
	@echo "Installing the tools for tests, notebooks and Airflow into $(VENV)" >&2
	@touch $(MARK)
	@$(call install,--editable ".[offline-encoder$(,)report$(,)tune$(,)ab$(,)export$(,)ray$(,)postgres$(,)excel$(,)delta$(,)dev$(,)docs$(,)notebook$(,)airflow]")
	@touch $@; rm $(MARK)

$(RELEASE): $(CORE)
	@echo "Installing the tools for releases into $(VENV)" >&2
	@touch $(MARK)
	@$(call install,--editable ".[release]")
	@touch $@; rm $(MARK)
