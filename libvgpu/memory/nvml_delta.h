/* Measures with NVML how much memory a driver call costs this process, where no argument tells. What other threads allocate
 * in the same time is counted already, and taken off. */
#ifndef UNIGPU_MEMORY_NVML_DELTA_H
#define UNIGPU_MEMORY_NVML_DELTA_H

#include "libvgpu/driver/devices.h"

struct nvml_processes {
    unsigned count;
    nvmlProcessInfo_t *list;
};

/* Lists the processes that have contexts on the device; false where NVML doesn't tell. The caller frees the list. */
bool nvml_processes_list(nvmlDevice_t device, struct nvml_processes *found);

struct nvml_delta {
    nvmlDevice_t nvml;
    int gpu;
    unsigned long long device_used;
    uint64_t counted; /* what this process had of the share */
    bool exact; /* after the end: whether NVML named this process, so that no other's memory is in the figure */
    struct nvml_processes before;
};

/* To be called before the driver's call. nvml_delta_end has to follow. */
void nvml_delta_begin(struct nvml_delta *delta, int gpu);

/* Returns by how many bytes this process has grown since, beyond what it has taken of the share; `most` where that can't be
 * determined. */
uint64_t nvml_delta_end(struct nvml_delta *delta, uint64_t most);

#endif
