/* A thread with a stack of `small_stack BYTES` makes calls of every family. Prints the number of the first that fails, or 0. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "abi/cuda.h"
#include "abi/nvml.h"

#define MODULE ".version 7.0\n.target sm_50\n.address_size 64\n.visible .entry nothing() { ret; }\n"

static CUcontext context;
static nvmlDevice_t device;
static CUlibrary library;
static CUmodule module;
static CUdeviceptr memory;
static CUmemGenericAllocationHandle handle;
static nvmlProcessInfo_t processes[8];
static nvmlProcessUtilizationSample_t samples[100];
static nvmlMemory_t share;
static size_t free_bytes, total;
static unsigned count = 8, sample_count = 100;

static const CUmemAllocationProp property = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                             .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE}};

#define NEED(call)               \
    do {                         \
        step++;                  \
        if ((int)(call) != 0)    \
            return (void *)step; \
    } while (0)

static void *work(void *unused) {
    CUcontext other;
    size_t step = 0;
    (void)unused;
    NEED(cuCtxSetCurrent(context));
    NEED(nvmlDeviceGetMemoryInfo(device, &share));
    NEED(nvmlDeviceGetComputeRunningProcesses_v3(device, &count, processes));
    nvmlDeviceGetProcessUtilization(device, samples, &sample_count, 0);
    NEED(cuMemAlloc_v2(&memory, 1000));
    NEED(cuMemFree_v2(memory));
    NEED(cuMemCreate(&handle, 2 << 20, &property, 0));
    NEED(cuMemRelease(handle));
    NEED(cuModuleLoadData(&module, MODULE));
    NEED(cuModuleUnload(module));
    NEED(cuLibraryLoadData(&library, MODULE, NULL, NULL, 0, NULL, NULL, 0));
    NEED(cuLibraryUnload(library));
    NEED(cuCtxSetLimit(CU_LIMIT_PRINTF_FIFO_SIZE, 4 << 20));
    NEED(cuMemGetInfo_v2(&free_bytes, &total));
    NEED(cuCtxCreate_v2(&other, 0, 0));
    NEED(cuCtxDestroy_v2(other));
    step++;
    return cuMemAlloc_v2(&memory, (size_t)1 << 40) == CUDA_ERROR_OUT_OF_MEMORY ? NULL : (void *)step;
}

int main(int words_count, char **words) {
    pthread_t thread;
    pthread_attr_t attributes;
    void *failed;
    if (words_count < 2 || cuInit(0) != CUDA_SUCCESS || cuDevicePrimaryCtxRetain(&context, 0) != CUDA_SUCCESS ||
        nvmlInit_v2() != NVML_SUCCESS || nvmlDeviceGetHandleByIndex_v2(0, &device) != NVML_SUCCESS) {
        return 2;
    }
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, (size_t)atol(words[1]));
    pthread_create(&thread, &attributes, work, NULL);
    pthread_join(thread, &failed);
    printf("%zu\n", (size_t)failed);
    return 0;
}
