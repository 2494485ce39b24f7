/* Launches kernels that spin, as told: `compute SECONDS KERNEL_NS [sync]` for a while, then prints how many it launched,
 * the time that it took and the longest launch, ns.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "abi/cuda.h"

static const char text[] = ".version 8.0\n.target sm_50\n.address_size 64\n"
                           ".visible .entry unigpu_spin(.param .u64 nanoseconds) { ret; }\n";

static unsigned long long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (unsigned long long)now.tv_sec * 1000000000u + (unsigned long long)now.tv_nsec;
}

int main(int count, char **words) {
    CUcontext context;
    CUmodule module;
    CUfunction spin;
    if (count < 3) {
        return 2;
    }
    double seconds = atof(words[1]);
    unsigned long long ns = strtoull(words[2], NULL, 10);
    int sync = count > 3 && strcmp(words[3], "sync") == 0;
    void *parameters[] = {&ns};
    if (cuInit(0) != CUDA_SUCCESS || cuDevicePrimaryCtxRetain(&context, 0) != CUDA_SUCCESS ||
        cuCtxSetCurrent(context) != CUDA_SUCCESS || cuModuleLoadData(&module, text) != CUDA_SUCCESS ||
        cuModuleGetFunction(&spin, module, "unigpu_spin") != CUDA_SUCCESS) {
        return 3;
    }
    unsigned long long begun = now_ns(), until = begun + (unsigned long long)(seconds * 1e9), longest = 0, launches = 0;
    unsigned long long before = begun;
    while (before < until) {
        if (cuLaunchKernel(spin, 1, 1, 1, 1, 1, 1, 0, NULL, parameters, NULL) != CUDA_SUCCESS) {
            return 4;
        }
        unsigned long long after = now_ns();
        if (after - before > longest) {
            longest = after - before;
        }
        launches++;
        if (sync) {
            cuCtxSynchronize();
            after = now_ns();
        }
        before = after;
    }
    cuCtxSynchronize();
    printf("%llu %llu %llu\n", launches, now_ns() - begun, longest);
    return 0;
}
