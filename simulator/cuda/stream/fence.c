#include "simulator/cuda/stream/fence.h"

#include <pthread.h>
#include <stdlib.h>

#include "simulator/cuda/stream/shared_event.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t settled = PTHREAD_COND_INITIALIZER;

fence *fence_new(void) {
    fence *made = calloc(1, sizeof *made);
    if (made) {
        made->refs = 1;
    }
    return made;
}

fence *fence_ref(fence *held) {
    if (held) {
        __atomic_add_fetch(&held->refs, 1, __ATOMIC_RELAXED);
    }
    return held;
}

void fence_unref(fence *held) {
    if (held && __atomic_sub_fetch(&held->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        shared_event_unref(held->shared);
        free(held);
    }
}

/* Notes that a fence of another process's record is settled. */
static void settle(fence *reached, uint64_t at_ns) {
    __atomic_store_n(&reached->at_ns, at_ns, __ATOMIC_RELAXED);
    __atomic_store_n(&reached->done, true, __ATOMIC_RELEASE);
}

bool fence_is_signalled(fence *asked) {
    uint64_t at_ns;
    bool done = __atomic_load_n(&asked->done, __ATOMIC_ACQUIRE);
    if (!done && asked->foreign && shared_event_reached(asked->shared, asked->ticket, &at_ns)) {
        settle(asked, at_ns);
        return true;
    }
    return done;
}

void fence_signal(fence *reached, uint64_t at_ns) {
    reached->at_ns = at_ns;
    if (reached->shared) {
        shared_event_signal(reached->shared, reached->ticket, at_ns);
    }
    pthread_mutex_lock(&lock);
    __atomic_store_n(&reached->done, true, __ATOMIC_RELEASE);
    pthread_cond_broadcast(&settled);
    pthread_mutex_unlock(&lock);
}

uint64_t fence_wait(fence *awaited) {
    if (fence_is_signalled(awaited)) {
        return __atomic_load_n(&awaited->at_ns, __ATOMIC_RELAXED);
    }
    if (awaited->foreign) {
        settle(awaited, shared_event_wait(awaited->shared, awaited->ticket));
        return __atomic_load_n(&awaited->at_ns, __ATOMIC_RELAXED);
    }
    pthread_mutex_lock(&lock);
    while (!awaited->done) {
        pthread_cond_wait(&settled, &lock);
    }
    pthread_mutex_unlock(&lock);
    return awaited->at_ns;
}
