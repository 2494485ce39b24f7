.PHONY: bench-exporter

##@ Benchmarks
bench-exporter: $(SETUP) ## Exporter: duration of a scrape, for 128 and 16,000 shares
	$(PYTHON) bench/exporter.py
