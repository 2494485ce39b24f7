/* Where a CUmemLocation is, also in the forms that later drivers have. */
#ifndef UNIGPU_MEMORY_LOCATION_H
#define UNIGPU_MEMORY_LOCATION_H

#include <stdbool.h>

#include "libvgpu/driver/devices.h"

/* A part of a device's memory, since CUDA 13.5: `id` then holds the device in its first byte, and the part in its second. */
#define LOCATION_TYPE_DEVICE_PART 6

static inline bool location_on_device(CUmemLocation location, CUdevice *device) {
    bool part = (int)location.type == LOCATION_TYPE_DEVICE_PART;
    *device = part ? location.id & 0xff : location.id;
    return part || location.type == CU_MEM_LOCATION_TYPE_DEVICE;
}

/* Managed memory may have no place, and is then not the host's alone. */
static inline bool location_on_host(int type) {
    return type == CU_MEM_LOCATION_TYPE_HOST || type == CU_MEM_LOCATION_TYPE_HOST_NUMA ||
           type == CU_MEM_LOCATION_TYPE_HOST_NUMA_CURRENT;
}

#endif
