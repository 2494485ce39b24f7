/* Measures with NVML how much memory a driver call costs this process, where no argument tells. */
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

/* To be called before the driver's call. */
void nvml_delta_begin(struct nvml_delta *delta, int gpu);

/* Returns by how many bytes this process has grown since; `most` where that can't be determined. */
uint64_t nvml_delta_end(const struct nvml_delta *delta, uint64_t most);

#endif
