/* Linear and managed allocations, and the attributes of pointers. */
#include <string.h>

#include "simulator/cuda/core/capture_guard.h"
#include "simulator/cuda/memory/heap.h"
#include "simulator/cuda/memory/host.h"
#include "simulator/cuda/memory/ipc.h"
#include "simulator/cuda/memory/pool.h"

CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
    NEED_CONTEXT(current);
    const sim_gpu *card = current->device->card;
    if (free_bytes) {
        *free_bytes = sim_memory_free_bytes(sim_driver.machine, current->device->gpu);
    }
    if (total) {
        *total = card->total_memory - card->reserved_memory;
    }
    return CUDA_SUCCESS;
}

CUresult cuMemAlloc_v2(CUdeviceptr *pointer, size_t bytes) {
    NEED_CONTEXT(current);
    NEED(pointer && bytes, CUDA_ERROR_INVALID_VALUE);
    NEED_OK(capture_forbids_unsafe());
    return heap_alloc(current->heap, bytes, false, pointer);
}

CUresult cuMemAllocPitch_v2(CUdeviceptr *pointer, size_t *pitch, size_t width_in_bytes, size_t height,
                            unsigned int element_size_bytes) {
    NEED_CONTEXT(current);
    NEED(pointer && pitch && width_in_bytes && height, CUDA_ERROR_INVALID_VALUE);
    NEED(element_size_bytes == 4 || element_size_bytes == 8 || element_size_bytes == 16, CUDA_ERROR_INVALID_VALUE);
    NEED(width_in_bytes <= 2147483647, CUDA_ERROR_INVALID_VALUE);
    NEED_OK(capture_forbids_unsafe());
    size_t row = ROUND_UP(width_in_bytes, 512), bytes;
    NEED(!__builtin_mul_overflow(row, height, &bytes), CUDA_ERROR_OUT_OF_MEMORY);
    NEED_OK(heap_alloc(current->heap, bytes, false, pointer));
    *pitch = row;
    return CUDA_SUCCESS;
}

CUresult cuMemAllocManaged(CUdeviceptr *pointer, size_t bytes, unsigned int flags) {
    NEED_CONTEXT(current);
    NEED(pointer && bytes, CUDA_ERROR_INVALID_VALUE);
    NEED(flags == CU_MEM_ATTACH_GLOBAL || flags == CU_MEM_ATTACH_HOST, CUDA_ERROR_INVALID_VALUE);
    NEED_OK(capture_forbids_unsafe());
    return heap_alloc(current->heap, bytes, true, pointer);
}

CUresult cuMemFree_v2(CUdeviceptr pointer) {
    NEED_DRIVER();
    extent found;
    if (!pointer) {
        return CUDA_SUCCESS;
    }
    if (ipc_is_pooled(pointer)) {
        NEED_OK(capture_forbids_unsafe());
        return ipc_free(pointer);
    }
    NEED(heap_find(pointer, &found), CUDA_ERROR_INVALID_VALUE);
    NEED_OK(capture_forbids_unsafe());
    if (found.context) {
        context_wait(found.context); /* freeing waits for the work that may use it */
        NEED(!context_lost(found.context), CUDA_ERROR_UNKNOWN);
    }
    NEED(found.base == pointer, CUDA_ERROR_INVALID_VALUE);
    pool_freed(&found); /* before its last allocation takes a destroyed pool along */
    return heap_free(pointer);
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *bytes, CUdeviceptr pointer) {
    NEED_CONTEXT(current);
    extent found;
    NEED(heap_find(pointer, &found) || host_find(pointer, &found), CUDA_ERROR_NOT_FOUND);
    if (base) {
        *base = found.base;
    }
    if (bytes) {
        *bytes = found.bytes;
    }
    return CUDA_SUCCESS;
}

/* ---- Attributes of pointers. */

CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr pointer) {
    NEED_DRIVER();
    NEED(data, CUDA_ERROR_INVALID_VALUE);
    extent found = {0};
    bool on_gpu = heap_find(pointer, &found);
    bool host = !on_gpu && host_find(pointer, &found);
    NEED(on_gpu || host, CUDA_ERROR_INVALID_VALUE);
    int ordinal = found.device ? (int)(found.device - sim_driver.devices) : CU_DEVICE_CPU;
    switch ((int)attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT: *(CUcontext *)data = found.context; break;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        *(CUmemorytype *)data = on_gpu && found.device ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
        break;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER: *(CUdeviceptr *)data = pointer; break;
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
        NEED(host || found.managed || !found.device, CUDA_ERROR_INVALID_VALUE);
        *(CUdeviceptr *)data = pointer;
        break;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED: *(int *)data = found.managed; break;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: *(int *)data = ordinal; break;
    case CU_POINTER_ATTRIBUTE_BUFFER_ID: *(unsigned long long *)data = found.base; break;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR: *(CUdeviceptr *)data = found.base; break;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE: *(size_t *)data = found.bytes; break;
    case CU_POINTER_ATTRIBUTE_MAPPED: *(int *)data = 1; break;
    case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
    case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE: *(int *)data = 0; break;
    case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE: *(int *)data = on_gpu && !found.pool && !found.managed; break;
    case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES: *(unsigned long long *)data = 0; break;
    case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE: *(CUmemoryPool *)data = found.pool; break;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

CUresult cuPointerGetAttributes(unsigned int attribute_count, CUpointer_attribute *attributes, void **data,
                                CUdeviceptr pointer) {
    NEED_DRIVER();
    NEED(attribute_count && attributes && data, CUDA_ERROR_INVALID_VALUE);
    for (unsigned i = 0; i < attribute_count; i++) {
        if (cuPointerGetAttribute(data[i], attributes[i], pointer) != CUDA_SUCCESS) {
            /* A pointer unknown here is a plain host pointer: every answer is empty. */
            bool word = attributes[i] == CU_POINTER_ATTRIBUTE_CONTEXT ||
                        attributes[i] == CU_POINTER_ATTRIBUTE_DEVICE_POINTER ||
                        attributes[i] == CU_POINTER_ATTRIBUTE_HOST_POINTER ||
                        attributes[i] == CU_POINTER_ATTRIBUTE_RANGE_START_ADDR ||
                        attributes[i] == CU_POINTER_ATTRIBUTE_RANGE_SIZE;
            memset(data[i], 0, word ? 8 : 4);
            if (attributes[i] == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL) {
                *(int *)data[i] = CU_DEVICE_INVALID;
            }
        }
    }
    return CUDA_SUCCESS;
}

CUresult cuPointerSetAttribute(const void *value, CUpointer_attribute attribute, CUdeviceptr pointer) {
    NEED_DRIVER();
    extent found;
    NEED(value && attribute == CU_POINTER_ATTRIBUTE_SYNC_MEMOPS && heap_find(pointer, &found),
         CUDA_ERROR_INVALID_VALUE);
    return CUDA_SUCCESS;
}
