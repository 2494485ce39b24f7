/* Memory of graphs. Addresses last as long as a graph that knows them; the memory behind them is reserved at a launch. After a
 * free the device keeps it for the next launches, until it is trimmed. */
#include "simulator/cuda/memory/graph_memory.h"

struct heap *graph_heap(CUcontext context, device *chosen) {
    static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;
    static struct heap *elsewhere[SIM_MAX_GPUS];
    if (context->device == chosen) {
        return context->heap;
    }
    struct heap **place = &elsewhere[chosen - sim_driver.devices];
    pthread_mutex_lock(&making);
    if (!*place) {
        *place = heap_new(chosen, NULL, NULL);
    }
    pthread_mutex_unlock(&making);
    return *place;
}

size_t heap_reserved_bytes(CUdeviceptr pointer) {
    block *home = block_at(pointer);
    return home && home->refs && home->base == (uintptr_t)pointer ? home->bytes : 0;
}

CUdeviceptr heap_lender(CUdeviceptr pointer, size_t index) {
    const block *home = block_at(pointer);
    return home && index < home->lender_count ? home->lenders[index].base : 0;
}

CUresult heap_reserve(struct heap *heap, size_t bytes, const CUdeviceptr *lenders, size_t lender_count,
                      CUdeviceptr *pointer) {
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
        result = lender_count ? block_borrow(made, lenders, lender_count) : CUDA_SUCCESS;
    }
    pthread_mutex_unlock(&heap->lock);
    return result;
}

CUresult heap_charge(CUdeviceptr pointer) {
    block *home = block_at(pointer);
    NEED(home, CUDA_ERROR_INVALID_VALUE);
    CUresult result;
    pthread_mutex_lock(&home->heap->lock);
    if (home->charged) {
        result = home->frees ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    } else {
        result = block_charge(home) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
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

CUresult cuDeviceGetGraphMemAttribute(CUdevice ordinal, CUgraphMem_attribute attribute, void *value) {
    NEED_DEVICE(chosen, ordinal);
    NEED(value, CUDA_ERROR_INVALID_VALUE);
    uint64_t *answer = value;
    CUresult result = CUDA_SUCCESS;
    pthread_mutex_lock(&chosen->graph_lock);
    switch ((int)attribute) {
    case CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT: *answer = chosen->graph_used; break;
    case CU_GRAPH_MEM_ATTR_USED_MEM_HIGH: *answer = chosen->graph_used_high; break;
    case CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT: *answer = chosen->graph_reserved; break;
    case CU_GRAPH_MEM_ATTR_RESERVED_MEM_HIGH: *answer = chosen->graph_reserved_high; break;
    default: result = CUDA_ERROR_INVALID_VALUE;
    }
    pthread_mutex_unlock(&chosen->graph_lock);
    return result;
}

CUresult cuDeviceSetGraphMemAttribute(CUdevice ordinal, CUgraphMem_attribute attribute, void *value) {
    NEED_DEVICE(chosen, ordinal);
    NEED(value && *(uint64_t *)value == 0, CUDA_ERROR_INVALID_VALUE);
    CUresult result = CUDA_SUCCESS;
    pthread_mutex_lock(&chosen->graph_lock);
    switch ((int)attribute) {
    case CU_GRAPH_MEM_ATTR_USED_MEM_HIGH: chosen->graph_used_high = chosen->graph_used; break;
    case CU_GRAPH_MEM_ATTR_RESERVED_MEM_HIGH: chosen->graph_reserved_high = chosen->graph_reserved; break;
    default: result = CUDA_ERROR_INVALID_VALUE;
    }
    pthread_mutex_unlock(&chosen->graph_lock);
    return result;
}

CUresult cuDeviceGraphMemTrim(CUdevice ordinal) {
    NEED_DEVICE(chosen, ordinal);
    graph_memory_trim(chosen);
    return CUDA_SUCCESS;
}
