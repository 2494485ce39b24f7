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
gpu-check: ## On a machine with a GPU: does its driver do what the project believes? One line a step, JSON in build/ (PART=a, b or c)
	@mkdir -p build
	@status=0; for part in $(or $(PART),a b c); do \
	  python3 -m gpucheck --part $$part --json build/gpu-check-$$part.json || status=1; done; exit $$status

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

.PHONY: soak-simulator
soak: soak-simulator
##@ Minutes to hours
soak-simulator: simulator simulator-sanitized clients ## Eight processes make random calls on four simulated GPUs under the sanitizers, ten minutes each
	UNIGPU_SOAK_SECONDS=600 .venv/bin/pytest -q tests/native/simulator/test_soak.py

# Programs of other people that the tests run on the simulated driver, in folders of their own: Python ones, and
# Debian's nvidia-smi and nvtop, fetched with apt settings of our own so that the system's sources stay as they are.
CLIENTS := build/clients
APT = $(CURDIR)/$(CLIENTS)/$(1)
NONFREE = -o Dir::Etc::sourcelist=$(APT)/sources.list -o Dir::Etc::sourceparts=/dev/null \
  -o Dir::State::lists=$(APT)/lists -o Dir::Cache=$(APT)/cache \
  -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
# The mirror that the system itself uses.
MIRROR = $$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | grep -oE 'https?://[^ ]+/debian/?( |$$)' | head -n 1)

.PHONY: clients
##@ Test
clients: $(addprefix $(CLIENTS)/,$(addsuffix /.ready,python debian debian-trixie debian-experimental)) ## Fetch other people's GPU programs, for tests on the simulated driver

$(CLIENTS)/python/.ready: tests/native/simulator/clients.lock
	python3 -m venv $(CLIENTS)/python
	$(CLIENTS)/python/bin/pip install --quiet --require-hashes -r $<
	touch $@

# Fetches packages of a suite: $(1) is the folder for apt, $(2) the suite, $(3) the packages.
define fetch_debian
	mkdir -p $(APT)/lists/partial $(APT)/cache/archives/partial $(@D)
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(MIRROR) $(2) contrib non-free" \
	  > $(APT)/sources.list
	apt-get -qq $(NONFREE) update
	cd $(APT) && apt-get -qq $(NONFREE) download $(3)
	for package in $(APT)/*.deb; do dpkg-deb -x $$package $(@D); done
	touch $@
endef

$(CLIENTS)/debian/.ready: # driver branch 535
	$(call fetch_debian,apt,bookworm,nvidia-smi nvtop)

$(CLIENTS)/debian-%/.ready: # 550 in trixie, 555 in experimental
	$(call fetch_debian,apt-$*,$*,nvidia-smi)

# NVIDIA's tests, and other people's, from packages that ship them; TESTS names a git checkout that has the others.
NVIDIA_TESTS = $(if $(TESTS),--tests $(TESTS)) $(if $(ONLY),--only "$(ONLY)")

.PHONY: check-nvidia-tests check-nvidia-tests-limited
##@ One promise, one check
check-nvidia-tests: $(SETUP) simulator ## NVIDIA's own tests on the simulated driver, failures by cause; TESTS=DIR: a checkout with more of them
	@mkdir -p build
	$(PYTHON) -m tests.native.nvidia --json build/nvidia-tests.json $(NVIDIA_TESTS)

check-nvidia-tests-limited: $(SETUP) native ## The same without libvgpu and with it at half of a GPU and of its time: the outcomes that differ
	@mkdir -p build
	$(PYTHON) -m tests.native.nvidia --libvgpu --json build/nvidia-tests.json $(NVIDIA_TESTS)
