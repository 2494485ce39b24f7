#include "libvgpu/compute/occupancy.h"

#include "libvgpu/driver/driver.h"

static bool multiprocessors(int *count) {
    CUdevice device;
    return DRIVER(cuCtxGetDevice) != NULL && DRIVER(cuDeviceGetAttribute) != NULL &&
           DRIVER(cuCtxGetDevice)(&device) == CUDA_SUCCESS &&
           DRIVER(cuDeviceGetAttribute)(count, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device) == CUDA_SUCCESS;
}

bool occupancy_fills(const struct cost_key *key) {
    struct cost_shape shape = cost_key_shape(key);
    int each = 0, count = 0;
    if (cost_key_kind(key) != COST_OF_KERNEL || shape.threads == 0 ||
        DRIVER(cuOccupancyMaxActiveBlocksPerMultiprocessor) == NULL || !multiprocessors(&count) ||
        DRIVER(cuOccupancyMaxActiveBlocksPerMultiprocessor)(&each, (CUfunction)(uintptr_t)key->handle,
                                                            (int)shape.threads, shape.shared) != CUDA_SUCCESS) {
        return false;
    }
    return each > 0 && shape.blocks >= (uint64_t)each * (unsigned)count;
}
