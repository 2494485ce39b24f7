/* What NVML answers to a program that begins and ends sessions around calls that libvgpu measures with NVML: one number for
 * each, the same with and without libvgpu. */
#include <stdio.h>

#include "abi/cuda.h"
#include "abi/nvml.h"

#define MODULE ".version 7.0\n.target sm_50\n.address_size 64\n.visible .entry nothing() { ret; }\n"

static void load(void) {
    CUcontext context;
    CUmodule module;
    if (cuCtxCreate_v2(&context, 0, 0) != CUDA_SUCCESS || cuModuleLoadData(&module, MODULE) != CUDA_SUCCESS) {
        puts("can't load");
    }
}

static void answer(nvmlReturn_t result) {
    printf("%d ", (int)result);
}

int main(void) {
    unsigned count;
    cuInit(0);
    load();
    answer(nvmlShutdown());
    answer(nvmlInit_v2());
    answer(nvmlInit());
    load();
    answer(nvmlDeviceGetCount_v2(&count));
    answer(nvmlShutdown());
    answer(nvmlDeviceGetCount_v2(&count));
    answer(nvmlInitWithFlags(0));
    answer(nvmlShutdown());
    answer(nvmlShutdown());
    answer(nvmlDeviceGetCount_v2(&count));
    answer(nvmlShutdown());
    load();
    answer(nvmlShutdown());
    answer(nvmlInit_v2());
    answer(nvmlDeviceGetCount_v2(&count));
    return 0;
}
