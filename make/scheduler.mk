.PHONY: bench-scheduler

##@ Benchmarks
bench-scheduler: $(SETUP) ## Scheduler: filter, prioritize and placement at 5,000 nodes × 8 GPUs
	$(PYTHON) -m bench.scheduler
