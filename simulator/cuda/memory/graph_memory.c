/* Memory of graphs. Addresses last as long as a graph that knows them; the memory behind them is reserved at a launch and
 * released by a free. */
#include "simulator/cuda/memory/graph_memory.h"

CUresult heap_reserve(struct heap *heap, size_t bytes, CUdeviceptr *pointer) {
    NEED(bytes <= (size_t)1 << (ADDRESS_BITS - 1), CUDA_ERROR_OUT_OF_MEMORY);
    block *made;
    pthread_mutex_lock(&heap->lock);
    CUresult result = block_map(heap, ROUND_UP(bytes, PIECE), 0, &made);
    if (result == CUDA_SUCCESS) {
        made->asked = bytes;
        made->graph = true;
        made->refs = 1;
        block_link(&heap->large, made);
        *pointer = made->base;
    }
    pthread_mutex_unlock(&heap->lock);
    return result;
}

CUresult heap_charge(CUdeviceptr pointer) {
    block *home = block_at(pointer);
    NEED(home, CUDA_ERROR_INVALID_VALUE);
    device *owner = home->heap->device;
    CUresult result = CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&home->heap->lock);
    if (home->charged) {
        result = home->frees ? CUDA_SUCCESS : result;
    } else {
        result = CUDA_ERROR_OUT_OF_MEMORY;
        if (sim_memory_reserve(sim_driver.machine, owner->gpu, home->bytes) == SIM_OK) {
            home->charged = home->bytes;
            uint64_t all = __atomic_add_fetch(&owner->graph_bytes, home->bytes, __ATOMIC_RELAXED);
            owner->graph_bytes_high = all > owner->graph_bytes_high ? all : owner->graph_bytes_high;
            result = CUDA_SUCCESS;
        }
    }
    pthread_mutex_unlock(&home->heap->lock);
    return result;
}

void heap_uncharge(CUdeviceptr pointer) {
    block *home = block_at(pointer);
    if (home) {
        pthread_mutex_lock(&home->heap->lock);
        block_uncharge(home);
        pthread_mutex_unlock(&home->heap->lock);
    }
}

void heap_expect_free(CUdeviceptr pointer) {
    block *home = block_at(pointer);
    if (home && __atomic_load_n(&home->refs, __ATOMIC_RELAXED)) {
        pthread_mutex_lock(&home->heap->lock);
        home->frees++;
        pthread_mutex_unlock(&home->heap->lock);
    }
}

void heap_ref(CUdeviceptr pointer) {
    block *home = block_at(pointer);
    if (home) {
        __atomic_add_fetch(&home->refs, 1, __ATOMIC_RELAXED);
    }
}

void heap_unref(CUdeviceptr pointer) {
    block *home = block_at(pointer);
    if (!home || !home->refs || __atomic_sub_fetch(&home->refs, 1, __ATOMIC_ACQ_REL)) {
        return;
    }
    struct heap *heap = home->heap;
    pthread_mutex_lock(&heap->lock);
    if (!home->charged) { /* otherwise it has become an allocation like others */
        block_unlink(&heap->large, home);
        block_end(home);
    }
    pthread_mutex_unlock(&heap->lock);
}

/* ---- Memory of graphs on a device. */

static uint64_t graph_bytes(const device *owner, bool highest) {
    return highest ? owner->graph_bytes_high : __atomic_load_n(&owner->graph_bytes, __ATOMIC_RELAXED);
}

CUresult cuDeviceGetGraphMemAttribute(CUdevice ordinal, CUgraphMem_attribute attribute, void *value) {
    NEED_DEVICE(chosen, ordinal);
    NEED(value, CUDA_ERROR_INVALID_VALUE);
    switch ((int)attribute) {
    case CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT:
    case CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT: *(uint64_t *)value = graph_bytes(chosen, false); break;
    case CU_GRAPH_MEM_ATTR_USED_MEM_HIGH:
    case CU_GRAPH_MEM_ATTR_RESERVED_MEM_HIGH: *(uint64_t *)value = graph_bytes(chosen, true); break;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

CUresult cuDeviceSetGraphMemAttribute(CUdevice ordinal, CUgraphMem_attribute attribute, void *value) {
    NEED_DEVICE(chosen, ordinal);
    NEED(value && *(uint64_t *)value == 0, CUDA_ERROR_INVALID_VALUE);
    NEED(attribute == CU_GRAPH_MEM_ATTR_USED_MEM_HIGH || attribute == CU_GRAPH_MEM_ATTR_RESERVED_MEM_HIGH,
         CUDA_ERROR_INVALID_VALUE);
    chosen->graph_bytes_high = chosen->graph_bytes;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGraphMemTrim(CUdevice ordinal) {
    NEED_DEVICE(chosen, ordinal);
    return CUDA_SUCCESS;
}
