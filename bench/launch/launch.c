/* What one launch costs the program: `launch SECONDS`. Prints nanoseconds of the processor's time for each, the same
 * program with and without libvgpu.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "abi/cuda.h"

enum { BATCH = 1000, FIRST = 100000 };

static void *cuda;

/* The processor's time, since others may be at work on the machine. */
static double now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void *found(const char *name) {
    void *call = dlsym(cuda, name);
    if (call == NULL) {
        fprintf(stderr, "%s can't be found\n", name);
        exit(1);
    }
    return call;
}

#define FOUND(name) ((__typeof__(&name))found(#name))

static void launch(__typeof__(&cuLaunchKernel) call, CUfunction function, CUstream stream, long times) {
    void *parameters[] = {NULL};
    for (long time = 0; time < times; time++) {
        if (call(function, 256, 1, 1, 256, 1, 1, 0, stream, parameters, NULL) != CUDA_SUCCESS) {
            exit(1);
        }
    }
}

int main(int count, char **words) {
    CUcontext context;
    CUmodule module;
    CUfunction function;
    CUstream stream;
    cuda = dlopen("libcuda.so.1", RTLD_NOW);
    if (cuda == NULL || count != 2) {
        return 2;
    }
    if (FOUND(cuInit)(0) != CUDA_SUCCESS || FOUND(cuDevicePrimaryCtxRetain)(&context, 0) != CUDA_SUCCESS ||
        FOUND(cuCtxSetCurrent)(context) != CUDA_SUCCESS || FOUND(cuModuleLoadData)(&module, "") != CUDA_SUCCESS ||
        FOUND(cuModuleGetFunction)(&function, module, "kernel") != CUDA_SUCCESS ||
        FOUND(cuStreamCreate)(&stream, 0) != CUDA_SUCCESS) {
        return 1;
    }
    __typeof__(&cuLaunchKernel) call = FOUND(cuLaunchKernel);
    launch(call, function, stream, FIRST);
    long launches = 0;
    double begun = now_ns(), until = begun + atof(words[1]) * 1e9;
    while (now_ns() < until) {
        launch(call, function, stream, BATCH);
        launches += BATCH;
    }
    printf("%.2f\n", (now_ns() - begun) / (double)launches);
    return 0;
}
