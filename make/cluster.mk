# The local cluster. NAME, NODES, GPUS, PROFILE and KUBERNETES choose another one: `make up NAME=mine GPUS=0`.
CLUSTER_NAME = $(if $(NAME),--name $(NAME))
CLUSTER_VERSION = $(if $(KUBERNETES),--kubernetes $(KUBERNETES))
CLUSTER_SIZE = $(if $(NODES),--nodes $(NODES)) $(if $(GPUS),--gpus $(GPUS)) $(if $(PROFILE),--profile $(PROFILE)) \
  $(CLUSTER_VERSION)

.PHONY: cluster up down images status doctor

##@ Local cluster
cluster: ## Build Kubernetes, etcd, Helm and containerd from source into build/bin (KUBERNETES=1.29: and an older one)
	@python3 -m cluster build $(CLUSTER_VERSION)

.PHONY: kwok
kwok: ## Build kwok from source into build/bin: it plays the nodes of bench-fleet and check-fleet
	@python3 -m cluster build --kwok

up: $(SETUP) cluster $(if $(filter 0,$(GPUS)),,simulator) ## Start the local cluster, or repair it (NAME=, NODES=, GPUS=, PROFILE=, KUBERNETES=)
	@$(PYTHON) -m cluster up $(CLUSTER_NAME) $(CLUSTER_SIZE)

down: $(SETUP) ## Stop the local cluster and remove every trace of it (NAME=)
	@$(PYTHON) -m cluster down $(CLUSTER_NAME)

status: $(SETUP) ## Show which parts of the local cluster run (NAME=)
	@$(PYTHON) -m cluster status $(CLUSTER_NAME)

images: $(SETUP) cluster build/lib/libvgpu.so build/probe/probe ## Build the missing images and load them into the local cluster (NAME=)
	@$(PYTHON) -m cluster images $(CLUSTER_NAME)

##@ Start here
doctor: ## Check whether this machine can run the local cluster
	@$(if $(wildcard $(PYTHON)),$(PYTHON),python3) -m cluster doctor $(CLUSTER_NAME) $(CLUSTER_SIZE)

.PHONY: check-kueue
##@ One promise, one check
check-kueue: $(SETUP) ## The transformations of examples/kueue, read, validated and computed by Kueue's own code (built in a minute or two)
	@python3 -m cluster build --kueue
	$(CHECK) tests/integration/docs/test_kueue_counts.py tests/unit/docs/test_kueue.py
