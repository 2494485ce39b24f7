#include <stdlib.h>

#include "simulator/cuda/op.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t settled = PTHREAD_COND_INITIALIZER;

moment *moment_new(void) {
    moment *made = calloc(1, sizeof *made);
    if (made) {
        made->holders = 1;
    }
    return made;
}

moment *moment_hold(moment *held) {
    if (held) {
        __atomic_add_fetch(&held->holders, 1, __ATOMIC_RELAXED);
    }
    return held;
}

void moment_drop(moment *held) {
    if (held && __atomic_sub_fetch(&held->holders, 1, __ATOMIC_ACQ_REL) == 0) {
        free(held);
    }
}

bool moment_is_done(moment *asked) {
    return __atomic_load_n(&asked->done, __ATOMIC_ACQUIRE);
}

void moment_done(moment *reached, uint64_t at_ns) {
    reached->at_ns = at_ns;
    pthread_mutex_lock(&lock);
    __atomic_store_n(&reached->done, true, __ATOMIC_RELEASE);
    pthread_cond_broadcast(&settled);
    pthread_mutex_unlock(&lock);
}

uint64_t moment_wait(moment *awaited) {
    if (!moment_is_done(awaited)) {
        pthread_mutex_lock(&lock);
        while (!awaited->done) {
            pthread_cond_wait(&settled, &lock);
        }
        pthread_mutex_unlock(&lock);
    }
    return awaited->at_ns;
}
