.PHONY: bench-exporter

##@ Benchmarks
bench-exporter: $(SETUP) ## Exporter: duration of a scrape, for 128 and 1,024 shares
	$(PYTHON) bench/exporter.py

.PHONY: check-prometheus
##@ One promise, one check
check-prometheus: packages native bench-compute-programs ## The real Prometheus over 10 minutes of churn and kills: series, sums, counters; the cost report
	UNIGPU_SECONDS=600 $(CHECK) -s tests/prometheus
