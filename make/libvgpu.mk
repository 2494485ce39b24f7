# libvgpu, the library that every process of a managed container is started with, and the demo's GPU program.
.PHONY: native headers headers-check test-libvgpu

VGPU_SOURCES := $(wildcard libvgpu/*/*.c) libvgpu/interpose/dlsym.S
VGPU_HEADERS := $(wildcard libvgpu/*/*.h) $(wildcard abi/*)
VGPU_OBJECTS := $(patsubst libvgpu/%,build/libvgpu/%.o,$(VGPU_SOURCES))
VGPU_MACHINE := $(if $(filter x86_64,$(shell uname -m)),-mcx16)
VGPU_FLAGS := -O2 -g -fPIC -fvisibility=hidden -ftls-model=initial-exec -I. $(VGPU_MACHINE)
# Threads of programs may have the smallest stacks that libc allows.
VGPU_FRAMES := -Wframe-larger-than=1024
# Lazy binding and no libdl: what a program on an old libc never calls, it need not have. Our table of hooks names our
# own functions, also where another library of the same symbols was loaded first.
VGPU_LINK := -shared -Wl,-Bsymbolic -Wl,-soname,libvgpu.so -Wl,-z,defs -Wl,-z,lazy -Wl,-z,relro -Wl,-z,nodelete \
  -Wl,--no-undefined-version -Wl,--as-needed

# The same library with a sanitizer in it, for the tests.
VGPU_SANITIZERS := address thread undefined
VGPU_SANITIZED := $(VGPU_SANITIZERS:%=build/sanitize/%/libvgpu.so)

##@ Develop
native: simulator build/lib/libvgpu.so build/probe/probe $(VGPU_SANITIZED) ## Build libvgpu, the simulated driver and the demo's GPU program

build/libvgpu/%.o: libvgpu/% $(VGPU_HEADERS) make/libvgpu.mk
	@mkdir -p $(@D)
	@$(CC) $(C_WARNINGS) $(VGPU_FLAGS) $(VGPU_FRAMES) -c $< -o $@

build/sanitize/%/libvgpu.so: $(VGPU_SOURCES) $(VGPU_HEADERS) build/libvgpu/exports.map make/libvgpu.mk
	@mkdir -p $(@D)
	@$(CC) $(C_WARNINGS) $(VGPU_FLAGS) -fsanitize=$* -fno-sanitize-recover=undefined -Wno-tsan -shared -Wl,-z,lazy \
	  -Wl,--version-script=build/libvgpu/exports.map $(VGPU_SOURCES) -o $@

build/libvgpu/exports.map: libvgpu/interpose/exports.map.in abi/symbols.def abi/nvml_symbols.def
	@mkdir -p $(@D)
	@$(CC) -E -P -x c -I. $< -o $@

build/lib/libvgpu.so: $(VGPU_OBJECTS) build/libvgpu/exports.map
	@mkdir -p $(@D)
	@$(CC) $(VGPU_LINK) -Wl,--version-script=build/libvgpu/exports.map $(VGPU_OBJECTS) -o $@

build/probe/probe: $(wildcard examples/probe/*.c examples/probe/*.h)
	@mkdir -p $(@D)
	@$(CC) $(C_WARNINGS) -O2 $(filter %.c,$^) -o $@ -ldl

headers: $(SETUP) ## Generate libvgpu's base/names.h from unigpu/names.py
	$(PYTHON) -m libvgpu.headers

##@ Test
headers-check: $(SETUP) ## Check that libvgpu's base/names.h is current
	$(PYTHON) -m libvgpu.headers --check

# What the tests compile their own programs with.
.PHONY: c-warnings
c-warnings:
	@echo $(C_WARNINGS)

test-libvgpu: native ## Tests of libvgpu against the simulated driver
	.venv/bin/pytest -q tests/native/libvgpu

.PHONY: soak soak-libvgpu soak-stress
soak: soak-libvgpu soak-stress
##@ Minutes to hours
soak-libvgpu: native ## Kills after every instruction, a million rounds of 16 processes, 1,000 forks
	UNIGPU_SOAK=1 .venv/bin/pytest -q tests/native/libvgpu/test_kills.py tests/native/libvgpu/test_forks.py

soak-stress: native ## 100,000 captures in each mode and 10,000 graph launches, beside threads that launch, allocate, ask and end contexts
	UNIGPU_SOAK=1 .venv/bin/pytest -q -s tests/native/libvgpu/test_stress.py tests/native/libvgpu/test_blocking.py
