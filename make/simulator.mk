# The simulated GPU driver: two libraries that programs load as the driver, and one for the command unigpu-sim.
SIM := build/simulator
SIM_CFLAGS := $(C_WARNINGS) -O2 -g -fPIC -fvisibility=hidden -pthread -I. -MMD -MP
# An interposed library must not catch the driver's calls to itself, and nothing may unload what threads still run in.
SIM_LDFLAGS := -shared -pthread -Wl,-Bsymbolic -Wl,-z,defs -Wl,-z,now -Wl,-z,relro -Wl,-z,nodelete \
  -Wl,-z,nodynamic-undefined-weak
SIM_STATE := $(patsubst %.c,$(SIM)/%.o,$(wildcard simulator/state/*.c))
SIM_CUDA := $(patsubst %.c,$(SIM)/%.o,$(wildcard simulator/cuda/*/*.c))
SIM_NVML := $(patsubst %.c,$(SIM)/%.o,$(wildcard simulator/nvml/*.c))
SIM_ADMIN := $(patsubst %.c,$(SIM)/%.o,$(wildcard simulator/admin/*.c))

.PHONY: simulator
##@ Develop
simulator: $(SIM)/libcuda.so.1 $(SIM)/libnvidia-ml.so.1 $(SIM)/libunigpu-sim.so ## Build the simulated GPU driver (libcuda, NVML)

$(SIM)/%.o: %.c make/simulator.mk
	@mkdir -p $(@D)
	$(CC) $(SIM_CFLAGS) -c $< -o $@

$(SIM)/libcuda.so.1: $(SIM_STATE) $(SIM_CUDA)
	$(CC) $(SIM_LDFLAGS) -Wl,-soname,libcuda.so.1 $^ -o $@.new && mv $@.new $@

$(SIM)/libnvidia-ml.so.1: $(SIM_STATE) $(SIM_NVML)
	$(CC) $(SIM_LDFLAGS) -Wl,-soname,libnvidia-ml.so.1 $^ -o $@.new && mv $@.new $@

$(SIM)/libunigpu-sim.so: $(SIM_STATE) $(SIM_ADMIN)
	$(CC) $(SIM_LDFLAGS) -Wl,-soname,libunigpu-sim.so $^ -o $@.new && mv $@.new $@

-include $(SIM_STATE:.o=.d) $(SIM_CUDA:.o=.d) $(SIM_NVML:.o=.d) $(SIM_ADMIN:.o=.d)

# Also for a machine with a GPU and nothing but Python: no environment of ours, no simulator.
.PHONY: gpu-check
##@ One promise, one check
gpu-check: ## On a machine with a GPU: does its driver do what the project believes? One line a step, JSON in build/
	@mkdir -p build
	python3 -m gpucheck --json build/gpu-check.json

# The same driver with a sanitizer in it, for the tests.
SIM_SANITIZED := $(foreach kind,address undefined,$(addprefix build/sanitize/simulator/$(kind)/,libcuda.so.1 libnvidia-ml.so.1))
SIM_SANITIZE = $(CC) $(C_WARNINGS) -O1 -g -fPIC -fvisibility=hidden -pthread -I. -fsanitize=$* \
  -fno-sanitize-recover=undefined -shared -Wl,-Bsymbolic -Wl,-z,nodelete -Wl,-z,nodynamic-undefined-weak \
  -Wl,-soname,$(@F) $(filter %.c,$^) -o $@.new && mv $@.new $@

.PHONY: simulator-sanitized
simulator-sanitized: $(SIM_SANITIZED)

build/sanitize/simulator/%/libcuda.so.1: $(wildcard simulator/state/*.[ch] simulator/cuda/*/*.[ch] abi/*)
	@mkdir -p $(@D)
	$(SIM_SANITIZE)

build/sanitize/simulator/%/libnvidia-ml.so.1: $(wildcard simulator/state/*.[ch] simulator/nvml/*.[ch] abi/*)
	@mkdir -p $(@D)
	$(SIM_SANITIZE)

# Programs of other people that the tests run on the simulated driver, in folders of their own: Python ones, and
# Debian's nvidia-smi and nvtop, fetched with apt settings of our own so that the system's sources stay as they are.
CLIENTS := build/clients
NONFREE := -o Dir::Etc::sourcelist=$(CURDIR)/$(CLIENTS)/apt/sources.list -o Dir::Etc::sourceparts=/dev/null \
  -o Dir::State::lists=$(CURDIR)/$(CLIENTS)/apt/lists -o Dir::Cache=$(CURDIR)/$(CLIENTS)/apt/cache \
  -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
# The mirror that the system itself uses.
MIRROR = $$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | grep -oE 'https?://[^ ]+/debian/?( |$$)' | head -n 1)

.PHONY: clients
##@ Test
clients: $(CLIENTS)/python/.ready $(CLIENTS)/debian/.ready ## Fetch other people's GPU programs, for tests on the simulated driver

$(CLIENTS)/python/.ready: tests/native/simulator/clients.lock
	python3 -m venv $(CLIENTS)/python
	$(CLIENTS)/python/bin/pip install --quiet --require-hashes -r $<
	touch $@

$(CLIENTS)/debian/.ready:
	mkdir -p $(CLIENTS)/apt/lists/partial $(CLIENTS)/apt/cache/archives/partial $(CLIENTS)/debian
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(MIRROR) bookworm contrib non-free" \
	  > $(CLIENTS)/apt/sources.list
	apt-get -qq $(NONFREE) update
	cd $(CLIENTS)/apt && apt-get -qq $(NONFREE) download nvidia-smi nvtop
	for package in $(CLIENTS)/apt/*.deb; do dpkg-deb -x $$package $(CLIENTS)/debian; done
	touch $@
