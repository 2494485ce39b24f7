# One promise, one command: parts of `make test` that can be run, and read, alone. Each brings up a cluster of its own
# and takes it down.
.PHONY: check-vendors check-allocation check-faults check-modes check-room check-breach check-escapes check-away check-driver-wall \
  check-own-words check-second-plugin check-pods-compute check-cluster

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

check-room: packages cluster native ## Room on a GPU: preemption with budgets, two urgent pods at once, drain that is blocked and interrupted
	$(CHECK) -s tests/cluster/test_room.py tests/cluster/test_shrinking.py

check-breach: packages cluster native ## Strangers and programs that bypass libvgpu: seen, said, counted, ended
	$(CHECK) -s tests/cluster/test_breach.py

check-escapes: packages cluster native ## Ways past a limit from inside a container: prevented, or noticed
	$(CHECK) -s tests/cluster/test_escapes.py tests/cluster/test_breach.py

check-away: packages cluster native ## API server stopped while GPU containers restart; the agent leaves a node whose driver is upgraded
	$(CHECK) -s tests/cluster/test_away.py

check-driver-wall: packages cluster native ## The driver's own memory limits (R615): programs that bypass libvgpu are held
	$(CHECK) -s tests/cluster/test_driver_wall.py

check-own-words: packages cluster native ## Quotas, limit ranges and copies of pods by vendors' resources, in every form of every dialect
	UNIGPU_SOAK=1 $(CHECK) -s tests/cluster/test_own_words.py

check-second-plugin: packages cluster native ## NVIDIA's resource offered by another device plugin: no container gets a GPU of both
	UNIGPU_SOAK=1 $(CHECK) -s tests/cluster/test_second_plugin.py

check-pods-compute: packages cluster native bench-compute-programs ## Shares of GPU time of pods on one GPU, 30/70 and 10/20/30/40 %, 1 to 8 streams: each within 1 point
	UNIGPU_SOAK=1 $(CHECK) -s tests/cluster/test_compute_pods.py

check-cluster: packages cluster native ## The local cluster: start, kills, stop, and nothing is left
	$(CHECK) tests/cluster/test_lifecycle.py

.PHONY: bench soak soak-cluster
##@ Benchmarks
bench: bench-scheduler bench-exporter ## All benchmarks, side by side with a peer where there is one
##@ Minutes to hours
soak: soak-cluster ## All long tests: races, churn, kills and fuzzing

soak-cluster: packages cluster native ## check-allocation with 20 rounds
	UNIGPU_ROUNDS=20 $(CHECK) tests/cluster/test_exact_allocation.py

# `make check-versions VERSIONS=1.29 ON=tests/cluster/test_operator.py` is one version and one file.
VERSIONS := 1.29 1.32
ON := tests/cluster tests/chart/test_effects.py

.PHONY: check-package check-readme check-versions
##@ One promise, one check
check-package: packages cluster native ## Upgrade, rollback, uninstall and reinstall while a pod runs; a namespace goes back to its old system and moves in again
	UNIGPU_SOAK=1 $(CHECK) tests/cluster/test_package.py tests/cluster/test_operator.py

check-readme: packages cluster ## README's commands, copied from the page: `make demo` in a fresh checkout, all others on its cluster and on one without GPUs
	UNIGPU_SOAK=1 $(CHECK) tests/unit/docs/test_readme.py tests/cluster/test_readme.py

##@ Minutes to hours
check-versions: packages cluster native clients bench-compute-programs ## The cluster's tests, and each value of the chart, on older Kubernetes (VERSIONS=, ON=)
	@status=0; for version in $(VERSIONS); do \
	  python3 -m cluster build --kubernetes $$version && UNIGPU_KUBERNETES=$$version $(CHECK) $(ON) || status=1; \
	done; exit $$status

.PHONY: coverage
##@ Test
coverage: $(SETUP) ## Branch coverage of the unit tests: the files that aren't fully covered, the least covered last
	@mkdir -p build
	@$(PYTHON) -m coverage run -m pytest -q tests/unit; status=$$?; $(PYTHON) -m coverage report && exit $$status

.PHONY: check-alerts
##@ One promise, one check
check-alerts: packages cluster native bench-compute-programs ## Alerts provoked on a cluster: each fires in time and ends with its cause; boards drawn, each panel with data
	UNIGPU_SOAK=1 $(CHECK) tests/cluster/test_alerts.py tests/cluster/test_boards.py
