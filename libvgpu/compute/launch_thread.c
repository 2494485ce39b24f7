#include "libvgpu/compute/launch_thread.h"

#include <stdlib.h>
#include <string.h>

#include "libvgpu/shared/account.h"

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

/* Adds up launches of a memo that the fast path made. */
static void count_memo(struct launch_thread *thread, unsigned place) {
    const struct launch_memo *memo = &thread->memos[place];
    struct launch_tally *tally = &thread->tallies[place];
    if (memo->credit != NULL) {
        thread->passed[memo->credit - thread->credit.ns] += (uint32_t)(tally->told - memo->left);
    }
    tally->told = memo->left;
}

void launch_tell(struct launch_thread *thread) {
    for (unsigned word = 0; word < LAUNCH_MEMOS / 64; word++) {
        for (uint64_t rest = thread->used[word]; rest != 0; rest &= rest - 1) {
            count_memo(thread, word * 64 + (unsigned)__builtin_ctzll(rest));
        }
    }
    for (unsigned gpu = 0; gpu < VGPU_MAX_GPUS; gpu++) {
        if (thread->passed[gpu] != 0) {
            account_count_launches(gpu, thread->passed[gpu]);
            thread->passed[gpu] = 0;
        }
    }
}

void launch_tell_mine(void) {
    if (own != NULL) {
        launch_tell(own);
    }
}

static void thread_ends(void *object) {
    struct launch_thread *thread = object;
    launch_mine = &no_thread;
    own = NULL;
    credit_return(&thread->credit);
    launch_tell(thread);
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

/* Credit, events and launches belong to the parent. */
void launch_after_fork(void) {
    if (own == NULL) {
        return;
    }
    credit_forget(&own->credit);
    for (int place = 0; place < LAUNCH_MEMOS; place++) {
        own->tallies[place].left = own->tallies[place].told = own->memos[place].left;
    }
    memset(own->passed, 0, sizeof own->passed);
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
    unsigned place = (unsigned)(memo - thread->memos);
    uint32_t generation = __atomic_load_n(&cost_cache_generation, __ATOMIC_ACQUIRE);
    bool several = (gpus_seen & (gpus_seen - 1)) != 0;
    count_memo(thread, place);
    thread->used[place / 64] |= UINT64_C(1) << place % 64;
    *memo = (struct launch_memo){.key = *key,
                                 .cost = (int64_t)value,
                                 .credit = &thread->credit.ns[launch->gpu],
                                 .context = several ? context : NULL,
                                 .generation = generation,
                                 .left = (int32_t)jitter(thread, number)};
    thread->tallies[place] = (struct launch_tally){launch->cost, launch->meaning, memo->left, memo->left};
}
