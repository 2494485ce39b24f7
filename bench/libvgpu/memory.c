/* Figures of memory calls through the driver that is loaded: `memory free LIVE | pair SECONDS | init | look-up`. The same
 * program runs with and without libvgpu; the difference is what that adds. Prints nanoseconds for each call.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "abi/cuda.h"

#define SMALL 4096
#define LOOKUPS 200000

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

static double pairs(double seconds) {
    CUdeviceptr pointer, kept;
    long rounds = 0;
    begin();
    /* Another small one stays, as in most programs, so that the driver doesn't map and unmap a page each time. */
    if (take(&kept, SMALL) != CUDA_SUCCESS) {
        exit(1);
    }
    double begun = now_ns(), until = begun + seconds * 1e9;
    while (now_ns() < until) {
        for (int round = 0; round < 100; round++, rounds++) {
            if (take(&pointer, SMALL) != CUDA_SUCCESS || drop(pointer) != CUDA_SUCCESS) {
                exit(1);
            }
        }
    }
    return (now_ns() - begun) / (double)rounds;
}

static double init(void) {
    __typeof__(&cuInit) start = (__typeof__(start))found("cuInit");
    double begun = read_ns(CLOCK_MONOTONIC);
    if (start(0) != CUDA_SUCCESS) {
        exit(1);
    }
    return read_ns(CLOCK_MONOTONIC) - begun;
}

static double look_up(void) {
    found("cuMemAlloc_v2");
    double begun = now_ns();
    for (int round = 0; round < LOOKUPS; round++) {
        found("cuMemAlloc_v2");
    }
    return (now_ns() - begun) / LOOKUPS;
}

int main(int count, char **words) {
    double answer = 0;
    cuda = dlopen("libcuda.so.1", RTLD_NOW);
    if (cuda == NULL || count < 2) {
        return 2;
    }
    if (strcmp(words[1], "free") == 0 && count == 3) {
        answer = free_with(atol(words[2]));
    } else if (strcmp(words[1], "pair") == 0 && count == 3) {
        answer = pairs(atof(words[2]));
    } else if (strcmp(words[1], "init") == 0) {
        answer = init();
    } else if (strcmp(words[1], "look-up") == 0) {
        answer = look_up();
    } else {
        return 2;
    }
    printf("%.1f\n", answer);
    return 0;
}
