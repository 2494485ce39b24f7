/* What a call costs the host on a driver: `cost kernel|graph|pair|async-pair SECONDS`. Prints nanoseconds of the processor's
 * time for each turn. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "abi/cuda.h"

enum { BATCH = 200, BYTES = 4 << 20 };

static const char text[] = ".version 8.0\n.target sm_60\n.address_size 64\n"
                           ".visible .entry unigpu_spin(.param .u64 time) { ret; }\n";

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
#define CALL(name, ...)                                               \
    do {                                                              \
        static __typeof__(&name) call_;                               \
        call_ = call_ ? call_ : FOUND(name);                          \
        CUresult status_ = call_(__VA_ARGS__);                        \
        if (status_ != CUDA_SUCCESS) {                                \
            fprintf(stderr, "%s returned %d\n", #name, (int)status_); \
            exit(1);                                                  \
        }                                                             \
    } while (0)

static CUfunction function;
static CUstream stream;
static CUgraphExec graph;

/* A kernel that takes no time: what remains is the host's. */
static void kernel(void) {
    unsigned long long time = 0;
    void *parameters[] = {&time};
    CALL(cuLaunchKernel, function, 1, 1, 1, 32, 1, 1, 0, stream, parameters, NULL);
}

static void launch_graph(void) {
    CALL(cuGraphLaunch, graph, stream);
}

static void pair(void) {
    CUdeviceptr pointer;
    CALL(cuMemAlloc_v2, &pointer, BYTES);
    CALL(cuMemFree_v2, pointer);
}

static void async_pair(void) {
    CUdeviceptr pointer;
    CALL(cuMemAllocAsync, &pointer, BYTES, stream);
    CALL(cuMemFreeAsync, pointer, stream);
}

static void prepare(void) {
    CUcontext context;
    CUmodule module;
    CUgraph made;
    CALL(cuInit, 0);
    CALL(cuDevicePrimaryCtxRetain, &context, 0);
    CALL(cuCtxSetCurrent, context);
    CALL(cuModuleLoadData, &module, text);
    CALL(cuModuleGetFunction, &function, module, "unigpu_spin");
    CALL(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
    CALL(cuStreamBeginCapture_v2, stream, CU_STREAM_CAPTURE_MODE_RELAXED);
    for (int i = 0; i < 10; i++) {
        kernel();
    }
    CALL(cuStreamEndCapture, stream, &made);
    CALL(cuGraphInstantiateWithFlags, &graph, made, 0);
}

int main(int count, char **words) {
    static const struct {
        const char *name;
        void (*turn)(void);
    } kinds[] = {{"kernel", kernel}, {"graph", launch_graph}, {"pair", pair}, {"async-pair", async_pair}};
    cuda = dlopen("libcuda.so.1", RTLD_NOW);
    if (cuda == NULL || count != 3) {
        fprintf(stderr, "usage: cost kernel|graph|pair|async-pair SECONDS, with a driver: %s\n", cuda ? "" : dlerror());
        return 2;
    }
    void (*turn)(void) = NULL;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        turn = strcmp(kinds[i].name, words[1]) == 0 ? kinds[i].turn : turn;
    }
    if (turn == NULL) {
        fprintf(stderr, "cost = %s: unknown; accepted: kernel, graph, pair, async-pair\n", words[1]);
        return 2;
    }
    prepare();
    long turns = 0;
    double spent = 0, seconds = atof(words[2]);
    while (spent < seconds * 1e9) {
        double begun = now_ns();
        for (int i = 0; i < BATCH; i++) {
            turn();
        }
        spent += now_ns() - begun;
        turns += BATCH;
        CALL(cuStreamSynchronize, stream);
    }
    printf("%.1f\n", spent / (double)turns);
    return 0;
}
