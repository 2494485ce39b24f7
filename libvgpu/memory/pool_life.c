/* The life of pools and of their allocations. */
#include "libvgpu/memory/pool_table.h"
#include "libvgpu/memory/pools.h"

/* Whether pools may hold memory that they are about to release. */
static bool freed;

static void mark_freed(void) {
    __atomic_store_n(&freed, true, __ATOMIC_RELEASE);
}

/* Returns the bytes that the pool keeps even when they are unused. */
static uint64_t kept(const struct pool *pool) {
    uint64_t threshold;
    return DRIVER(cuMemPoolGetAttribute)(pool->handle, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold) == CUDA_SUCCESS
               ? threshold
               : UINT64_MAX;
}

/* Ends a destroyed pool whose last allocation was freed. `late`: the GPU may not have reached that free. */
static void end_with_last(struct pool *pool, bool late) {
    pool_table_lock();
    if (pool->taken && pool->gone && __atomic_load_n(&pool->living, __ATOMIC_SEQ_CST) == 0) {
        pool->late = late;
        if (!late) {
            pool_end(pool);
        }
    }
    pool_table_unlock();
    if (late) {
        mark_freed();
    }
}

static bool is_gone(const struct pool *pool) {
    return __atomic_load_n(&pool->gone, __ATOMIC_SEQ_CST);
}

void pool_allocated(struct pool *pool) {
    __atomic_add_fetch(&pool->living, 1, __ATOMIC_SEQ_CST);
}

static void drop(struct pool *pool, bool late) {
    if (__atomic_sub_fetch(&pool->living, 1, __ATOMIC_SEQ_CST) == 0 && is_gone(pool)) {
        end_with_last(pool, late);
    }
}

void pool_freed(struct pool *pool) {
    mark_freed();
    drop(pool, false);
}

/* A host function of the stream. It must not lock: the thread that holds the lock may wait for the driver, which waits
 * for this function. */
static void reached(void *data) {
    struct pool *pool = data;
    if (__atomic_sub_fetch(&pool->living, 1, __ATOMIC_SEQ_CST) == 0) {
        __atomic_store_n(&pool->over, true, __ATOMIC_RELEASE);
        mark_freed();
    }
}

void pool_freed_in_stream(struct pool *pool, CUstream stream) {
    mark_freed();
    /* The driver doesn't report when memory of a destroyed pool is released, so the stream calls back when it has
     * reached the free. */
    if (is_gone(pool) && DRIVER(cuLaunchHostFunc) != NULL &&
        DRIVER(cuLaunchHostFunc)(stream, reached, pool) == CUDA_SUCCESS) {
        return;
    }
    drop(pool, true);
}

void pools_settle(void) {
    /* The thread that holds the lock is reading the sizes, or will at its next synchronization. */
    if (!__atomic_load_n(&freed, __ATOMIC_RELAXED) || !pool_table_try_lock()) {
        return;
    }
    __atomic_store_n(&freed, false, __ATOMIC_RELAXED);
    bool more = false;
    for (struct pool *pool = pool_table; pool < pool_table + MOST_POOLS; pool++) {
        if (pool->taken && pool->gone && pool->late) {
            pool_end(pool);
        }
        pool_end_if_over(pool);
        if (!pool->taken || pool->gone || pool->handle == NULL || pool->gpu == NO_GPU || pool->counted == 0) {
            continue;
        }
        pool_count_size(pool);
        more |= pool->counted > kept(pool);
    }
    if (more) {
        mark_freed();
    }
    pool_table_unlock();
}

/* From before the driver's call on, the handle may name another thread's new pool. */
static bool leaves(struct pool *pool, CUmemoryPool handle) {
    pool_table_lock();
    bool ours = pool->taken && !pool->gone && pool->handle == handle;
    if (ours) {
        pool_count_size(pool);
        __atomic_store_n(&pool->gone, true, __ATOMIC_SEQ_CST);
        pool->calls++;
    }
    pool_table_unlock();
    return ours;
}

static void left(struct pool *pool, CUresult result) {
    pool_table_lock();
    pool->calls--;
    if (result != CUDA_SUCCESS) {
        __atomic_store_n(&pool->gone, false, __ATOMIC_SEQ_CST);
    } else if (__atomic_load_n(&pool->living, __ATOMIC_SEQ_CST) == 0) {
        pool->late = pool->counted > 0;
        if (!pool->late) {
            pool_end(pool);
        }
        mark_freed();
    }
    pool_end_if_over(pool);
    pool_table_unlock();
}

CUresult pools_destroy(CUmemoryPool handle, CUresult (*destroy)(CUmemoryPool)) {
    pool_table_lock();
    struct pool *pool = pool_table_find(handle, 0);
    pool_table_unlock();
    if (pool == NULL || pool->stays) {
        return destroy(handle);
    }
    if (pool->gpu != NO_GPU && DRIVER(cuMemPoolTrimTo) != NULL) {
        DRIVER(cuMemPoolTrimTo)(handle, 0);
    }
    bool ours = leaves(pool, handle);
    CUresult result = destroy(handle);
    if (ours) {
        left(pool, result);
    }
    return result;
}
