/* Captures again and again while other threads launch kernels of ever new shapes: `captures MODE COUNT [ask]`. MODE is that of
 * the captures: 0 global, 1 of the thread, 2 relaxed, 3 all in turn. With `ask` the other threads query an event of their own
 * as well, which a global capture forbids, and the first capture that it spoils is the last. Says how many captures there were, how many of them were spoiled, and how many
 * launches failed.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "abi/cuda.h"

enum { THREADS = 2, IN_ONE = 20 };

static const char text[] = ".version 8.0\n.target sm_50\n.address_size 64\n"
                           ".visible .entry unigpu_spin(.param .u64 nanoseconds) { ret; }\n";

static CUcontext context;
static CUfunction spin;
static unsigned long long ns = 3000;
static void *parameters[] = {&ns};
static int ask, ended;
static long failed;

static void must(CUresult result, int line) {
    if (result != CUDA_SUCCESS) {
        fprintf(stderr, "line %d: the driver answers %d\n", line, (int)result);
        exit(1);
    }
}
#define MUST(call) must(call, __LINE__)

static void *launch(void *number) {
    CUstream stream;
    CUevent event;
    unsigned shape = 0;
    MUST(cuCtxSetCurrent(context));
    MUST(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    MUST(cuEventCreate(&event, CU_EVENT_DEFAULT));
    while (!__atomic_load_n(&ended, __ATOMIC_RELAXED)) {
        CUresult result = cuLaunchKernel(spin, 1 + shape++ % 5000, 1, 1, 1, 1, 1, 0, stream, parameters, NULL);
        if (result != CUDA_SUCCESS) {
            __atomic_add_fetch(&failed, 1, __ATOMIC_RELAXED);
        }
        if (ask) {
            cuEventQuery(event);
        }
    }
    return number;
}

int main(int words, char **word) {
    CUmodule module;
    CUdevice device;
    CUstream stream;
    pthread_t threads[THREADS];
    int mode = words > 2 ? atoi(word[1]) : 0;
    long count = words > 2 ? atol(word[2]) : 1, spoiled = 0;
    ask = words > 3;
    MUST(cuInit(0));
    MUST(cuDeviceGet(&device, 0));
    MUST(cuCtxCreate_v2(&context, 0, device));
    MUST(cuModuleLoadData(&module, text));
    MUST(cuModuleGetFunction(&spin, module, "unigpu_spin"));
    MUST(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    for (int place = 0; place < THREADS; place++) {
        pthread_create(&threads[place], NULL, launch, NULL);
    }
    for (long turn = 0; turn < count && !(ask && spoiled > 0); turn++) {
        CUgraph graph = NULL;
        CUstreamCaptureMode wanted = (CUstreamCaptureMode)(mode < 3 ? mode : (int)(turn % 3));
        CUresult result = cuStreamBeginCapture_v2(stream, wanted);
        for (int place = 0; place < IN_ONE && result == CUDA_SUCCESS; place++) {
            result = cuLaunchKernel(spin, 1, 1, 1, 1, 1, 1, 0, stream, parameters, NULL);
        }
        CUresult last = cuStreamEndCapture(stream, &graph);
        spoiled += result != CUDA_SUCCESS || last != CUDA_SUCCESS;
        if (graph != NULL) {
            MUST(cuGraphDestroy(graph));
        }
        /* So that others are in the middle of something when the next one begins. */
        MUST(cuLaunchKernel(spin, 1, 1, 1, 1 + (unsigned)(turn % 1000), 1, 1, 0, stream, parameters, NULL));
    }
    __atomic_store_n(&ended, 1, __ATOMIC_RELAXED);
    for (int place = 0; place < THREADS; place++) {
        pthread_join(threads[place], NULL);
    }
    printf("captures %ld spoiled %ld failed %ld\n", count, spoiled, failed);
    return 0;
}
