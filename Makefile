# `make help` is the index. Parts keep their targets in make/*.mk.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
PYTHON := .venv/bin/python
SETUP := .venv/.ready
# One dialect and one set of warnings for everything in C; warnings are errors.
C_WARNINGS := -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-declarations \
  -Wmissing-prototypes -Wpointer-arith -Wundef -Wvla
C_FILES = $(filter-out libvgpu/base/names.h,$(shell git ls-files '*.c' '*.h'))

HELP_GROUPS := Start here|Develop|Test|Local cluster|Benchmarks|Release|One promise, one check|Minutes to hours

.PHONY: help setup lock fmt lint test test-unit demo metrics packages

##@ Start here
help: ## Show this list
	@if [ -t 1 ] && [ -z "$$NO_COLOR" ]; then bold=$$(printf '\033[1m'); plain=$$(printf '\033[0m'); fi; \
	awk -v order='$(HELP_GROUPS)' -v bold="$$bold" -v plain="$$plain" -f make/help.awk Makefile $(sort $(wildcard make/*.mk))

setup: $(SETUP) ## Create the Python environment in .venv, with kubectl-unigpu and unigpu-sim

$(SETUP): requirements-dev.lock pyproject.toml
	@test -e $@ || rm -rf .venv  # what a stopped or another Python's set-up left
	python3 -m venv .venv
	.venv/bin/pip install --quiet --require-hashes -r requirements-dev.lock
	.venv/bin/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

##@ Release
lock: $(SETUP) ## Pin the dependencies that pyproject.toml names
	.venv/bin/uv pip compile -q --generate-hashes --no-emit-index-url --no-header --all-extras pyproject.toml -o requirements-dev.lock
	.venv/bin/uv pip compile -q --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements.lock
	.venv/bin/uv pip compile -q --generate-hashes --no-emit-index-url --no-header docsite/requirements.in -o docsite/requirements.lock

##@ Develop
fmt: $(SETUP) ## Format every Python and C file
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .
	@.venv/bin/clang-format -i $(C_FILES)

lint: $(SETUP) ## Check formatting, lint, strict types, import and include order, retired words and spelling
	.venv/bin/ruff format --check .
	@.venv/bin/clang-format --dry-run --Werror $(C_FILES)
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	$(PYTHON) -m lint.include_order
	$(PYTHON) -m lint.retired
	.venv/bin/codespell

##@ Test
# Each process imports everything again, so more of them save little.
UNIT_TEST_PROCESSES ?= 2

packages: ## Install the Debian packages that the cluster and the tests need
	@python3 -m demo.packages --tests

test-unit: $(SETUP) ## Unit tests: two minutes, without root, Go or a cluster
	$(PYTHON) -m pytest -q -n $(UNIT_TEST_PROCESSES) tests/unit

# One process has the cluster's tests, which mostly wait; the others share the rest. All that they use is built before.
TEST_PROCESSES ?= 3

test: packages lint cluster kwok native simulator-sanitized clients axe bench-compute-programs ## Everything: unit, integration, native, chart and cluster tests
	$(PYTHON) -m pytest -n $(TEST_PROCESSES) --no-loadscope-reorder --durations=15

include make/*.mk

##@ Start here
demo: ## Build a local cluster with simulated GPUs, run vendors' pods on it, and show what each got
	@python3 -m demo

##@ Local cluster
metrics: $(SETUP) ## Print the metrics that Prometheus would scrape from the demo's cluster
	@$(PYTHON) -m demo.walkthrough build/logs/demo/plan.json metrics
