/* What a driver call costs this process on a GPU, as NVML tells it: for memory whose size no argument says. */
#ifndef UNIGPU_MEMORY_NVML_DELTA_H
#define UNIGPU_MEMORY_NVML_DELTA_H

#include "libvgpu/driver/devices.h"

#define NVML_DELTA_PROCESSES 256

struct nvml_delta {
    nvmlDevice_t nvml;
    unsigned long long device_used;
    unsigned count;
    nvmlProcessInfo_t before[NVML_DELTA_PROCESSES];
};

/* Before the call. */
void nvml_delta_begin(struct nvml_delta *delta, int gpu);

/* After it: bytes that this process has more than before; `most` where that can't be told. */
uint64_t nvml_delta_end(const struct nvml_delta *delta, uint64_t most);

#endif
