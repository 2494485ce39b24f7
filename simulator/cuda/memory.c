/* Linear and managed allocations, and what is known of a pointer. */
#include "simulator/cuda/driver.h"

CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
    NEED_CONTEXT(current);
    NEED(free_bytes && total, CUDA_ERROR_INVALID_VALUE);
    const sim_gpu *card = current->device->card;
    *free_bytes = sim_use_free(sim_driver.machine, current->device->gpu);
    *total = card->total_memory - card->reserved_memory;
    return CUDA_SUCCESS;
}

CUresult cuMemAlloc_v2(CUdeviceptr *pointer, size_t bytes) {
    NEED_CONTEXT(current);
    NEED(pointer && bytes, CUDA_ERROR_INVALID_VALUE);
    return heap_alloc(current->heap, bytes, false, pointer);
}

CUresult cuMemAllocPitch_v2(CUdeviceptr *pointer, size_t *pitch, size_t width_in_bytes, size_t height,
                            unsigned int element_size_bytes) {
    NEED_CONTEXT(current);
    NEED(pointer && pitch && width_in_bytes && height, CUDA_ERROR_INVALID_VALUE);
    NEED(element_size_bytes == 4 || element_size_bytes == 8 || element_size_bytes == 16, CUDA_ERROR_INVALID_VALUE);
    size_t row = ROUND_UP(width_in_bytes, 512), bytes;
    NEED(row >= width_in_bytes && !__builtin_mul_overflow(row, height, &bytes), CUDA_ERROR_OUT_OF_MEMORY);
    NEED_OK(heap_alloc(current->heap, bytes, false, pointer));
    *pitch = row;
    return CUDA_SUCCESS;
}

CUresult cuMemAllocManaged(CUdeviceptr *pointer, size_t bytes, unsigned int flags) {
    NEED_CONTEXT(current);
    NEED(pointer && bytes, CUDA_ERROR_INVALID_VALUE);
    NEED(flags == CU_MEM_ATTACH_GLOBAL || flags == CU_MEM_ATTACH_HOST, CUDA_ERROR_INVALID_VALUE);
    return heap_alloc(current->heap, bytes, true, pointer);
}

CUresult cuMemFree_v2(CUdeviceptr pointer) {
    NEED_DRIVER();
    return heap_free(pointer);
}

CUresult cuMemAllocAsync(CUdeviceptr *pointer, size_t bytes, CUstream stream) {
    NEED_CONTEXT(current);
    NEED_OK(stream_check(stream));
    NEED(pointer && bytes, CUDA_ERROR_INVALID_VALUE);
    return heap_alloc(current->heap, bytes, false, pointer);
}

CUresult cuMemFreeAsync(CUdeviceptr pointer, CUstream stream) {
    NEED_CONTEXT(current);
    NEED_OK(stream_check(stream));
    return heap_free(pointer);
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *bytes, CUdeviceptr pointer) {
    NEED_CONTEXT(current);
    extent found;
    NEED(heap_find(pointer, &found), CUDA_ERROR_NOT_FOUND);
    if (base) {
        *base = found.base;
    }
    if (bytes) {
        *bytes = found.bytes;
    }
    return CUDA_SUCCESS;
}
