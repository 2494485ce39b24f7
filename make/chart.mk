# The one that `make cluster` builds, or else the machine's own.
HELM = $(or $(wildcard build/bin/helm),$(shell command -v helm),$(error no helm: install it, or build it with 'make cluster'))

.PHONY: chart chart-check

##@ Develop
chart: $(SETUP) ## Generate the chart's parts and reference, and lint the chart
	$(PYTHON) helm/generate.py
	$(PYTHON) helm/dashboards.py
	$(HELM) lint --strict helm/unigpu
	$(HELM) lint --strict helm/unigpu --values tests/chart/every-option.yaml

##@ Test
chart-check: $(SETUP) ## Check that the chart's generated parts, boards and reference are current
	$(PYTHON) helm/generate.py --check
	$(PYTHON) helm/dashboards.py --check

.PHONY: version
##@ Release
version: $(SETUP) ## Copy the version of pyproject.toml into Chart.yaml and the docs; chart-check verifies it
	$(PYTHON) helm/generate.py
