#include "reserves.h"

#include "lock.h"
#include "pages.h"

#define MOST 256
#define DEVICES 64

struct reserve {
    bool taken;
    CUmemoryPool pool; /* NULL: the graphs' */
    CUdevice device;
    int card;
    uint64_t counted;
    uint64_t living; /* allocations that the pool's end would leave */
    bool gone;       /* the pool was destroyed: its memory stays with what lives, and nobody can be asked for it */
    bool late;       /* nothing lives any more, but the card may not be done with what was freed last */
    bool over;       /* it is done with it */
};

static struct lock lock;

/* Whether pools may hold what they are about to give back. */
static bool freed;

static struct reserve reserves[MOST];

static bool ask(const struct reserve *reserve, uint64_t *reserved, uint64_t *used) {
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

static struct reserve *find(CUmemoryPool pool, CUdevice device) {
    for (struct reserve *reserve = reserves; reserve < reserves + MOST; reserve++) {
        if (reserve->taken && !reserve->gone && reserve->pool == pool && (pool != NULL || reserve->device == device)) {
            return reserve;
        }
    }
    return NULL;
}

static struct reserve *add(CUmemoryPool pool, CUdevice device) {
    struct reserve *reserve = find(pool, device);
    for (struct reserve *free = reserves; reserve == NULL && free < reserves + MOST; free++) {
        if (!free->taken) {
            reserve = free;
        }
    }
    if (reserve != NULL) {
        *reserve = (struct reserve){
            .taken = true, .pool = pool, .device = device, .card = device >= 0 ? cards_of_device(device) : NO_CARD};
    }
    return reserve;
}

bool reserves_note_pool(CUmemoryPool pool, CUdevice device) {
    lock_take(&lock);
    bool noted = add(pool, device) != NULL;
    lock_give(&lock);
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

static struct reserve *told(struct reserve *reserve) {
    uint64_t reserved, used;
    return reserve != NULL && reserve->card != NO_CARD && ask(reserve, &reserved, &used) ? reserve : NULL;
}

struct reserve *reserves_of_pool(CUmemoryPool pool) {
    lock_take(&lock);
    struct reserve *reserve = find(pool, 0);
    if (reserve == NULL) {
        CUdevice device = device_of(pool);
        reserve = device >= 0 ? add(pool, device) : NULL;
    }
    lock_give(&lock);
    return told(reserve);
}

struct reserve *reserves_of_graphs(CUdevice device) {
    lock_take(&lock);
    struct reserve *reserve = find(NULL, device);
    if (reserve == NULL) {
        reserve = add(NULL, device);
    }
    lock_give(&lock);
    return told(reserve);
}

/* Counts what the driver says; false, and nothing is changed, where more is not to be had. */
static bool follow(struct reserve *reserve) {
    uint64_t reserved, used;
    if (reserve->gone || !ask(reserve, &reserved, &used)) {
        return true;
    }
    if (reserved > reserve->counted && quota_try(reserve->card, reserved - reserve->counted) == QUOTA_REFUSED) {
        return false;
    }
    if (reserved < reserve->counted) {
        quota_give(reserve->card, reserve->counted - reserved);
    }
    reserve->counted = reserved;
    return true;
}

static void end(struct reserve *reserve) {
    if (reserve->card != NO_CARD) {
        quota_give(reserve->card, reserve->counted);
    }
    reserve->taken = false;
}

static void end_if_over(struct reserve *reserve) {
    if (reserve->taken && __atomic_load_n(&reserve->over, __ATOMIC_ACQUIRE)) {
        end(reserve);
    }
}

static void look(int card) {
    for (struct reserve *reserve = reserves; reserve < reserves + MOST; reserve++) {
        end_if_over(reserve);
        if (reserve->taken && reserve->card == card && reserve->counted > 0) {
            follow(reserve);
        }
    }
}

void reserves_look(int card) {
    lock_take(&lock);
    look(card);
    lock_give(&lock);
}

void reserves_freed(void) {
    __atomic_store_n(&freed, true, __ATOMIC_RELEASE);
}

/* What the pool keeps whether or not it is used. */
static uint64_t kept(const struct reserve *reserve) {
    uint64_t threshold;
    return DRIVER(cuMemPoolGetAttribute)(reserve->pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold) == CUDA_SUCCESS
               ? threshold
               : UINT64_MAX;
}

/* Of a destroyed pool the last has gone; `late` where the card may still be at work before it. */
static void end_with_last(struct reserve *reserve, bool late) {
    lock_take(&lock);
    if (reserve->taken && reserve->gone && __atomic_load_n(&reserve->living, __ATOMIC_SEQ_CST) == 0) {
        reserve->late = late;
        if (!late) {
            end(reserve);
        }
    }
    lock_give(&lock);
    if (late) {
        reserves_freed();
    }
}

static bool is_gone(const struct reserve *reserve) {
    return __atomic_load_n(&reserve->gone, __ATOMIC_SEQ_CST);
}

void reserve_allocated(struct reserve *reserve) {
    __atomic_add_fetch(&reserve->living, 1, __ATOMIC_SEQ_CST);
}

static void drop(struct reserve *reserve, bool late) {
    if (__atomic_sub_fetch(&reserve->living, 1, __ATOMIC_SEQ_CST) == 0 && is_gone(reserve)) {
        end_with_last(reserve, late);
    }
}

void reserve_freed(struct reserve *reserve) {
    reserves_freed();
    drop(reserve, false);
}

/* Takes no lock: whoever has it may wait for the driver, which waits for this. */
static void reached(void *data) {
    struct reserve *reserve = data;
    if (__atomic_sub_fetch(&reserve->living, 1, __ATOMIC_SEQ_CST) == 0) {
        __atomic_store_n(&reserve->over, true, __ATOMIC_RELEASE);
        reserves_freed();
    }
}

void reserve_freed_in(struct reserve *reserve, CUstream stream) {
    reserves_freed();
    /* Nobody tells when memory of a destroyed pool has gone back: the stream says when it has come to that. */
    if (is_gone(reserve) && DRIVER(cuLaunchHostFunc) != NULL &&
        DRIVER(cuLaunchHostFunc)(stream, reached, reserve) == CUDA_SUCCESS) {
        return;
    }
    drop(reserve, true);
}

void reserves_settle(void) {
    /* Whoever has the lock is looking, or will be at the next wait. */
    if (!__atomic_load_n(&freed, __ATOMIC_RELAXED) || !lock_try(&lock)) {
        return;
    }
    __atomic_store_n(&freed, false, __ATOMIC_RELAXED);
    bool more = false;
    for (struct reserve *reserve = reserves; reserve < reserves + MOST; reserve++) {
        if (reserve->taken && reserve->gone && reserve->late) {
            end(reserve);
        }
        end_if_over(reserve);
        if (!reserve->taken || reserve->gone || reserve->pool == NULL || reserve->card == NO_CARD ||
            reserve->counted == 0) {
            continue;
        }
        follow(reserve);
        more |= reserve->counted > kept(reserve);
    }
    if (more) {
        reserves_freed();
    }
    lock_give(&lock);
}

bool reserve_begin(struct reserve *reserve, struct claim *claim, uint64_t bytes) {
    uint64_t reserved, used, whole = 0;
    lock_take(&lock);
    for (int turn = 0; turn < 2; turn++) {
        uint64_t idle = ask(reserve, &reserved, &used) && reserved > used ? reserved - used : 0;
        uint64_t need = bytes > idle ? bytes - idle : 0;
        if (!pages_whole(need, &whole)) {
            break;
        }
        *claim = (struct claim){.card = reserve->card, .bytes = whole};
        enum quota_answer answer = turn == 0 ? quota_try(reserve->card, whole) : quota_take(reserve->card, whole);
        claim->counted = answer == QUOTA_TAKEN;
        if (answer != QUOTA_REFUSED) {
            return true;
        }
        look(reserve->card);
    }
    lock_give(&lock);
    return false;
}

bool reserve_end(struct reserve *reserve, struct claim *claim) {
    /* What was taken ahead is the reserve's from here on; following it gives back what wasn't needed. */
    if (claim->counted) {
        reserve->counted += claim->bytes;
    }
    bool fits = follow(reserve);
    lock_give(&lock);
    return fits;
}

CUresult reserves_end_pool(CUmemoryPool pool, CUresult (*destroy)(CUmemoryPool)) {
    lock_take(&lock);
    struct reserve *reserve = find(pool, 0);
    if (reserve != NULL && reserve->card != NO_CARD && DRIVER(cuMemPoolTrimTo) != NULL &&
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
            reserves_freed();
        }
    }
    lock_give(&lock);
    return result;
}
