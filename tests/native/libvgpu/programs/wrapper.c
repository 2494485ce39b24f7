/* An interposed library of others: it counts allocations and passes them on to the next library. */
#include <dlfcn.h>
#include <stdio.h>

#include "abi/cuda.h"

#define SHOWN __attribute__((visibility("default")))

static unsigned calls;

SHOWN CUresult cuMemAlloc_v2(CUdeviceptr *pointer, size_t bytes) {
    __typeof__(&cuMemAlloc_v2) next = (__typeof__(next))dlsym(RTLD_NEXT, "cuMemAlloc_v2");
    calls++;
    return next != NULL && next != cuMemAlloc_v2 ? next(pointer, bytes) : CUDA_ERROR_NOT_FOUND;
}

/* What comes next from here, for a program that asks this library. */
void *wrapper_next(const char *name);

SHOWN void *wrapper_next(const char *name) {
    return dlsym(RTLD_NEXT, name);
}
