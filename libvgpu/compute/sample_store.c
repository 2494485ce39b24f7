#include "libvgpu/compute/sample_store.h"

#include <stdlib.h>

#include "libvgpu/compute/gpu_time.h"
#include "libvgpu/compute/throttle.h"

/* Pairs of events for each context. While all of them are in use, launches are not measured. */
#define PAIRS_MOST 512

struct sample_store sample_store = {.last = &sample_store.first};

static uint64_t unknown_since[VGPU_MAX_GPUS]; /* when a launch of unknown cost was first seen to run; 0: none runs */

unsigned samples_under_way(void) {
    return __atomic_load_n(&sample_store.under_way, __ATOMIC_RELAXED);
}

uint64_t samples_unknown_for(int gpu, uint64_t now) {
    uint64_t since = __atomic_load_n(&unknown_since[gpu], __ATOMIC_RELAXED);
    return since != 0 && now > since ? now - since : 0;
}

void samples_note_unknown(int gpu, uint64_t since) {
    __atomic_store_n(&unknown_since[gpu], since, __ATOMIC_RELAXED);
}

struct sample_pairs *sample_store_of(CUcontext context) {
    struct sample_pairs *found = sample_store.contexts;
    while (found != NULL && found->context != context) {
        found = found->next;
    }
    if (found == NULL && (found = calloc(1, sizeof *found)) != NULL) {
        found->context = context;
        found->next = sample_store.contexts;
        sample_store.contexts = found;
    }
    return found;
}

void sample_store_put_back(struct sample *sample) {
    struct sample_pairs *pairs = sample_store_of(sample->context);
    if (pairs == NULL) {
        return;
    }
    sample->next = pairs->idle;
    pairs->idle = sample;
}

static struct sample *make(CUcontext context) {
    struct sample *sample = calloc(1, sizeof *sample);
    if (sample == NULL) {
        return NULL;
    }
    sample->context = context;
    if (DRIVER(cuEventCreate)(&sample->before, CU_EVENT_DEFAULT) == CUDA_SUCCESS) {
        if (DRIVER(cuEventCreate)(&sample->after, CU_EVENT_DEFAULT) == CUDA_SUCCESS) {
            return sample;
        }
        DRIVER(cuEventDestroy_v2)(sample->before);
    }
    free(sample);
    return NULL;
}

struct sample *sample_store_take(CUcontext context) {
    struct sample *sample = NULL;
    bool more = false;
    mutex_lock(&sample_store.lock);
    struct sample_pairs *pairs = sample_store.stopped || sample_store.all_held > 0 ? NULL : sample_store_of(context);
    if (pairs != NULL && pairs->held == 0) {
        sample = pairs->idle;
        if (sample != NULL) {
            pairs->idle = sample->next;
        } else if (pairs->made < PAIRS_MOST) {
            more = pairs->made++ < PAIRS_MOST;
        }
    }
    mutex_unlock(&sample_store.lock);
    return sample == NULL && more ? make(context) : sample;
}

static void count_under_way(int more) {
    __atomic_store_n(&sample_store.under_way, sample_store.under_way + (unsigned)more, __ATOMIC_RELAXED);
}

void sample_store_add(struct sample *sample) {
    sample->next = NULL;
    mutex_lock(&sample_store.lock);
    *sample_store.last = sample;
    sample_store.last = &sample->next;
    count_under_way(1);
    mutex_unlock(&sample_store.lock);
}

struct sample *sample_store_take_out(struct sample **link) {
    struct sample *taken = *link;
    *link = taken->next;
    if (*link == NULL) {
        sample_store.last = link;
    }
    count_under_way(-1);
    return taken;
}

void sample_end_learning(struct sample *sample) {
    if (sample->started_at != 0) {
        samples_note_unknown(sample->gpu, 0);
    }
    cost_cache_end_learning(sample->cost, sample->meaning);
    throttle_end_learning(gpu_time_account(sample->gpu), sample->noted_at);
}

void samples_hold(CUcontext context) {
    mutex_lock(&sample_store.lock);
    if (context == NULL) {
        sample_store.all_held++;
    }
    for (struct sample_pairs *each = sample_store.contexts; each != NULL; each = each->next) {
        each->held += each->context == context;
    }
    mutex_unlock(&sample_store.lock);
}

/* The context's end destroyed their events. */
static void drop(CUcontext context) {
    for (struct sample **link = &sample_store.first; *link != NULL;) {
        struct sample *each = *link;
        if (each->context != context) {
            link = &each->next;
            continue;
        }
        if (each->learning) {
            sample_end_learning(each);
        }
        free(sample_store_take_out(link));
    }
    for (struct sample_pairs **link = &sample_store.contexts; *link != NULL;) {
        struct sample_pairs *each = *link;
        if (each->context != context) {
            link = &each->next;
            continue;
        }
        while (each->idle != NULL) {
            struct sample *idle = each->idle;
            each->idle = idle->next;
            free(idle);
        }
        *link = each->next;
        free(each);
    }
}

void samples_release(CUcontext context, bool ended) {
    mutex_lock(&sample_store.lock);
    if (context == NULL) {
        sample_store.all_held--;
    }
    for (struct sample_pairs *each = sample_store.contexts; each != NULL; each = each->next) {
        each->held -= each->context == context && each->held > 0;
    }
    if (ended) {
        drop(context);
    }
    mutex_unlock(&sample_store.lock);
}

void samples_after_fork(void) {
    sample_store = (struct sample_store){.last = &sample_store.first, .stopped = sample_store.stopped};
    for (int gpu = 0; gpu < VGPU_MAX_GPUS; gpu++) {
        unknown_since[gpu] = 0;
    }
}
