#include <time.h>

#include "libvgpu/memory/implicit.h"
#include "libvgpu/memory/pages.h"
#include "libvgpu/memory/pool_table.h"
#include "libvgpu/memory/pools.h"
#include "libvgpu/memory/quota.h"

/* Near the limit, how long a refusal waits for calls of other threads, which may have reserved more than they need. A call
 * that the driver holds up takes longer. */
#define WAIT_TURNS 20
#define WAIT_NS 500000

static uint64_t above(uint64_t has, uint64_t least) {
    return has > least ? has - least : 0;
}

/* Reserves for one call. QUOTA_REFUSED, and `busy`: other calls on the GPU are under way. */
static enum quota_answer reserve(struct pool *pool, struct pool_growth *growth, bool last, bool *busy) {
    uint64_t size, used, whole;
    uint64_t idle = pool_read_size(pool, &size, &used) ? above(size + pool->reserved, used + pool->wanted) : 0;
    *busy = false;
    if (!pages_whole(above(growth->wanted, idle), &whole)) {
        return QUOTA_REFUSED;
    }
    enum quota_answer answer = last ? quota_take(pool->gpu, whole) : quota_try(pool->gpu, whole);
    if (answer != QUOTA_REFUSED) {
        growth->reserved = quota_counted(answer) ? whole : 0;
        pool->reserved += growth->reserved;
        pool->wanted += growth->wanted;
        pool->calls++;
        return answer;
    }
    pool_table_refresh(pool->gpu);
    for (struct pool *each = pool_table; each < pool_table + MOST_POOLS; each++) {
        *busy |= each->taken && each->gpu == pool->gpu && each->calls > 0;
    }
    return QUOTA_REFUSED;
}

static void cancel(struct pool *pool, struct pool_growth *growth) {
    pool_table_lock();
    pool->reserved -= growth->reserved;
    pool->wanted -= growth->wanted;
    pool->calls--;
    quota_give(pool->gpu, growth->reserved);
    pool_end_if_over(pool);
    pool_table_unlock();
}

bool pool_begin_growth(struct pool *pool, struct pool_growth *growth, uint64_t bytes) {
    *growth = (struct pool_growth){.wanted = bytes};
    bool busy, last = false;
    for (int turn = 0;; turn++) {
        pool_table_lock();
        enum quota_answer answer = reserve(pool, growth, last, &busy);
        pool_table_unlock();
        if (answer == QUOTA_NEAR && !implicit_fits(pool->gpu, growth->reserved)) {
            cancel(pool, growth);
            answer = QUOTA_REFUSED;
        }
        if (answer != QUOTA_REFUSED || last) {
            return answer != QUOTA_REFUSED;
        }
        if (turn == 0) {
            implicit_refresh_before_refusal(pool->gpu);
        }
        if (busy && turn > 0 && turn < WAIT_TURNS) {
            nanosleep(&(struct timespec){.tv_nsec = WAIT_NS}, NULL);
        } else {
            last = turn > 0 || !busy;
        }
    }
}

bool pool_end_growth(struct pool *pool, struct pool_growth *growth) {
    pool_table_lock();
    /* The reserved bytes are the pool's now. Following the driver's size gives back what wasn't needed. */
    pool->reserved -= growth->reserved;
    pool->counted += growth->reserved;
    pool->wanted -= growth->wanted;
    pool->calls--;
    bool fits = pool_count_size(pool);
    pool_end_if_over(pool);
    pool_table_unlock();
    return fits;
}
