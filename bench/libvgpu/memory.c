/* Figures of calls through the driver that is loaded: `memory free LIVE | pair BYTES SECONDS | launch SECONDS | init | first |
 * look-up NAME | proc NAME`. The same program runs bare, with a library that does the least, and with libvgpu. Prints
 * nanoseconds for each call.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "abi/cuda.h"

#define SMALL 4096
#define LOOKUPS 200000
#define BATCH 1000
#define FIRST 100000

static __typeof__(&cuMemAlloc_v2) take;
static __typeof__(&cuMemFree_v2) drop;
static void *cuda;

static double read_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* The processor's time, since others may be at work on the machine. */
static double now_ns(void) {
    return read_ns(CLOCK_PROCESS_CPUTIME_ID);
}

static void *found(const char *name) {
    void *function = dlsym(cuda, name);
    if (function == NULL) {
        fprintf(stderr, "%s can't be found\n", name);
        exit(1);
    }
    return function;
}

static void begin(void) {
    CUcontext context;
    if (((__typeof__(&cuInit))found("cuInit"))(0) != CUDA_SUCCESS ||
        ((__typeof__(&cuDevicePrimaryCtxRetain))found("cuDevicePrimaryCtxRetain"))(&context, 0) != CUDA_SUCCESS ||
        ((__typeof__(&cuCtxSetCurrent))found("cuCtxSetCurrent"))(context) != CUDA_SUCCESS) {
        exit(1);
    }
    take = (__typeof__(take))found("cuMemAlloc_v2");
    drop = (__typeof__(drop))found("cuMemFree_v2");
}

/* Frees in a random order while `live` allocations are there. */
static double free_with(long live) {
    CUdeviceptr *held = calloc((size_t)live, sizeof *held);
    unsigned seed = 1;
    begin();
    for (long place = 0; place < live; place++) {
        if (held == NULL || take(&held[place], SMALL) != CUDA_SUCCESS) {
            exit(1);
        }
    }
    for (long place = live - 1; place > 0; place--) {
        long other = (long)((unsigned)rand_r(&seed) % (unsigned)(place + 1));
        CUdeviceptr swapped = held[place];
        held[place] = held[other];
        held[other] = swapped;
    }
    long freed = live / 10;
    double begun = now_ns();
    for (long place = 0; place < freed; place++) {
        drop(held[place]);
    }
    return (now_ns() - begun) / (double)freed;
}

static double pairs(size_t bytes, double seconds) {
    CUdeviceptr pointer, kept;
    long rounds = 0;
    begin();
    /* A small one stays, as in most programs, so that the driver doesn't map and unmap a page each time. */
    if (take(&kept, SMALL) != CUDA_SUCCESS) {
        exit(1);
    }
    double begun = now_ns(), until = begun + seconds * 1e9;
    while (now_ns() < until) {
        for (int round = 0; round < BATCH; round++, rounds++) {
            if (take(&pointer, bytes) != CUDA_SUCCESS || drop(pointer) != CUDA_SUCCESS) {
                exit(1);
            }
        }
    }
    return (now_ns() - begun) / (double)rounds;
}

static void launch_often(__typeof__(&cuLaunchKernel) call, CUfunction function, CUstream stream, long times) {
    void *parameters[] = {NULL};
    for (long time = 0; time < times; time++) {
        if (call(function, 256, 1, 1, 256, 1, 1, 0, stream, parameters, NULL) != CUDA_SUCCESS) {
            exit(1);
        }
    }
}

static double launches(double seconds) {
    CUmodule module;
    CUfunction function;
    CUstream stream;
    long count = 0;
    begin();
    if (((__typeof__(&cuModuleLoadData))found("cuModuleLoadData"))(&module, "") != CUDA_SUCCESS ||
        ((__typeof__(&cuModuleGetFunction))found("cuModuleGetFunction"))(&function, module, "kernel") != CUDA_SUCCESS ||
        ((__typeof__(&cuStreamCreate))found("cuStreamCreate"))(&stream, 0) != CUDA_SUCCESS) {
        exit(1);
    }
    __typeof__(&cuLaunchKernel) call = (__typeof__(call))found("cuLaunchKernel");
    launch_often(call, function, stream, FIRST);
    double begun = now_ns(), until = begun + seconds * 1e9;
    for (; now_ns() < until; count += BATCH) {
        launch_often(call, function, stream, BATCH);
    }
    return (now_ns() - begun) / (double)count;
}

static double init(void) {
    __typeof__(&cuInit) start = (__typeof__(start))found("cuInit");
    double begun = read_ns(CLOCK_MONOTONIC);
    if (start(0) != CUDA_SUCCESS) {
        exit(1);
    }
    return read_ns(CLOCK_MONOTONIC) - begun;
}

/* From the first call to the first memory. */
static double first(void) {
    CUdeviceptr pointer;
    double begun = read_ns(CLOCK_MONOTONIC);
    begin();
    if (take(&pointer, SMALL) != CUDA_SUCCESS) {
        exit(1);
    }
    return read_ns(CLOCK_MONOTONIC) - begun;
}

static double look_up(const char *name) {
    dlsym(cuda, name);
    double begun = now_ns();
    for (int round = 0; round < LOOKUPS; round++) {
        dlsym(cuda, name);
    }
    return (now_ns() - begun) / LOOKUPS;
}

static double proc(const char *name) {
    __typeof__(&cuGetProcAddress_v2) get = (__typeof__(get))found("cuGetProcAddress_v2");
    CUdriverProcAddressQueryResult status;
    void *function;
    get(name, &function, 12090, 0, &status);
    double begun = now_ns();
    for (int round = 0; round < LOOKUPS; round++) {
        get(name, &function, 12090, 0, &status);
    }
    return (now_ns() - begun) / LOOKUPS;
}

int main(int count, char **words) {
    const char *what = count > 1 ? words[1] : "", *word = count > 2 ? words[2] : "";
    double answer = 0;
    cuda = dlopen("libcuda.so.1", RTLD_NOW);
    if (cuda == NULL) {
        return 2;
    }
    if (strcmp(what, "free") == 0) {
        answer = free_with(atol(word));
    } else if (strcmp(what, "pair") == 0 && count == 4) {
        answer = pairs((size_t)atol(word), atof(words[3]));
    } else if (strcmp(what, "launch") == 0) {
        answer = launches(atof(word));
    } else if (strcmp(what, "init") == 0) {
        answer = init();
    } else if (strcmp(what, "first") == 0) {
        answer = first();
    } else if (strcmp(what, "look-up") == 0) {
        answer = look_up(word);
    } else if (strcmp(what, "proc") == 0) {
        answer = proc(word);
    } else {
        return 2;
    }
    printf("%.1f\n", answer);
    return 0;
}
