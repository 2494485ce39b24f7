# One promise of the native parts, one command. Other people's programs are fetched where a check runs them.
.PHONY: check-nvidia-smi check-clients check-over-limit check-resolve check-families check-races check-damage \
  check-sanitizers check-exports

NATIVE_CHECK = .venv/bin/pytest -v
ON_SIMULATOR := tests/native/simulator/test_clients.py
IN_CONTAINER := tests/native/libvgpu/test_other_programs.py

##@ One promise, one check
check-nvidia-smi: native clients ## The real nvidia-smi, alone and in a container limited to 7,680 MiB
	$(NATIVE_CHECK) $(ON_SIMULATOR) $(IN_CONTAINER) -k nvidia_smi

check-clients: native clients ## nvtop, nvitop, gpustat and nvidia-ml-py, alone and in a container limited to 7,680 MiB
	$(NATIVE_CHECK) $(ON_SIMULATOR) $(IN_CONTAINER) -k 'nvtop or nvitop or gpustat or nvidia_ml_py'

check-over-limit: native clients ## cuda-bindings and numba-cuda: unchanged below the limit, their own out-of-memory error above
	$(NATIVE_CHECK) $(ON_SIMULATOR) $(IN_CONTAINER) -k 'bindings or numba or launches'

check-resolve: native ## Every way in which a program finds the driver leads to libvgpu
	$(NATIVE_CHECK) tests/native/libvgpu/test_resolve.py

check-families: native ## Each family of allocations is counted, and no export of the real driver escapes
	$(NATIVE_CHECK) tests/native/libvgpu/test_families.py tests/native/libvgpu/test_driver_exports.py

check-races: native ## 16 processes, 1,000,000 rounds with random kills, and kills after every instruction
	UNIGPU_SOAK=1 $(NATIVE_CHECK) -s tests/native/libvgpu/test_kills.py

check-damage: native ## Torn, truncated, foreign and unwritable files
	$(NATIVE_CHECK) tests/native/libvgpu/test_damage.py tests/native/libvgpu/test_managed.py

check-sanitizers: native clients ## Address, thread and undefined-behaviour sanitizers, and valgrind
	$(NATIVE_CHECK) tests/native/libvgpu/test_sanitizers.py \
	  tests/native/libvgpu/test_launches_sanitizers.py tests/native/simulator/test_sanitizers.py

check-exports: native ## The libraries export exactly the listed symbols, and every name of NVIDIA's headers is sorted
	$(NATIVE_CHECK) tests/native/libvgpu/test_exports.py tests/native/libvgpu/test_effects.py tests/native/simulator/test_exports.py
