#include "libvgpu/compute/occupancy.h"

#include <stdbool.h>

#include "libvgpu/compute/ends.h"
#include "libvgpu/driver/driver.h"

static bool multiprocessors(int *count) {
    CUdevice device;
    return DRIVER(cuCtxGetDevice) != NULL && DRIVER(cuDeviceGetAttribute) != NULL &&
           DRIVER(cuCtxGetDevice)(&device) == CUDA_SUCCESS &&
           DRIVER(cuDeviceGetAttribute)(count, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device) == CUDA_SUCCESS;
}

unsigned occupancy_part(const struct cost_key *key) {
    struct cost_shape shape = cost_key_shape(key);
    int each = 0, count = 0;
    if (cost_key_kind(key) != COST_OF_KERNEL || shape.threads == 0 ||
        DRIVER(cuOccupancyMaxActiveBlocksPerMultiprocessor) == NULL || !multiprocessors(&count) ||
        DRIVER(cuOccupancyMaxActiveBlocksPerMultiprocessor)(&each, (CUfunction)(uintptr_t)key->handle,
                                                            (int)shape.threads, shape.shared) != CUDA_SUCCESS) {
        return 0;
    }
    uint64_t most = each > 0 ? (uint64_t)each * (unsigned)count : 0;
    if (most == 0 || shape.blocks >= most) {
        return most > 0 ? ENDS_WHOLE : 0;
    }
    return (unsigned)((shape.blocks * ENDS_WHOLE + most - 1) / most);
}
