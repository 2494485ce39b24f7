#include "libvgpu/compute/launch_thread.h"

#include <stdlib.h>

/* The first launches of a key are measured, and later ones each time after so much GPU time. */
#define FIRST_SAMPLES 6
#define UNSETTLED_SAMPLES 64u
#define SAMPLE_EVERY_NS 10000000u
#define SAMPLE_LEAST 16u
#define SAMPLE_RAREST 8192u

static struct launch_thread no_thread;
__thread struct launch_thread *launch_mine = &no_thread;
static __thread struct launch_thread *own;

/* Bit mask of the GPUs that this process has launched on. */
static uint32_t gpus_seen;

extern int __cxa_thread_atexit_impl(void (*end)(void *), void *object, void *library);
extern void *__dso_handle;

static void thread_ends(void *object) {
    struct launch_thread *thread = object;
    launch_mine = &no_thread;
    own = NULL;
    credit_return(&thread->credit);
    if (thread->run.sample != NULL) {
        sample_cancel(thread->run.sample);
    }
    free(thread);
}

struct launch_thread *launch_thread_mine(void) {
    struct launch_thread *thread = own;
    if (thread != NULL) {
        return thread;
    }
    thread = calloc(1, sizeof *thread);
    if (thread == NULL) {
        return NULL;
    }
    thread->random = (uint32_t)((uintptr_t)thread >> 4) * 2654435761u | 1;
    if (__cxa_thread_atexit_impl(thread_ends, thread, &__dso_handle) != 0) {
        free(thread);
        return NULL;
    }
    launch_mine = own = thread;
    return thread;
}

struct launch_thread *launch_thread_known(void) {
    return own;
}

/* Credit and events belong to the parent. */
void launch_after_fork(void) {
    if (own == NULL) {
        return;
    }
    credit_forget(&own->credit);
    for (int place = 0; place < LAUNCH_MEMOS; place++) {
        own->tallies[place].left = own->memos[place].left;
    }
    own->run.sample = NULL;
    own->lead.cost = NULL;
    launch_mine = own;
}

static uint32_t jitter(struct launch_thread *thread, uint32_t number) {
    thread->random ^= thread->random << 13;
    thread->random ^= thread->random >> 17;
    thread->random ^= thread->random << 5;
    return number - number / 4 + thread->random % (number / 2 + 1);
}

void launch_thread_suspend(void) {
    launch_mine = &no_thread;
}

void launch_thread_resume(struct launch_thread *thread) {
    launch_mine = thread;
}

void launch_note_gpu(int gpu) {
    if ((__atomic_load_n(&gpus_seen, __ATOMIC_RELAXED) & 1u << gpu) == 0 &&
        __atomic_fetch_or(&gpus_seen, 1u << gpu, __ATOMIC_RELAXED) != 0) {
        cost_cache_expire_memos();
    }
}

bool launch_is_settled(const struct cost *cost) {
    unsigned tried = __atomic_load_n(&cost->tried, __ATOMIC_RELAXED);
    return tried >= UNSETTLED_SAMPLES || (tried >= FIRST_SAMPLES && __atomic_load_n(&cost->settled, __ATOMIC_RELAXED));
}

void launch_count_passed(struct launch_thread *thread, struct launch_memo *memo) {
    struct launch_tally *tally = &thread->tallies[memo - thread->memos];
    int32_t launches = tally->left - memo->left;
    if (launches > 0 && memo->generation == __atomic_load_n(&cost_cache_generation, __ATOMIC_ACQUIRE)) {
        cost_cache_note_passed(tally->cost, launches, launches * memo->cost, tally->meaning);
    }
    tally->left = memo->left;
}

void launch_remember(struct launch *launch, const struct cost_key *key, CUcontext context, uint64_t value) {
    struct launch_thread *thread = launch->thread;
    uint64_t between = SAMPLE_EVERY_NS / value;
    uint32_t number = between < SAMPLE_LEAST    ? SAMPLE_LEAST
                      : between > SAMPLE_RAREST ? SAMPLE_RAREST
                                                : (uint32_t)between;
    if (value >= COST_LONG_NS || !launch_is_settled(launch->cost)) {
        return;
    }
    struct launch_memo *memo = launch_memo_of(thread, key);
    uint32_t generation = __atomic_load_n(&cost_cache_generation, __ATOMIC_ACQUIRE);
    bool several = (gpus_seen & (gpus_seen - 1)) != 0;
    *memo = (struct launch_memo){.key = *key,
                                 .cost = (int64_t)value,
                                 .credit = &thread->credit.ns[launch->gpu],
                                 .context = several ? context : NULL,
                                 .generation = generation,
                                 .left = (int32_t)jitter(thread, number)};
    thread->tallies[memo - thread->memos] = (struct launch_tally){launch->cost, launch->meaning, memo->left};
}
