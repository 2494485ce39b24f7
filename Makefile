# `make help` is the index. Parts keep their targets in make/*.mk.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
PYTHON := .venv/bin/python
SETUP := .venv/.ready

.PHONY: help setup lock lint test demo clean

help: ## Show this list
	@grep -hE '^[a-zA-Z0-9_.-]+:.*## ' Makefile make/*.mk | sort \
	  | awk -F':.*## ' '{printf "  \033[1m%-22s\033[0m %s\n", $$1, $$2}'

setup: $(SETUP) ## Python environment in .venv, with kubectl-unigpu and unigpu-sim

$(SETUP): requirements-dev.lock pyproject.toml
	python3 -m venv .venv
	.venv/bin/pip install --quiet --require-hashes -r requirements-dev.lock
	.venv/bin/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

lock: $(SETUP) ## Pin the dependencies of pyproject.toml anew
	.venv/bin/uv pip compile -q --generate-hashes --no-emit-index-url --no-header --all-extras pyproject.toml -o requirements-dev.lock
	.venv/bin/uv pip compile -q --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements.lock

lint: $(SETUP) ## Formatting, lint, strict types, import rules
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

include make/*.mk
