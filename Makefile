# Needs make and Python >= 3.11; everything else is installed into .venv from requirements.lock.

# The first of these that will do is used; PYTHON=/path/to/python names one.
PYTHON ?= python3 python3.13 python3.12 python3.11
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.DEFAULT_GOAL := help
.PHONY: help install up test test-slow schedules check bench lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

install: $(VENV)/installed ## Set up .venv (up, test, test-slow, check and bench do this first)

up: install ## Start everything on embedded stores and run the demo; Ctrl-C stops it
	@exec $(BIN)/astrocore up --demo

# Three at once on two cores: there is always one that waits for its stores.
test: install ## Run the tests; ARGS="-k name" is passed on to pytest
	@echo "Testing (make test-slow runs the slow tests)"
	@$(BIN)/pytest -n 3 --dist worksteal --ignore=tests/stories --ignore=tests/e2e $(ARGS) || [ $$? -eq 5 ]
	@$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder tests/stories tests/e2e $(ARGS) || [ $$? -eq 5 ]

test-slow: install ## Run the slow tests: faults, schedules, timing
	@echo "Testing what is slow: faults, schedules, timing"
	@exec $(BIN)/pytest -m slow $(ARGS)

schedules: install ## Replay schedules of writes, crashes and repairs: SCHEDULES=100000 SEED=1
	@exec env SCHEDULES=$(or $(SCHEDULES),10000) SEED=$(or $(SEED),1) \
	    $(BIN)/pytest -m slow -s tests/app/reconciliation/model/test_schedules.py

check: install ## Lint, check formatting, types, import rules, docker-compose.yml and the lock files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(BIN)/python .ci/check_locks.py

bench: install .venv-benchmarks/installed ## Run every benchmark
	@exec $(BIN)/python -m benchmarks all

# What the benchmarks compare with is no part of the product: it has an environment and a lock file of its own.
.venv-benchmarks/installed: requirements-benchmarks.lock $(VENV)/locked
	@echo "Installing what the benchmarks compare with into .venv-benchmarks (a few seconds)"
	@rm -rf .venv-benchmarks; $(BIN)/python -m venv .venv-benchmarks
	@.venv-benchmarks/bin/python -m pip install -qq --require-hashes --no-deps --only-binary :all: -r $<
	@touch $@

define CHECK_PYTHON
import sys
if sys.version_info < (3, 11):
    sys.exit("Python %d.%d, older than 3.11" % sys.version_info[:2])
import importlib.util
if importlib.util.find_spec("ensurepip") is None:
    sys.exit("has no ensurepip (on Debian and Ubuntu: apt-get install python3-venv)")
endef
export CHECK_PYTHON

# The stamp is written last, so an interrupted installation is done again from the start. What make did not
# make it does not delete: a .venv without made-by-make is somebody's own.
$(VENV)/locked: requirements.lock
	@if [ -e $(VENV) ] && [ ! -e $(VENV)/made-by-make ]; then \
	    echo "$(VENV) was not made by make install. Move it away and try again." >&2; exit 1; fi
	@set -e; start=$$(date +%s); found=; faults=; \
	for python in $(PYTHON); do \
	    if ! command -v $$python >/dev/null; then fault="not found"; \
	    elif fault=$$($$python -c "$$CHECK_PYTHON" 2>&1); then found=$$python; break; fi; \
	    faults="$$faults  $$python: $$fault\n"; \
	done; \
	if [ -z "$$found" ]; then \
	    printf "No suitable Python:\n$$faults" >&2; \
	    echo "Install Python 3.11 or newer, with venv, or name one: make install PYTHON=/path/to/python3" >&2; \
	    exit 1; \
	fi; \
	echo "Installing into $(VENV) with $$($$found --version): what requirements.lock pins (about a minute)"; \
	rm -rf $(VENV); mkdir $(VENV); touch $(VENV)/made-by-make; \
	$$found -m venv $(VENV); \
	$(BIN)/python -m pip install -qq --require-hashes --no-deps --only-binary :all: -r requirements.lock; \
	touch $@; echo "Installed in $$(($$(date +%s) - start)) s"

$(VENV)/installed: $(VENV)/locked pyproject.toml
	@echo "Installing astrobookings-core itself, in place (a few seconds)"
	@$(BIN)/python -m pip install -qq --no-deps --no-build-isolation -e .
	@touch $@

RESOLVE := uv pip compile -q --universal --python-version 3.11 --prerelease if-necessary-or-explicit \
    --generate-hashes --no-emit-index-url --no-emit-find-links --no-header

lock: install ## Resolve the lock files anew (needs a package index); UPGRADE=--upgrade takes newer versions
	@set -e; tools=$$(mktemp -d); trap 'rm -rf "$$tools"' EXIT; \
	echo "Resolving with uv $(UV_VERSION)"; \
	$(BIN)/python -m venv "$$tools"; "$$tools/bin/pip" install -qq uv==$(UV_VERSION); \
	"$$tools/bin/"$(RESOLVE) $(UPGRADE) --all-extras --group dev -o requirements.lock pyproject.toml; \
	echo hatchling | "$$tools/bin/"$(RESOLVE) --no-annotate -c requirements.lock -o requirements-production.lock pyproject.toml -; \
	"$$tools/bin/"$(RESOLVE) $(UPGRADE) --group benchmarks -o requirements-benchmarks.lock
	@$(BIN)/python .ci/check_locks.py

# `astrocore up` holds a lock on .astrocore/lock for as long as anything of it runs.
define CHECK_STOPPED
import fcntl
with open(".astrocore/lock", "r+") as file:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
endef
export CHECK_STOPPED

clean: ## Remove .venv, caches and the embedded stores' data, unless a system is running
	@set -e; for python in $(BIN)/python $(PYTHON); do command -v $$python >/dev/null && break; done; \
	if [ -e .astrocore/lock ] && ! $$python -c "$$CHECK_STOPPED" 2>/dev/null; then \
	    echo "A system is running on .astrocore; stop it first." >&2; exit 1; fi
	@if [ -e $(VENV) ] && [ ! -e $(VENV)/made-by-make ]; then \
	    echo "$(VENV) was not made by make install and stays."; else rm -rf $(VENV); fi
	rm -rf .venv-benchmarks .astrocore .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
