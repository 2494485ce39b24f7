#include "libvgpu/memory/pool_table.h"

#include "libvgpu/base/lock.h"
#include "libvgpu/memory/quota.h"

MUTEX(lock);

struct pool pool_table[MOST_POOLS];

void pool_table_lock(void) {
    mutex_lock(&lock);
}

bool pool_table_try_lock(void) {
    return mutex_try_lock(&lock);
}

void pool_table_unlock(void) {
    mutex_unlock(&lock);
}

bool pool_read_size(const struct pool *pool, uint64_t *reserved, uint64_t *used) {
    if (pool->handle != NULL) {
        return DRIVER(cuMemPoolGetAttribute) != NULL &&
               DRIVER(cuMemPoolGetAttribute)(pool->handle, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, reserved) ==
                   CUDA_SUCCESS &&
               DRIVER(cuMemPoolGetAttribute)(pool->handle, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, used) == CUDA_SUCCESS;
    }
    return DRIVER(cuDeviceGetGraphMemAttribute) != NULL &&
           DRIVER(cuDeviceGetGraphMemAttribute)(pool->device, CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT, reserved) ==
               CUDA_SUCCESS &&
           DRIVER(cuDeviceGetGraphMemAttribute)(pool->device, CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT, used) == CUDA_SUCCESS;
}

struct pool *pool_table_find(CUmemoryPool handle, CUdevice device) {
    for (struct pool *pool = pool_table; pool < pool_table + MOST_POOLS; pool++) {
        if (pool->taken && !pool->gone && pool->handle == handle && (handle != NULL || pool->device == device)) {
            return pool;
        }
    }
    return NULL;
}

struct pool *pool_table_add(CUmemoryPool handle, CUdevice device) {
    struct pool *pool = pool_table_find(handle, device);
    for (struct pool *free = pool_table; pool == NULL && free < pool_table + MOST_POOLS; free++) {
        if (!free->taken) {
            pool = free;
        }
    }
    if (pool != NULL) {
        /* A new pool of a known handle: the old one ended without a call that libvgpu saw. */
        if (pool->taken && pool->gpu != NO_GPU) {
            quota_give(pool->gpu, pool->counted);
        }
        *pool = (struct pool){
            .taken = true, .handle = handle, .device = device, .gpu = device >= 0 ? devices_gpu(device) : NO_GPU};
    }
    return pool;
}

bool pool_count_size(struct pool *pool) {
    uint64_t size, used;
    if (pool->gone || !pool_read_size(pool, &size, &used)) {
        return true;
    }
    uint64_t has = pool->counted + pool->reserved;
    if (size > has) {
        enum quota_answer answer = quota_try(pool->gpu, size - has);
        if (answer == QUOTA_REFUSED) {
            return false;
        }
        pool->counted += quota_counted(answer) ? size - has : 0;
    } else if (size < pool->counted) {
        quota_give(pool->gpu, pool->counted - size);
        pool->counted = size;
    }
    return true;
}

void pool_end(struct pool *pool) {
    if (pool->calls > 0) {
        __atomic_store_n(&pool->over, true, __ATOMIC_RELEASE);
        return;
    }
    if (pool->gpu != NO_GPU) {
        quota_give(pool->gpu, pool->counted);
    }
    pool->taken = false;
}

void pool_end_if_over(struct pool *pool) {
    if (pool->taken && __atomic_load_n(&pool->over, __ATOMIC_ACQUIRE)) {
        pool_end(pool);
    }
}

void pool_table_refresh(int gpu) {
    for (struct pool *pool = pool_table; pool < pool_table + MOST_POOLS; pool++) {
        pool_end_if_over(pool);
        if (pool->taken && pool->gpu == gpu && pool->counted > 0) {
            pool_count_size(pool);
        }
    }
}
