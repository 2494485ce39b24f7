#include "libvgpu/memory/pools.h"

#include "libvgpu/base/lock.h"
#include "libvgpu/memory/pages.h"
#include "libvgpu/memory/quota.h"

#define MOST 256
#define DEVICES 64

struct pool {
    bool taken;
    CUmemoryPool handle; /* NULL: the pool of the device's graphs */
    CUdevice device;
    int gpu;
    uint64_t counted;
    uint64_t living; /* living allocations, which survive the pool's end */
    bool gone; /* the pool was destroyed: its memory stays with its allocations, and the driver doesn't report it */
    bool late; /* no allocation lives, but the GPU may not have reached the last free */
    bool over; /* the GPU has reached it */
};

MUTEX(lock);

/* Whether pools may hold memory that they are about to release. */
static bool freed;

static struct pool pools[MOST];

static bool read_size(const struct pool *pool, uint64_t *reserved, uint64_t *used) {
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

static struct pool *find(CUmemoryPool handle, CUdevice device) {
    for (struct pool *pool = pools; pool < pools + MOST; pool++) {
        if (pool->taken && !pool->gone && pool->handle == handle && (handle != NULL || pool->device == device)) {
            return pool;
        }
    }
    return NULL;
}

static struct pool *add(CUmemoryPool handle, CUdevice device) {
    struct pool *pool = find(handle, device);
    for (struct pool *free = pools; pool == NULL && free < pools + MOST; free++) {
        if (!free->taken) {
            pool = free;
        }
    }
    if (pool != NULL) {
        *pool = (struct pool){
            .taken = true, .handle = handle, .device = device, .gpu = device >= 0 ? devices_gpu(device) : NO_GPU};
    }
    return pool;
}

bool pools_note(CUmemoryPool handle, CUdevice device) {
    mutex_lock(&lock);
    bool noted = add(handle, device) != NULL;
    mutex_unlock(&lock);
    return noted;
}

/* Finds the device of a pool that the program didn't create: a default pool. */
static CUdevice device_of(CUmemoryPool handle) {
    int count = 0;
    CUmemoryPool own;
    if (DRIVER(cuDeviceGetCount) == NULL || DRIVER(cuDeviceGetDefaultMemPool) == NULL) {
        return CU_DEVICE_INVALID;
    }
    DRIVER(cuDeviceGetCount)(&count);
    for (CUdevice device = 0; device < count && device < DEVICES; device++) {
        if (DRIVER(cuDeviceGetDefaultMemPool)(&own, device) == CUDA_SUCCESS && own == handle) {
            return device;
        }
    }
    return CU_DEVICE_INVALID;
}

static struct pool *if_reported(struct pool *pool) {
    uint64_t reserved, used;
    return pool != NULL && pool->gpu != NO_GPU && read_size(pool, &reserved, &used) ? pool : NULL;
}

struct pool *pools_find(CUmemoryPool handle) {
    mutex_lock(&lock);
    struct pool *pool = find(handle, 0);
    if (pool == NULL) {
        CUdevice device = device_of(handle);
        pool = device >= 0 ? add(handle, device) : NULL;
    }
    mutex_unlock(&lock);
    return if_reported(pool);
}

struct pool *pools_of_graphs(CUdevice device) {
    mutex_lock(&lock);
    struct pool *pool = find(NULL, device);
    if (pool == NULL) {
        pool = add(NULL, device);
    }
    mutex_unlock(&lock);
    return if_reported(pool);
}

/* Counts the size that the driver reports. False, and nothing is changed, where that is more than is left. */
static bool follow(struct pool *pool) {
    uint64_t reserved, used;
    if (pool->gone || !read_size(pool, &reserved, &used)) {
        return true;
    }
    if (reserved > pool->counted && quota_try(pool->gpu, reserved - pool->counted) == QUOTA_REFUSED) {
        return false;
    }
    if (reserved < pool->counted) {
        quota_give(pool->gpu, pool->counted - reserved);
    }
    pool->counted = reserved;
    return true;
}

static void end(struct pool *pool) {
    if (pool->gpu != NO_GPU) {
        quota_give(pool->gpu, pool->counted);
    }
    pool->taken = false;
}

static void end_if_over(struct pool *pool) {
    if (pool->taken && __atomic_load_n(&pool->over, __ATOMIC_ACQUIRE)) {
        end(pool);
    }
}

static void refresh(int gpu) {
    for (struct pool *pool = pools; pool < pools + MOST; pool++) {
        end_if_over(pool);
        if (pool->taken && pool->gpu == gpu && pool->counted > 0) {
            follow(pool);
        }
    }
}

void pools_refresh(int gpu) {
    mutex_lock(&lock);
    refresh(gpu);
    mutex_unlock(&lock);
}

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
    mutex_lock(&lock);
    if (pool->taken && pool->gone && __atomic_load_n(&pool->living, __ATOMIC_SEQ_CST) == 0) {
        pool->late = late;
        if (!late) {
            end(pool);
        }
    }
    mutex_unlock(&lock);
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
    if (!__atomic_load_n(&freed, __ATOMIC_RELAXED) || !mutex_try_lock(&lock)) {
        return;
    }
    __atomic_store_n(&freed, false, __ATOMIC_RELAXED);
    bool more = false;
    for (struct pool *pool = pools; pool < pools + MOST; pool++) {
        if (pool->taken && pool->gone && pool->late) {
            end(pool);
        }
        end_if_over(pool);
        if (!pool->taken || pool->gone || pool->handle == NULL || pool->gpu == NO_GPU || pool->counted == 0) {
            continue;
        }
        follow(pool);
        more |= pool->counted > kept(pool);
    }
    if (more) {
        mark_freed();
    }
    mutex_unlock(&lock);
}

bool pool_begin_growth(struct pool *pool, struct pool_growth *growth, uint64_t bytes) {
    uint64_t reserved, used, whole = 0;
    mutex_lock(&lock);
    for (int turn = 0; turn < 2; turn++) {
        uint64_t idle = read_size(pool, &reserved, &used) && reserved > used ? reserved - used : 0;
        uint64_t need = bytes > idle ? bytes - idle : 0;
        if (!pages_whole(need, &whole)) {
            break;
        }
        *growth = (struct pool_growth){.bytes = whole};
        enum quota_answer answer = turn == 0 ? quota_try(pool->gpu, whole) : quota_take(pool->gpu, whole);
        growth->counted = answer == QUOTA_TAKEN;
        if (answer != QUOTA_REFUSED) {
            return true;
        }
        refresh(pool->gpu);
    }
    mutex_unlock(&lock);
    return false;
}

bool pool_end_growth(struct pool *pool, struct pool_growth *growth) {
    /* The reserved bytes are the pool's now. Following the driver's size gives back what wasn't needed. */
    if (growth->counted) {
        pool->counted += growth->bytes;
    }
    bool fits = follow(pool);
    mutex_unlock(&lock);
    return fits;
}

CUresult pools_destroy(CUmemoryPool handle, CUresult (*destroy)(CUmemoryPool)) {
    mutex_lock(&lock);
    struct pool *pool = find(handle, 0);
    if (pool != NULL && pool->gpu != NO_GPU && DRIVER(cuMemPoolTrimTo) != NULL &&
        DRIVER(cuMemPoolTrimTo)(handle, 0) == CUDA_SUCCESS) {
        follow(pool);
    }
    CUresult result = destroy(handle);
    if (result == CUDA_SUCCESS && pool != NULL) {
        __atomic_store_n(&pool->gone, true, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&pool->living, __ATOMIC_SEQ_CST) == 0) {
            pool->late = pool->counted > 0;
            if (!pool->late) {
                end(pool);
            }
            mark_freed();
        }
    }
    mutex_unlock(&lock);
    return result;
}
