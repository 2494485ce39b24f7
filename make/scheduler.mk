.PHONY: bench-scheduler bench-fragmentation

##@ Benchmarks
bench-scheduler: $(SETUP) ## Scheduler: filter, prioritize and placement at 5,000 nodes × 8 GPUs
	$(PYTHON) -m bench.scheduler

bench-fragmentation: $(SETUP) ## Scheduler: fragmentation after 10,000 arrivals, by first fit, plain binpack, HAMi's rule and unigpu
	$(PYTHON) -m bench.fragmentation
