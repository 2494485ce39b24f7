#include "libvgpu/memory/pools.h"

#include "libvgpu/base/lock.h"
#include "libvgpu/memory/pages.h"

#define MOST 256
#define DEVICES 64

struct pool {
    bool taken;
    CUmemoryPool pool; /* NULL: the graphs' */
    CUdevice device;
    int gpu;
    uint64_t counted;
    uint64_t living; /* allocations that the pool's end would leave */
    bool gone;       /* the pool was destroyed: its memory stays with what lives, and nobody can be asked for it */
    bool late;       /* nothing lives any more, but the GPU may not be done with what was freed last */
    bool over;       /* it is done with it */
};

static struct mutex lock;

/* Whether pools may hold what they are about to give back. */
static bool freed;

static struct pool reserves[MOST];

static bool ask(const struct pool *reserve, uint64_t *reserved, uint64_t *used) {
    if (reserve->pool != NULL) {
        return DRIVER(cuMemPoolGetAttribute) != NULL &&
               DRIVER(cuMemPoolGetAttribute)(reserve->pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, reserved) ==
                   CUDA_SUCCESS &&
               DRIVER(cuMemPoolGetAttribute)(reserve->pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, used) == CUDA_SUCCESS;
    }
    return DRIVER(cuDeviceGetGraphMemAttribute) != NULL &&
           DRIVER(cuDeviceGetGraphMemAttribute)(reserve->device, CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT, reserved) ==
               CUDA_SUCCESS &&
           DRIVER(cuDeviceGetGraphMemAttribute)(reserve->device, CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT, used) ==
               CUDA_SUCCESS;
}

static struct pool *find(CUmemoryPool pool, CUdevice device) {
    for (struct pool *reserve = reserves; reserve < reserves + MOST; reserve++) {
        if (reserve->taken && !reserve->gone && reserve->pool == pool && (pool != NULL || reserve->device == device)) {
            return reserve;
        }
    }
    return NULL;
}

static struct pool *add(CUmemoryPool pool, CUdevice device) {
    struct pool *reserve = find(pool, device);
    for (struct pool *free = reserves; reserve == NULL && free < reserves + MOST; free++) {
        if (!free->taken) {
            reserve = free;
        }
    }
    if (reserve != NULL) {
        *reserve = (struct pool){
            .taken = true, .pool = pool, .device = device, .gpu = device >= 0 ? devices_gpu(device) : NO_GPU};
    }
    return reserve;
}

bool pools_note(CUmemoryPool pool, CUdevice device) {
    mutex_lock(&lock);
    bool noted = add(pool, device) != NULL;
    mutex_unlock(&lock);
    return noted;
}

/* A pool that nobody created is a device's own. */
static CUdevice device_of(CUmemoryPool pool) {
    int count = 0;
    CUmemoryPool own;
    if (DRIVER(cuDeviceGetCount) == NULL || DRIVER(cuDeviceGetDefaultMemPool) == NULL) {
        return CU_DEVICE_INVALID;
    }
    DRIVER(cuDeviceGetCount)(&count);
    for (CUdevice device = 0; device < count && device < DEVICES; device++) {
        if (DRIVER(cuDeviceGetDefaultMemPool)(&own, device) == CUDA_SUCCESS && own == pool) {
            return device;
        }
    }
    return CU_DEVICE_INVALID;
}

static struct pool *told(struct pool *reserve) {
    uint64_t reserved, used;
    return reserve != NULL && reserve->gpu != NO_GPU && ask(reserve, &reserved, &used) ? reserve : NULL;
}

struct pool *pools_find(CUmemoryPool pool) {
    mutex_lock(&lock);
    struct pool *reserve = find(pool, 0);
    if (reserve == NULL) {
        CUdevice device = device_of(pool);
        reserve = device >= 0 ? add(pool, device) : NULL;
    }
    mutex_unlock(&lock);
    return told(reserve);
}

struct pool *pools_of_graphs(CUdevice device) {
    mutex_lock(&lock);
    struct pool *reserve = find(NULL, device);
    if (reserve == NULL) {
        reserve = add(NULL, device);
    }
    mutex_unlock(&lock);
    return told(reserve);
}

/* Counts what the driver says; false, and nothing is changed, where more is not to be had. */
static bool follow(struct pool *reserve) {
    uint64_t reserved, used;
    if (reserve->gone || !ask(reserve, &reserved, &used)) {
        return true;
    }
    if (reserved > reserve->counted && quota_try(reserve->gpu, reserved - reserve->counted) == QUOTA_REFUSED) {
        return false;
    }
    if (reserved < reserve->counted) {
        quota_give(reserve->gpu, reserve->counted - reserved);
    }
    reserve->counted = reserved;
    return true;
}

static void end(struct pool *reserve) {
    if (reserve->gpu != NO_GPU) {
        quota_give(reserve->gpu, reserve->counted);
    }
    reserve->taken = false;
}

static void end_if_over(struct pool *reserve) {
    if (reserve->taken && __atomic_load_n(&reserve->over, __ATOMIC_ACQUIRE)) {
        end(reserve);
    }
}

static void look(int gpu) {
    for (struct pool *reserve = reserves; reserve < reserves + MOST; reserve++) {
        end_if_over(reserve);
        if (reserve->taken && reserve->gpu == gpu && reserve->counted > 0) {
            follow(reserve);
        }
    }
}

void pools_refresh(int gpu) {
    mutex_lock(&lock);
    look(gpu);
    mutex_unlock(&lock);
}

void pools_mark_freed(void) {
    __atomic_store_n(&freed, true, __ATOMIC_RELEASE);
}

/* What the pool keeps whether or not it is used. */
static uint64_t kept(const struct pool *reserve) {
    uint64_t threshold;
    return DRIVER(cuMemPoolGetAttribute)(reserve->pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold) == CUDA_SUCCESS
               ? threshold
               : UINT64_MAX;
}

/* Of a destroyed pool the last has gone; `late` where the GPU may still be at work before it. */
static void end_with_last(struct pool *reserve, bool late) {
    mutex_lock(&lock);
    if (reserve->taken && reserve->gone && __atomic_load_n(&reserve->living, __ATOMIC_SEQ_CST) == 0) {
        reserve->late = late;
        if (!late) {
            end(reserve);
        }
    }
    mutex_unlock(&lock);
    if (late) {
        pools_mark_freed();
    }
}

static bool is_gone(const struct pool *reserve) {
    return __atomic_load_n(&reserve->gone, __ATOMIC_SEQ_CST);
}

void pool_allocated(struct pool *reserve) {
    __atomic_add_fetch(&reserve->living, 1, __ATOMIC_SEQ_CST);
}

static void drop(struct pool *reserve, bool late) {
    if (__atomic_sub_fetch(&reserve->living, 1, __ATOMIC_SEQ_CST) == 0 && is_gone(reserve)) {
        end_with_last(reserve, late);
    }
}

void pool_freed(struct pool *reserve) {
    pools_mark_freed();
    drop(reserve, false);
}

/* Takes no lock: whoever has it may wait for the driver, which waits for this. */
static void reached(void *data) {
    struct pool *reserve = data;
    if (__atomic_sub_fetch(&reserve->living, 1, __ATOMIC_SEQ_CST) == 0) {
        __atomic_store_n(&reserve->over, true, __ATOMIC_RELEASE);
        pools_mark_freed();
    }
}

void pool_freed_in_stream(struct pool *reserve, CUstream stream) {
    pools_mark_freed();
    /* Nobody tells when memory of a destroyed pool has gone back: the stream says when it has come to that. */
    if (is_gone(reserve) && DRIVER(cuLaunchHostFunc) != NULL &&
        DRIVER(cuLaunchHostFunc)(stream, reached, reserve) == CUDA_SUCCESS) {
        return;
    }
    drop(reserve, true);
}

void pools_settle(void) {
    /* Whoever has the lock is looking, or will be at the next wait. */
    if (!__atomic_load_n(&freed, __ATOMIC_RELAXED) || !mutex_try_lock(&lock)) {
        return;
    }
    __atomic_store_n(&freed, false, __ATOMIC_RELAXED);
    bool more = false;
    for (struct pool *reserve = reserves; reserve < reserves + MOST; reserve++) {
        if (reserve->taken && reserve->gone && reserve->late) {
            end(reserve);
        }
        end_if_over(reserve);
        if (!reserve->taken || reserve->gone || reserve->pool == NULL || reserve->gpu == NO_GPU ||
            reserve->counted == 0) {
            continue;
        }
        follow(reserve);
        more |= reserve->counted > kept(reserve);
    }
    if (more) {
        pools_mark_freed();
    }
    mutex_unlock(&lock);
}

bool pool_begin_growth(struct pool *reserve, struct reservation *reservation, uint64_t bytes) {
    uint64_t reserved, used, whole = 0;
    mutex_lock(&lock);
    for (int turn = 0; turn < 2; turn++) {
        uint64_t idle = ask(reserve, &reserved, &used) && reserved > used ? reserved - used : 0;
        uint64_t need = bytes > idle ? bytes - idle : 0;
        if (!pages_whole(need, &whole)) {
            break;
        }
        *reservation = (struct reservation){.gpu = reserve->gpu, .bytes = whole};
        enum quota_answer answer = turn == 0 ? quota_try(reserve->gpu, whole) : quota_take(reserve->gpu, whole);
        reservation->counted = answer == QUOTA_TAKEN;
        if (answer != QUOTA_REFUSED) {
            return true;
        }
        look(reserve->gpu);
    }
    mutex_unlock(&lock);
    return false;
}

bool pool_end_growth(struct pool *reserve, struct reservation *reservation) {
    /* What was taken ahead is the reserve's from here on; following it gives back what wasn't needed. */
    if (reservation->counted) {
        reserve->counted += reservation->bytes;
    }
    bool fits = follow(reserve);
    mutex_unlock(&lock);
    return fits;
}

CUresult pools_destroy(CUmemoryPool pool, CUresult (*destroy)(CUmemoryPool)) {
    mutex_lock(&lock);
    struct pool *reserve = find(pool, 0);
    if (reserve != NULL && reserve->gpu != NO_GPU && DRIVER(cuMemPoolTrimTo) != NULL &&
        DRIVER(cuMemPoolTrimTo)(pool, 0) == CUDA_SUCCESS) {
        follow(reserve);
    }
    CUresult result = destroy(pool);
    if (result == CUDA_SUCCESS && reserve != NULL) {
        __atomic_store_n(&reserve->gone, true, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&reserve->living, __ATOMIC_SEQ_CST) == 0) {
            reserve->late = reserve->counted > 0;
            if (!reserve->late) {
                end(reserve);
            }
            pools_mark_freed();
        }
    }
    mutex_unlock(&lock);
    return result;
}
