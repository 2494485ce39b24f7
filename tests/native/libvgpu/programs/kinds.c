/* Launches kernels of a known length, each of another shape, into one stream: `kinds COUNT NS`. Says how many of them were
 * unfinished at most when a launch returned.
 */
#include <stdio.h>
#include <stdlib.h>

#include "abi/cuda.h"

enum { MOST = 64 };

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
    CUcontext context;
    CUmodule module;
    CUfunction spin;
    CUstream stream;
    CUevent events[MOST];
    long count = words > 2 ? atol(word[1]) : 1, most = 0, done = 0;
    unsigned long long ns = words > 2 ? strtoull(word[2], NULL, 10) : 1;
    void *parameters[] = {&ns};
    MUST(cuInit(0));
    MUST(cuCtxCreate_v2(&context, 0, 0));
    MUST(cuModuleLoadData(&module, text));
    MUST(cuModuleGetFunction(&spin, module, "unigpu_spin"));
    MUST(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    for (long turn = 0; turn < count && turn < MOST; turn++) {
        MUST(cuEventCreate(&events[turn], CU_EVENT_DEFAULT));
        MUST(cuLaunchKernel(spin, 1 + (unsigned)turn, 1, 1, 1, 1, 1, 0, stream, parameters, NULL));
        MUST(cuEventRecord(events[turn], stream));
        while (done <= turn && cuEventQuery(events[done]) == CUDA_SUCCESS) {
            done++;
        }
        most = turn + 1 - done > most ? turn + 1 - done : most;
    }
    printf("unfinished %ld\n", most);
    return 0;
}
