# Benchmarks: the overhead of each part over the bare driver.

.PHONY: bench bench-memory
bench: bench-memory
##@ Benchmarks
bench-memory: native build/bench/memory build/bench/race build/bench/shim.so build/bench/launch/libcuda.so.1 ## Overhead of libvgpu on launches, memory, starts and look-ups, compared with the bare driver and with the least library that could hold a limit
	$(PYTHON) bench/libvgpu/memory.py

build/bench/shim.so: bench/libvgpu/shim.c
	@mkdir -p $(@D)
	@$(CC) $(C_WARNINGS) -O2 -fPIC -shared -I. $< -o $@ -ldl

build/bench/memory: bench/libvgpu/memory.c
	@mkdir -p $(@D)
	@$(CC) $(C_WARNINGS) -O2 -I. $< -o $@ -ldl

VGPU_ACCOUNT := $(addprefix libvgpu/,$(addprefix shared/,account.c slot_txn.c usage_file.c family_file.c process.c) \
  $(addprefix base/,config.c dl.c log.c))
build/bench/race: tests/native/libvgpu/programs/race.c $(VGPU_ACCOUNT)
	@mkdir -p $(@D)
	@$(CC) $(C_WARNINGS) -O2 $(VGPU_MACHINE) -I. $^ -o $@ -ldl

# Compute shares: programs that load a simulated GPU, and what the GPU's own record says of them.
.PHONY: bench-compute bench-compute-programs bench-launch soak-compute check-compute
BENCH_COMPUTE := $(addprefix build/bench/compute/,client gpu_time_sampler)

bench: bench-launch bench-compute
bench-compute-programs: $(BENCH_COMPUTE)

bench-compute: native $(BENCH_COMPUTE) ## Compute shares, waits and lending, judged by the simulated GPU's own record of GPU time
	$(PYTHON) -m bench.compute

##@ Minutes to hours
soak-compute: native $(BENCH_COMPUTE) ## bench-compute with every cell of the matrix: more than an hour
	$(PYTHON) -m bench.compute --full

##@ One promise, one check
check-compute: native $(BENCH_COMPUTE) ## A container gets its share of GPU time and no more, however it launches kernels
	$(NATIVE_CHECK) tests/native/compute

build/bench/compute/client: $(wildcard bench/compute/*.h) bench/compute/client.c bench/compute/work.c bench/compute/waits.c
	@mkdir -p $(@D)
	@$(CC) $(C_WARNINGS) -O2 -I. $(filter %.c,$^) -o $@ -pthread -ldl

build/bench/compute/gpu_time_sampler: bench/compute/gpu_time_sampler.c $(patsubst %.c,build/simulator/%.o,$(wildcard simulator/state/*.c))
	@mkdir -p $(@D)
	@$(CC) $(C_WARNINGS) -O2 -I. $^ -o $@ -pthread

##@ Benchmarks
bench-launch: native build/bench/launch/launch build/bench/launch/libcuda.so.1 ## Overhead of libvgpu on a kernel launch, for one process and four
	$(PYTHON) -m bench.launch

build/bench/launch/launch: bench/launch/launch.c
	@mkdir -p $(@D)
	@$(CC) $(C_WARNINGS) -O2 -I. $< -o $@ -ldl

build/bench/launch/libcuda.so.1: bench/launch/stub.c bench/launch/stub_rest.c $(wildcard abi/*)
	@mkdir -p $(@D)
	@$(CC) $(C_WARNINGS) -O2 -fPIC -shared -I. -Wl,-Bsymbolic -Wl,-soname,libcuda.so.1 $(filter %.c,$^) -o $@

.PHONY: bench-simulator
##@ Benchmarks
bench-simulator: simulator build/bench/simulator-cost ## Host time of calls on the simulator; BEFORE=DIR: beside another checkout's build
	$(PYTHON) bench/simulator/cost.py $(BEFORE)

build/bench/simulator-cost: bench/simulator/cost.c
	@mkdir -p $(@D)
	@$(CC) $(C_WARNINGS) -O2 -I. $< -o $@ -ldl
