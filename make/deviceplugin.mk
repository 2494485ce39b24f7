WIRE := deviceplugin/kubelet/wire

.PHONY: proto proto-check

##@ Develop
proto: $(SETUP) ## Generate the node agent's messages from its .proto files
	$(PYTHON) -m grpc_tools.protoc -I. --python_out=. --pyi_out=. $(WIRE)/*.proto

##@ Test
proto-check: $(SETUP) ## Check that the node agent's generated messages are current
	@set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	$(PYTHON) -m grpc_tools.protoc -I. --python_out="$$folder" --pyi_out="$$folder" $(WIRE)/*.proto; \
	for file in "$$folder"/$(WIRE)/*; do \
	  cmp -s "$$file" "$(WIRE)/$${file##*/}" || { echo "$(WIRE)/$${file##*/} is not what its .proto file gives: run 'make proto'"; exit 1; }; \
	done

.PHONY: bench-neighbour bench-lending bench-rest check-live-limits soak-live-limits
bench: bench-lending bench-neighbour bench-rest
soak: soak-live-limits

##@ Benchmarks
bench-neighbour: $(SETUP) ## Node agent and exporter: starts of 20 containers and scrapes, with a hostile container on the node and without
	$(PYTHON) bench/neighbour.py

bench-lending: $(SETUP) ## Node agent: CPU time of the loop that lends idle shares, for 128 containers
	$(PYTHON) bench/lending.py

bench-rest: $(SETUP) ## Node agent and exporter: processor time at rest, for 0, 64, 256 and 1,024 shares
	$(PYTHON) bench/rest.py

##@ One promise, one check
check-live-limits: packages cluster native clients ## Limits changed by annotation on a running numba program: time until they are in force, and refusals
	$(CHECK) tests/cluster/test_live_limits.py

##@ Minutes to hours
soak-live-limits: packages cluster native clients ## check-live-limits with 100 changes down, up and back
	UNIGPU_ROUNDS=100 $(CHECK) tests/cluster/test_live_limits.py
