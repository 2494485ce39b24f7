/* Binding memory to multicast objects, by its handle or its address. */
#include <stdlib.h>

#include "simulator/cuda/core/later.h"
#include "simulator/cuda/memory/heap.h"
#include "simulator/cuda/memory/multicast.h"
#include "simulator/cuda/memory/vmm.h"

/* Takes over the reference to the memory, unless it fails. */
static CUresult bind(CUmemGenericAllocationHandle mc_handle, size_t at, device *owner, physical *memory, size_t bytes) {
    struct multicast *in = multicast_of(mc_handle);
    NEED(in && bytes && at % GRANULE == 0 && bytes % GRANULE == 0, CUDA_ERROR_INVALID_VALUE);
    NEED(bytes <= in->bytes && at <= in->bytes - bytes, CUDA_ERROR_INVALID_VALUE);
    multicast_await(in);
    NEED(owner && in->team >> owner->gpu & 1, CUDA_ERROR_INVALID_DEVICE);
    binding *made = malloc(sizeof *made);
    NEED(made, CUDA_ERROR_OUT_OF_MEMORY);
    pthread_mutex_lock(&in->lock);
    bool clear = true;
    for (const binding *each = in->bindings; each; each = each->next) {
        clear = clear && !(each->owner == owner && at < each->at + each->bytes && each->at < at + bytes);
    }
    if (clear) {
        *made = (binding){at, bytes, owner, memory, in->bindings};
        in->bindings = made;
    } else {
        free(made);
    }
    pthread_mutex_unlock(&in->lock);
    return clear ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMulticastBindMem(CUmemGenericAllocationHandle mc_handle, size_t mc_offset,
                            CUmemGenericAllocationHandle mem_handle, size_t mem_offset, size_t size,
                            unsigned long long flags) {
    NEED_DRIVER();
    physical *memory = physical_of(mem_handle);
    NEED(memory && !memory->multicast && flags == 0 && mem_offset % GRANULE == 0, CUDA_ERROR_INVALID_VALUE);
    NEED(size <= memory->bytes && mem_offset <= memory->bytes - size, CUDA_ERROR_INVALID_VALUE);
    physical_ref(memory);
    CUresult result = bind(mc_handle, mc_offset, memory->device, memory, size);
    if (result != CUDA_SUCCESS) {
        physical_unref(memory);
    }
    return result;
}

CUresult cuMulticastBindAddr(CUmemGenericAllocationHandle mc_handle, size_t mc_offset, CUdeviceptr address, size_t size,
                             unsigned long long flags) {
    NEED_DRIVER();
    extent found;
    NEED(flags == 0 && address % GRANULE == 0 && heap_find(address, &found), CUDA_ERROR_INVALID_VALUE);
    NEED(size <= found.bytes && address - found.base <= found.bytes - size, CUDA_ERROR_INVALID_VALUE);
    CUmemGenericAllocationHandle mapped;
    physical *memory =
        cuMemRetainAllocationHandle(&mapped, (void *)(uintptr_t)address) == CUDA_SUCCESS ? physical_of(mapped) : NULL;
    CUresult result = bind(mc_handle, mc_offset, found.device, memory, size);
    if (result != CUDA_SUCCESS && memory) {
        physical_unref(memory);
    }
    return result;
}

CUresult cuMulticastBindMem_v2(CUmemGenericAllocationHandle mc_handle, CUdevice ordinal, size_t mc_offset,
                               CUmemGenericAllocationHandle mem_handle, size_t mem_offset, size_t size,
                               unsigned long long flags) {
    NEED_DEVICE(chosen, ordinal);
    physical *memory = physical_of(mem_handle);
    NEED(memory && memory->device == chosen, CUDA_ERROR_INVALID_VALUE);
    return cuMulticastBindMem(mc_handle, mc_offset, mem_handle, mem_offset, size, flags);
}

CUresult cuMulticastBindAddr_v2(CUmemGenericAllocationHandle mc_handle, CUdevice ordinal, size_t mc_offset,
                                CUdeviceptr address, size_t size, unsigned long long flags) {
    NEED_DEVICE(chosen, ordinal);
    extent found;
    NEED(heap_find(address, &found) && found.device == chosen, CUDA_ERROR_INVALID_VALUE);
    return cuMulticastBindAddr(mc_handle, mc_offset, address, size, flags);
}

CUresult cuMulticastUnbind(CUmemGenericAllocationHandle mc_handle, CUdevice ordinal, size_t mc_offset, size_t size) {
    NEED_DEVICE(owner, ordinal);
    struct multicast *in = multicast_of(mc_handle);
    NEED(in, CUDA_ERROR_INVALID_VALUE);
    binding *found = NULL;
    pthread_mutex_lock(&in->lock);
    for (binding **link = &in->bindings; *link && !found; link = &(*link)->next) {
        if ((*link)->owner == owner && (*link)->at == mc_offset && (*link)->bytes == size) {
            found = *link;
            *link = found->next;
            break;
        }
    }
    pthread_mutex_unlock(&in->lock);
    NEED(found, CUDA_ERROR_INVALID_VALUE);
    if (found->memory) {
        physical_unref(found->memory);
    }
    free(found);
    return CUDA_SUCCESS;
}
