/* Memory pools. Freed memory beyond a pool's release threshold goes back to the GPU at once. */
#include "simulator/cuda/memory/pool.h"

#include "simulator/cuda/memory/heap.h"

struct CUmemPoolHandle_st {
    object object;
    bool destroyed; /* its allocations live on */
    device *device;
    struct heap *heap;
    unsigned access[SIM_MAX_GPUS]; /* CUmemAccess_flags of each device, by ordinal */
    CUmemPoolProps properties;
    int reuse[4]; /* by attribute */
    uint64_t threshold;
    uint64_t used, used_high;
};

static CUmemoryPool pool_new(device *chosen, const CUmemPoolProps *properties) {
    CUmemoryPool made = object_new(KIND_POOL, sizeof *made);
    if (made) {
        made->device = chosen;
        made->properties = *properties;
        made->access[chosen - sim_driver.devices] = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
        made->heap = heap_new(chosen, NULL, made);
        for (int i = 0; i < 4; i++) {
            made->reuse[i] = 1;
        }
    }
    return made;
}

static CUmemoryPool default_pool(device *chosen) {
    pthread_mutex_lock(&chosen->lock);
    if (!chosen->default_pool) {
        CUmemPoolProps usual = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                .location = {CU_MEM_LOCATION_TYPE_DEVICE, (int)(chosen - sim_driver.devices)}};
        chosen->default_pool = pool_new(chosen, &usual);
        chosen->pool = chosen->default_pool;
    }
    pthread_mutex_unlock(&chosen->lock);
    return chosen->default_pool;
}

CUmemoryPool pool_current(device *chosen) {
    return default_pool(chosen) ? chosen->pool : NULL;
}

bool pool_is_open(CUmemoryPool pool) {
    return object_is(pool, KIND_POOL) && !pool->destroyed;
}

const CUmemPoolProps *pool_properties(CUmemoryPool pool) {
    return &pool->properties;
}

CUresult cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *pool_props) {
    NEED_DRIVER();
    NEED(pool && pool_props && pool_props->type == CU_MEM_ALLOCATION_TYPE_PINNED, CUDA_ERROR_INVALID_VALUE);
    NEED(pool_props->location.type == CU_MEM_LOCATION_TYPE_DEVICE, CUDA_ERROR_INVALID_VALUE);
    device *chosen = device_at(pool_props->location.id);
    NEED(chosen, CUDA_ERROR_INVALID_DEVICE);
    *pool = pool_new(chosen, pool_props);
    return *pool ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuMemPoolDestroy(CUmemoryPool pool) {
    NEED_DRIVER();
    NEED_POOL(pool);
    NEED(pool != pool->device->default_pool, CUDA_ERROR_INVALID_VALUE);
    pthread_mutex_lock(&pool->device->lock);
    if (pool->device->pool == pool) {
        pool->device->pool = pool->device->default_pool;
    }
    pthread_mutex_unlock(&pool->device->lock);
    pool->destroyed = true;
    heap_leave(pool->heap);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool_out, CUdevice ordinal) {
    NEED_DEVICE(chosen, ordinal);
    NEED(pool_out, CUDA_ERROR_INVALID_VALUE);
    *pool_out = default_pool(chosen);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice ordinal) {
    NEED_DEVICE(chosen, ordinal);
    NEED(pool, CUDA_ERROR_INVALID_VALUE);
    default_pool(chosen);
    *pool = chosen->pool;
    return CUDA_SUCCESS;
}

CUresult cuDeviceSetMemPool(CUdevice ordinal, CUmemoryPool pool) {
    NEED_DEVICE(chosen, ordinal);
    NEED_POOL(pool);
    NEED(pool->device == chosen, CUDA_ERROR_INVALID_VALUE);
    default_pool(chosen);
    chosen->pool = pool;
    return CUDA_SUCCESS;
}

CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void *value) {
    NEED_DRIVER();
    NEED_POOL(pool);
    NEED(value, CUDA_ERROR_INVALID_VALUE);
    switch ((int)attribute) {
    case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES: *(int *)value = pool->reuse[attribute]; break;
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD: *(uint64_t *)value = pool->threshold; break;
    case CU_MEMPOOL_ATTR_USED_MEM_CURRENT: *(uint64_t *)value = pool->used; break;
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH: *(uint64_t *)value = pool->used_high; break;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT: *(uint64_t *)value = heap_charged_bytes(pool->heap, false); break;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH: *(uint64_t *)value = heap_charged_bytes(pool->heap, true); break;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void *value) {
    NEED_DRIVER();
    NEED_POOL(pool);
    NEED(value, CUDA_ERROR_INVALID_VALUE);
    switch ((int)attribute) {
    case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES: pool->reuse[attribute] = *(int *)value != 0; break;
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
        pool->threshold = *(uint64_t *)value;
        heap_hold(pool->heap, pool->threshold);
        break;
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
        NEED(*(uint64_t *)value == 0, CUDA_ERROR_INVALID_VALUE);
        pool->used_high = pool->used;
        break;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
        NEED(*(uint64_t *)value == 0, CUDA_ERROR_INVALID_VALUE);
        heap_forget_high(pool->heap);
        break;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t min_bytes_to_keep) {
    NEED_DRIVER();
    NEED_POOL(pool);
    heap_trim(pool->heap, min_bytes_to_keep);
    return CUDA_SUCCESS;
}

CUresult cuMemPoolSetAccess(CUmemoryPool pool, const CUmemAccessDesc *map, size_t count) {
    NEED_DRIVER();
    NEED_POOL(pool);
    NEED(map && count, CUDA_ERROR_INVALID_VALUE);
    for (size_t i = 0; i < count; i++) {
        NEED(map[i].location.type == CU_MEM_LOCATION_TYPE_DEVICE && device_at(map[i].location.id),
             CUDA_ERROR_INVALID_DEVICE);
        bool own = device_at(map[i].location.id) == pool->device;
        NEED(!own || map[i].flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE, CUDA_ERROR_INVALID_VALUE);
    }
    for (size_t i = 0; i < count; i++) {
        pool->access[map[i].location.id] = map[i].flags;
    }
    return CUDA_SUCCESS;
}

CUresult cuMemPoolGetAccess(CUmemAccess_flags *flags, CUmemoryPool mem_pool, CUmemLocation *location) {
    NEED_DRIVER();
    NEED_POOL(mem_pool);
    NEED(flags && location && location->type == CU_MEM_LOCATION_TYPE_DEVICE, CUDA_ERROR_INVALID_VALUE);
    NEED(device_at(location->id), CUDA_ERROR_INVALID_DEVICE);
    *flags = (CUmemAccess_flags)mem_pool->access[location->id];
    return CUDA_SUCCESS;
}

/* ---- Memory out of a pool. */

CUresult pool_alloc(CUmemoryPool pool, size_t bytes, CUdeviceptr *pointer) {
    NEED(!pool->properties.max_size || heap_charged_bytes(pool->heap, false) + bytes <= pool->properties.max_size,
         CUDA_ERROR_OUT_OF_MEMORY);
    NEED_OK(heap_alloc(pool->heap, bytes, false, pointer));
    uint64_t used = __atomic_add_fetch(&pool->used, bytes, __ATOMIC_RELAXED);
    uint64_t high = __atomic_load_n(&pool->used_high, __ATOMIC_RELAXED);
    while (used > high &&
           !__atomic_compare_exchange_n(&pool->used_high, &high, used, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    return CUDA_SUCCESS;
}

void pool_freed(const extent *freed) {
    if (freed->pool) {
        __atomic_sub_fetch(&freed->pool->used, freed->bytes, __ATOMIC_RELAXED);
    }
}
