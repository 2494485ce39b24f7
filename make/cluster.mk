# The local cluster. NAME, NODES, GPUS and PROFILE choose another one: `make up NAME=mine GPUS=0`.
NAME ?= unigpu
NODES ?= 1
GPUS ?= 4
PROFILE ?= rtx4090
CLUSTER_SIZE = --nodes $(NODES) --gpus $(GPUS) --profile $(PROFILE)

.PHONY: cluster up down images status doctor

cluster: ## Kubernetes, etcd, Helm and containerd from source, into build/bin
	@python3 -m cluster build

up: $(SETUP) cluster $(if $(filter-out 0,$(GPUS)),native) ## Start the local cluster, or repair it (NAME=, NODES=, GPUS=, PROFILE=)
	@$(PYTHON) -m cluster up --name $(NAME) $(CLUSTER_SIZE)

down: $(SETUP) ## End the local cluster and remove every trace of it
	@$(PYTHON) -m cluster down --name $(NAME)

status: $(SETUP) ## Say what runs of the local cluster
	@$(PYTHON) -m cluster status --name $(NAME)

images: $(SETUP) cluster native ## Make the images that are missing and load them into the local cluster
	@$(PYTHON) -m cluster images --name $(NAME)

doctor: $(SETUP) ## Say what keeps this machine from carrying the local cluster
	@$(PYTHON) -m cluster doctor --name $(NAME) $(CLUSTER_SIZE)
