/* Linear, pitched and managed memory. */
#include "libvgpu/hooks/hooks.h"
#include "libvgpu/memory/linear.h"
#include "libvgpu/memory/pools.h"

CUresult hook_cuMemAlloc_v2(__typeof__(&cuMemAlloc_v2) driver, CUdeviceptr *pointer, size_t bytes) {
    struct reservation reservation;
    if (pointer == NULL) {
        return driver(pointer, bytes);
    }
    if (!linear_begin(&reservation, bytes)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    return linear_end(&reservation, driver(pointer, bytes), pointer, bytes);
}

CUresult hook_cuMemAllocManaged(__typeof__(&cuMemAllocManaged) driver, CUdeviceptr *pointer, size_t bytes,
                                unsigned int flags) {
    struct reservation reservation;
    if (pointer == NULL) {
        return driver(pointer, bytes, flags);
    }
    if (!linear_begin(&reservation, bytes)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    return linear_end(&reservation, driver(pointer, bytes, flags), pointer, bytes);
}

/* Rows begin at multiples of this. The driver's own pitch is counted once it is known. */
#define PITCH_STEP 512

CUresult hook_cuMemAllocPitch_v2(__typeof__(&cuMemAllocPitch_v2) driver, CUdeviceptr *pointer, size_t *pitch,
                                 size_t width_in_bytes, size_t height, unsigned int element_size_bytes) {
    struct reservation reservation;
    size_t bytes;
    if (pointer == NULL || pitch == NULL) {
        return driver(pointer, pitch, width_in_bytes, height, element_size_bytes);
    }
    if (__builtin_add_overflow(width_in_bytes, PITCH_STEP - 1, &bytes) ||
        __builtin_mul_overflow(bytes / PITCH_STEP * PITCH_STEP, height, &bytes) || !linear_begin(&reservation, bytes)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    CUresult result = driver(pointer, pitch, width_in_bytes, height, element_size_bytes);
    return linear_end(&reservation, result, pointer, result == CUDA_SUCCESS ? *pitch * height : bytes);
}

CUresult hook_cuMemFree_v2(__typeof__(&cuMemFree_v2) driver, CUdeviceptr pointer) {
    struct allocation entry;
    bool noted = linear_take_out(pointer, &entry);
    CUresult result = driver(pointer);
    linear_freed(noted, result, pointer, &entry);
    if (noted && entry.kind == ALLOCATION_POOLED) {
        pools_settle();
    }
    return result;
}

CUresult hook_cuMemFreeAsync(__typeof__(&cuMemFreeAsync) driver, CUdeviceptr pointer, CUstream stream) {
    struct allocation entry;
    bool noted = linear_take_out(pointer, &entry);
    CUresult result = driver(pointer, stream);
    if (noted && result == CUDA_SUCCESS && entry.kind == ALLOCATION_POOLED) {
        pool_freed_in_stream(entry.pool, stream);
    } else {
        linear_freed(noted, result, pointer, &entry);
    }
    return result;
}
