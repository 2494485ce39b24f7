# One promise, one command: parts of `make test` that can be run, and read, alone. Each brings up a cluster of its own
# and takes it down.
.PHONY: check-vendors check-allocation check-faults check-modes check-breach check-cluster

CHECK = $(PYTHON) -m pytest -v

##@ One promise, one check
check-vendors: packages cluster native ## Vendors' manifests on a real cluster: what their programs see, and refusals
	$(CHECK) tests/cluster/test_vendors.py

check-allocation: packages cluster native ## 30 random pods at once, 5 rounds: each on the GPUs that its allocation names
	UNIGPU_ROUNDS=5 $(CHECK) tests/cluster/test_exact_allocation.py

check-faults: packages cluster native ## kill -9 of every part while pods come and go
	$(CHECK) tests/cluster/test_faults.py

check-modes: packages cluster native ## The node modes of ack.node.gpu.schedule
	$(CHECK) tests/cluster/test_modes.py

check-breach: packages cluster native ## Strangers and programs that bypass libvgpu: seen, said, counted, ended
	$(CHECK) -s tests/cluster/test_breach.py

check-cluster: packages cluster native ## The local cluster: start, kills, stop, and nothing is left
	$(CHECK) tests/cluster/test_lifecycle.py

.PHONY: bench soak soak-cluster
##@ Benchmarks
bench: bench-scheduler bench-exporter ## All benchmarks, side by side with a peer where there is one
##@ Minutes to hours
soak: soak-cluster ## All long tests: races, churn, kills and fuzzing

soak-cluster: packages cluster native ## check-allocation with 20 rounds
	UNIGPU_ROUNDS=20 $(CHECK) tests/cluster/test_exact_allocation.py

.PHONY: coverage
##@ Test
coverage: $(SETUP) ## Branch coverage of the unit tests: the files that aren't fully covered, the least covered last
	@mkdir -p build
	@$(PYTHON) -m coverage run -m pytest -q tests/unit; status=$$?; $(PYTHON) -m coverage report && exit $$status
