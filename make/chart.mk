HELM := build/bin/helm

.PHONY: chart chart-check

chart: $(SETUP) ## Chart: write its generated parts and reference, and lint it
	$(PYTHON) helm/generate.py
	$(HELM) lint --strict helm/unigpu
	$(HELM) lint --strict helm/unigpu --values tests/chart/every-option.yaml

chart-check: $(SETUP) ## Chart: are the generated parts and the reference current?
	$(PYTHON) helm/generate.py --check
