/* The figures of its share that a program sees in place of the GPU's. */
#ifndef UNIGPU_MEMORY_REPORTED_H
#define UNIGPU_MEMORY_REPORTED_H

#include <stdbool.h>
#include <stdint.h>

#include "libvgpu/driver/devices.h"
#include "libvgpu/memory/quota.h"

static inline uint64_t reported_min(uint64_t one, uint64_t other) {
    return one < other ? one : other;
}

/* A GPU whose limit is 0 keeps its size and is reported full: programs divide by the total. */
static inline uint64_t reported_total(uint64_t limit, uint64_t total) {
    return limit != 0 ? reported_min(limit, total) : total;
}

/* Whether the NVML device is a GPU on which the container has a share of the memory. Only then libvgpu answers for its
 * list of processes. */
static inline bool reported_gpu(nvmlDevice_t device, int *gpu) {
    *gpu = devices_gpu_of_nvml(device);
    return *gpu != NO_GPU && quota_limit(*gpu) != QUOTA_UNLIMITED;
}

#endif
