# Benchmarks: what a part adds, beside the bare ground.

.PHONY: bench bench-memory
bench: bench-memory
bench-memory: native build/bench/memory build/bench/race ## What libvgpu adds to memory calls, beside the bare driver
	$(PYTHON) bench/libvgpu/memory.py

build/bench/memory: bench/libvgpu/memory.c
	@mkdir -p $(@D)
	@$(CC) $(VGPU_WARNINGS) -O2 -D_GNU_SOURCE -I. $< -o $@ -ldl

VGPU_ACCOUNT := $(addprefix libvgpu/,account.c change.c usage_file.c process.c message.c ground.c linker.c)
build/bench/race: tests/native/libvgpu/programs/race.c $(VGPU_ACCOUNT)
	@mkdir -p $(@D)
	@$(CC) -std=gnu11 -Wall -Wextra -Werror -O2 -D_GNU_SOURCE $(VGPU_MACHINE) -I. $^ -o $@ -ldl
