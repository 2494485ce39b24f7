.PHONY: bench-scheduler bench-fragmentation bench-fleet bench-burst check-fleet soak-fleet

##@ Benchmarks
bench-scheduler: $(SETUP) ## Scheduler: filter, prioritize and placement at 5,000 nodes × 8 GPUs
	$(PYTHON) -m bench.scheduler

bench-fragmentation: $(SETUP) ## Scheduler: fragmentation after 10,000 arrivals, by first fit, plain binpack, HAMi's rule and unigpu
	$(PYTHON) -m bench.fragmentation

FLEET_FIGURES = build/fleet/figures.json
bench-fleet: $(SETUP) kwok ## 10,000 pods on 100, 1,000 and 5,000 played nodes behind a real kube-scheduler, next to the stock scheduler alone; FLEET="--nodes 100 --pods 1000" for less
	$(PYTHON) -m bench.fleet --json $(FLEET_FIGURES) --picture docs/pictures/fleet.svg $(FLEET)

bench-burst: packages cluster native ## 100 pods with shares on one node at once, next to the same pods without GPUs: seconds until all run
	$(PYTHON) bench/burst.py

##@ One promise, one check
check-fleet: $(SETUP) kwok ## 200 pods at once for the last 100 shares; the extender killed at each step of a bind; leader changes; the API server slow, silent, restarted
	$(PYTHON) -m pytest -v tests/fleet

soak: soak-fleet
##@ Minutes to hours
soak-fleet: $(SETUP) kwok ## check-fleet at length: 10 rounds of kills, leader changes every 5 s for 2 minutes, 20 faults of the API server, 500 sequences of events
	UNIGPU_EXAMPLES=500 $(PYTHON) -m pytest -v tests/unit/scheduler/test_fleet_invariants.py
	UNIGPU_SOAK=1 $(PYTHON) -m pytest -v tests/fleet
