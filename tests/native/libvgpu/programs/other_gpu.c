/* Launches a graph of one kernel into a stream of the first GPU while a context of the second one is current:
 * `other_gpu COUNT NS`. Says `done` once the GPU has done all.
 */
#include <stdio.h>
#include <stdlib.h>

#include "abi/cuda.h"

static const char text[] = ".version 8.0\n.target sm_50\n.address_size 64\n"
                           ".visible .entry unigpu_spin(.param .u64 nanoseconds) { ret; }\n";

static void must(CUresult result, int line) {
    if (result != CUDA_SUCCESS) {
        fprintf(stderr, "line %d: the driver answers %d\n", line, (int)result);
        exit(1);
    }
}
#define MUST(call) must(call, __LINE__)

int main(int words, char **word) {
    CUcontext contexts[2];
    CUmodule module;
    CUfunction spin;
    CUstream stream;
    CUgraph graph;
    CUgraphExec exec;
    long count = words > 2 ? atol(word[1]) : 1;
    unsigned long long ns = words > 2 ? strtoull(word[2], NULL, 10) : 1;
    void *parameters[] = {&ns};
    MUST(cuInit(0));
    MUST(cuDevicePrimaryCtxRetain(&contexts[0], 0));
    MUST(cuDevicePrimaryCtxRetain(&contexts[1], 1));
    MUST(cuCtxSetCurrent(contexts[0]));
    MUST(cuModuleLoadData(&module, text));
    MUST(cuModuleGetFunction(&spin, module, "unigpu_spin"));
    MUST(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    MUST(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    MUST(cuLaunchKernel(spin, 1, 1, 1, 1, 1, 1, 0, stream, parameters, NULL));
    MUST(cuStreamEndCapture(stream, &graph));
    MUST(cuGraphInstantiateWithFlags(&exec, graph, 0));
    MUST(cuCtxSetCurrent(contexts[1]));
    for (long turn = 0; turn < count; turn++) {
        MUST(cuGraphLaunch(exec, stream));
    }
    MUST(cuStreamSynchronize(stream));
    printf("done %ld\n", count);
    fflush(stdout);
    return getchar() == EOF;
}
