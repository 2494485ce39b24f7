/* Entry points of the first CUDA versions, which the driver still exports. Sizes and addresses have 32 bits. */
#include "libvgpu/hooks/hooks.h"
#include "libvgpu/memory/arrays.h"
#include "libvgpu/memory/implicit.h"
#include "libvgpu/memory/linear.h"
#include "libvgpu/memory/pools.h"
#include "libvgpu/memory/reported.h"

CUresult hook_cuMemAlloc(__typeof__(&cuMemAlloc) driver, unsigned int *pointer, unsigned int bytes) {
    struct reservation reservation;
    if (pointer == NULL) {
        return driver(pointer, bytes);
    }
    if (!linear_begin(&reservation, bytes)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    CUresult result = driver(pointer, bytes);
    CUdeviceptr address = *pointer;
    return linear_end(&reservation, result, &address, bytes);
}

CUresult hook_cuMemAllocPitch(__typeof__(&cuMemAllocPitch) driver, unsigned int *pointer, unsigned int *pitch,
                              unsigned int width_in_bytes, unsigned int height, unsigned int element_size_bytes) {
    struct reservation reservation;
    if (pointer == NULL || pitch == NULL) {
        return driver(pointer, pitch, width_in_bytes, height, element_size_bytes);
    }
    if (!linear_begin(&reservation, ((uint64_t)width_in_bytes + 511) / 512 * 512 * height)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    CUresult result = driver(pointer, pitch, width_in_bytes, height, element_size_bytes);
    CUdeviceptr address = *pointer;
    return linear_end(&reservation, result, &address, (uint64_t)*pitch * height);
}

CUresult hook_cuMemFree(__typeof__(&cuMemFree) driver, unsigned int pointer) {
    struct allocation entry;
    bool noted = linear_take_out(pointer, &entry);
    CUresult result = driver(pointer);
    linear_freed(noted, result, pointer, &entry);
    return result;
}

CUresult hook_cuMemGetInfo(__typeof__(&cuMemGetInfo) driver, unsigned int *free_bytes, unsigned int *total) {
    CUcontext context;
    unsigned int own_free, own_total;
    int gpu;
    if (free_bytes == NULL && total == NULL) {
        return driver(free_bytes, total);
    }
    free_bytes = free_bytes != NULL ? free_bytes : &own_free;
    total = total != NULL ? total : &own_total;
    CUresult result = driver(free_bytes, total);
    if (result != CUDA_SUCCESS || !devices_current(&context, &gpu)) {
        return result;
    }
    pools_refresh(gpu);
    implicit_refresh(gpu);
    uint64_t limit = quota_limit(gpu), used = quota_used(gpu);
    *total = (unsigned int)reported_total(limit, *total);
    *free_bytes = (unsigned int)reported_min(*free_bytes, limit > used ? limit - used : 0);
    return result;
}

CUresult hook_cuDeviceTotalMem(__typeof__(&cuDeviceTotalMem) driver, unsigned int *bytes, CUdevice device) {
    CUresult result = driver(bytes, device);
    if (result == CUDA_SUCCESS && bytes != NULL) {
        *bytes = (unsigned int)reported_total(quota_limit(devices_gpu(device)), *bytes);
    }
    return result;
}

/* Both forms begin with width and height. The later one has a depth before format and channels, and flags after them.
 */
CUresult hook_cuArrayCreate(__typeof__(&cuArrayCreate) driver, CUarray *handle, const unsigned int *allocate_array) {
    struct array_reservation array;
    if (handle == NULL || allocate_array == NULL) {
        return driver(handle, allocate_array);
    }
    CUDA_ARRAY3D_DESCRIPTOR form = {.width = allocate_array[0],
                                    .height = allocate_array[1],
                                    .format = (CUarray_format)allocate_array[2],
                                    .channels = allocate_array[3]};
    if (!array_begin(&array, &form, 1)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    CUresult result = driver(handle, allocate_array);
    return array_end(&array, result, *handle);
}

CUresult hook_cuArray3DCreate(__typeof__(&cuArray3DCreate) driver, CUarray *handle,
                              const unsigned int *allocate_array) {
    struct array_reservation array;
    if (handle == NULL || allocate_array == NULL) {
        return driver(handle, allocate_array);
    }
    CUDA_ARRAY3D_DESCRIPTOR form = {.width = allocate_array[0],
                                    .height = allocate_array[1],
                                    .depth = allocate_array[2],
                                    .format = (CUarray_format)allocate_array[3],
                                    .channels = allocate_array[4],
                                    .flags = allocate_array[5]};
    if (!array_begin(&array, &form, 1)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    CUresult result = driver(handle, allocate_array);
    return array_end(&array, result, *handle);
}
