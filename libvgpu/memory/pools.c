#include "libvgpu/memory/pools.h"

#include <time.h>

#include "libvgpu/base/lock.h"
#include "libvgpu/memory/pages.h"
#include "libvgpu/memory/quota.h"

#define MOST 256
#define DEVICES 64

/* Near the limit, how long a refusal waits for calls of other threads, which may have reserved more than they need. A call
 * that the driver holds up takes longer. */
#define WAIT_TURNS 20
#define WAIT_NS 500000

/* CU_MEMPOOL_ATTR_LOCATION_TYPE, since CUDA 13. */
#define ATTRIBUTE_LOCATION_TYPE ((CUmemPool_attribute)12)

struct pool {
    bool taken;
    CUmemoryPool handle; /* NULL: the pool of the device's graphs */
    CUdevice device;
    int gpu;
    bool stays; /* a device's default pool, which can't be destroyed */
    uint64_t counted;
    uint64_t reserved; /* from the share, for driver calls under way: more than `counted` */
    uint64_t wanted;   /* bytes that those calls allocate */
    unsigned calls;    /* under way: the entry stays as long */
    uint64_t living; /* living allocations, which survive the pool's end */
    bool gone; /* the pool was destroyed: its memory stays with its allocations, and the driver doesn't report it */
    bool late; /* no allocation lives, but the GPU may not have reached the last free */
    bool over; /* the GPU has reached it */
};

/* Held while sizes are read and counted, never while the driver allocates, launches, frees or destroys: such a call may
 * wait for the GPU, and the GPU for a thread that needs this lock. */
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

static bool is_default(CUmemoryPool handle, CUdevice device) {
    CUmemoryPool own;
    return DRIVER(cuDeviceGetDefaultMemPool)(&own, device) == CUDA_SUCCESS && own == handle;
}

/* Finds the device of a pool that the program didn't create: a default pool. The calling thread's device comes first: the
 * others may be busy with a call that waits. */
static CUdevice device_of(CUmemoryPool handle) {
    int count = 0;
    CUdevice current = CU_DEVICE_INVALID;
    if (DRIVER(cuDeviceGetCount) == NULL || DRIVER(cuDeviceGetDefaultMemPool) == NULL) {
        return CU_DEVICE_INVALID;
    }
    if (DRIVER(cuCtxGetDevice)(&current) == CUDA_SUCCESS && is_default(handle, current)) {
        return current;
    }
    DRIVER(cuDeviceGetCount)(&count);
    for (CUdevice device = 0; device < count && device < DEVICES; device++) {
        if (device != current && is_default(handle, device)) {
            return device;
        }
    }
    return CU_DEVICE_INVALID;
}

static struct pool *if_reported(struct pool *pool) {
    uint64_t reserved, used;
    return pool != NULL && pool->gpu != NO_GPU && read_size(pool, &reserved, &used) ? pool : NULL;
}

/* Asks the driver, as drivers of CUDA 13 can be, whether a pool that the program didn't create is in memory of no GPU. */
static bool of_no_device(CUmemoryPool handle) {
    int type;
    return DRIVER(cuMemPoolGetAttribute) != NULL &&
           DRIVER(cuMemPoolGetAttribute)(handle, ATTRIBUTE_LOCATION_TYPE, &type) == CUDA_SUCCESS && pools_of_host(type);
}

enum pool_place pools_find(CUmemoryPool handle, struct pool **found, int *gpu) {
    *found = NULL;
    mutex_lock(&lock);
    struct pool *pool = find(handle, 0);
    mutex_unlock(&lock);
    if (pool == NULL) {
        CUdevice device = device_of(handle);
        if (device < 0) {
            return of_no_device(handle) ? POOL_ELSEWHERE : POOL_UNKNOWN;
        }
        mutex_lock(&lock);
        pool = find(handle, 0);
        if (pool == NULL) {
            pool = add(handle, device);
        }
        if (pool != NULL) {
            pool->stays = true;
        }
        mutex_unlock(&lock);
    }
    if (pool != NULL && pool->device < 0) {
        return POOL_ELSEWHERE;
    }
    *found = if_reported(pool);
    if (*found == NULL) {
        return POOL_UNKNOWN;
    }
    *gpu = pool->gpu;
    return POOL_FOUND;
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

/* Counts the size that the driver reports. Growth by calls under way is in `reserved` already, and counted when they end.
 * False, and nothing is changed, where the size is more than is left. */
static bool follow(struct pool *pool) {
    uint64_t size, used;
    if (pool->gone || !read_size(pool, &size, &used)) {
        return true;
    }
    uint64_t has = pool->counted + pool->reserved;
    if (size > has) {
        enum quota_answer answer = quota_try(pool->gpu, size - has);
        if (answer == QUOTA_REFUSED) {
            return false;
        }
        pool->counted += answer == QUOTA_TAKEN ? size - has : 0;
    } else if (size < pool->counted) {
        quota_give(pool->gpu, pool->counted - size);
        pool->counted = size;
    }
    return true;
}

static void end(struct pool *pool) {
    if (pool->calls > 0) {
        __atomic_store_n(&pool->over, true, __ATOMIC_RELEASE);
        return;
    }
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

static uint64_t above(uint64_t has, uint64_t least) {
    return has > least ? has - least : 0;
}

/* Reserves for one call. QUOTA_REFUSED, and `busy`: other calls on the GPU are under way. */
static enum quota_answer reserve(struct pool *pool, struct pool_growth *growth, bool last, bool *busy) {
    uint64_t size, used, whole;
    uint64_t idle = read_size(pool, &size, &used) ? above(size + pool->reserved, used + pool->wanted) : 0;
    *busy = false;
    if (!pages_whole(above(growth->wanted, idle), &whole)) {
        return QUOTA_REFUSED;
    }
    enum quota_answer answer = last ? quota_take(pool->gpu, whole) : quota_try(pool->gpu, whole);
    if (answer != QUOTA_REFUSED) {
        growth->reserved = answer == QUOTA_TAKEN ? whole : 0;
        pool->reserved += growth->reserved;
        pool->wanted += growth->wanted;
        pool->calls++;
        return answer;
    }
    refresh(pool->gpu);
    for (struct pool *each = pools; each < pools + MOST; each++) {
        *busy |= each->taken && each->gpu == pool->gpu && each->calls > 0;
    }
    return QUOTA_REFUSED;
}

bool pool_begin_growth(struct pool *pool, struct pool_growth *growth, uint64_t bytes) {
    *growth = (struct pool_growth){.wanted = bytes};
    bool busy, last = false;
    for (int turn = 0;; turn++) {
        mutex_lock(&lock);
        enum quota_answer answer = reserve(pool, growth, last, &busy);
        mutex_unlock(&lock);
        if (answer != QUOTA_REFUSED || last) {
            return answer != QUOTA_REFUSED;
        }
        if (busy && turn > 0 && turn < WAIT_TURNS) {
            nanosleep(&(struct timespec){.tv_nsec = WAIT_NS}, NULL);
        } else {
            last = turn > 0 || !busy;
        }
    }
}

bool pool_end_growth(struct pool *pool, struct pool_growth *growth) {
    mutex_lock(&lock);
    /* The reserved bytes are the pool's now. Following the driver's size gives back what wasn't needed. */
    pool->reserved -= growth->reserved;
    pool->counted += growth->reserved;
    pool->wanted -= growth->wanted;
    pool->calls--;
    bool fits = follow(pool);
    end_if_over(pool);
    mutex_unlock(&lock);
    return fits;
}

void pool_follow(struct pool *pool) {
    mutex_lock(&lock);
    follow(pool);
    mutex_unlock(&lock);
}

/* From before the driver's call on, the handle may name another thread's new pool. */
static bool leaves(struct pool *pool, CUmemoryPool handle) {
    mutex_lock(&lock);
    bool ours = pool->taken && !pool->gone && pool->handle == handle;
    if (ours) {
        follow(pool);
        __atomic_store_n(&pool->gone, true, __ATOMIC_SEQ_CST);
        pool->calls++;
    }
    mutex_unlock(&lock);
    return ours;
}

static void left(struct pool *pool, CUresult result) {
    mutex_lock(&lock);
    pool->calls--;
    if (result != CUDA_SUCCESS) {
        __atomic_store_n(&pool->gone, false, __ATOMIC_SEQ_CST);
    } else if (__atomic_load_n(&pool->living, __ATOMIC_SEQ_CST) == 0) {
        pool->late = pool->counted > 0;
        if (!pool->late) {
            end(pool);
        }
        mark_freed();
    }
    end_if_over(pool);
    mutex_unlock(&lock);
}

CUresult pools_destroy(CUmemoryPool handle, CUresult (*destroy)(CUmemoryPool)) {
    mutex_lock(&lock);
    struct pool *pool = find(handle, 0);
    mutex_unlock(&lock);
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
