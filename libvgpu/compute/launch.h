/* Charges launches and paces them.
 *
 * Each thread holds credit, GPU time that it took from the container's account in advance, and remembers the costs of
 * its launches. A launch of known cost only compares a key and subtracts a number: no clock, no lock, no atomic.
 * Waiting and measuring are on a slow path.
 */
#ifndef UNIGPU_COMPUTE_LAUNCH_H
#define UNIGPU_COMPUTE_LAUNCH_H

#include <stdbool.h>

#include "libvgpu/compute/cost_cache.h"
#include "libvgpu/compute/credit.h"
#include "libvgpu/compute/samples.h"
#include "libvgpu/driver/driver.h"

#define LAUNCH_MEMOS 128

struct launch_memo {
    struct cost_key key;
    int64_t cost;
    int64_t *credit;   /* the thread's, on this GPU */
    CUcontext context; /* NULL: the handle alone says which function it is */
    uint32_t generation;
    int32_t left; /* launches until the next sample */
};

/* Counts the launches of a memo, which the fast path doesn't. The slow path adds them up at the next miss. */
struct launch_tally {
    struct cost *cost;
    uint32_t meaning; /* of the cost, when remembered */
    int32_t left;     /* `left` of the memo, when last added up */
};

/* A launch that one more of its kind follows at once: then the GPU is still ours, and the second is measured without
 * another's turn in between. */
struct launch_lead {
    struct cost *cost; /* NULL: none */
    CUstream stream;
};

/* Launches of one kind between two moments: from an event before the first to the last of those on all its streams. */
struct launch_run {
    struct sample *sample; /* NULL: none */
    struct cost *cost;
    CUstream streams[SAMPLES_STREAMS]; /* as many as the sample has */
    uint64_t until; /* the GPU can't be done with them before, ns */
    unsigned launches, wanted;
};

struct launch_thread {
    struct launch_memo memos[LAUNCH_MEMOS];
    struct credit credit;
    struct launch_run run;
    struct launch_lead lead;
    struct launch_tally tallies[LAUNCH_MEMOS];
    uint32_t random;
    uint32_t postponed; /* launches since a sample was due */
};

/* The calling thread's state. Before the thread's first launch, and while it measures a run, a state without memos. */
extern __thread struct launch_thread *launch_mine;

/* One launch, from before the driver's call until after it. */
struct launch {
    struct launch_thread *thread; /* NULL: the launch passes untouched */
    struct cost *cost;
    uint32_t meaning; /* of the cost */
    struct sample *sample;
    CUcontext context; /* the stream's, where the thread's current one is another; else NULL */
    int64_t charged;
    int gpu;
    bool in_run;
};

/* Charges the launch, and sleeps until it may begin. Call before the driver. `stream` must not be NULL for the
 * per-thread default stream: see launch_stream. */
void launch_begin(struct launch *launch, const struct cost_key *key, CUstream stream);

/* As launch_begin, for one of several launches that a single driver call makes. */
void launch_begin_alone(struct launch *launch, const struct cost_key *key, CUstream stream);

/* Measures the launch, or undoes the charge of one that failed. Call after the driver. Returns the result. */
CUresult launch_end(struct launch *launch, CUresult result);

/* Ends this thread's run: the next launch is not part of it. */
void launch_close_run(void);

/* In the child of a fork. */
void launch_after_fork(void);

static inline struct launch_memo *launch_memo_of(struct launch_thread *thread, const struct cost_key *key) {
    uint64_t mixed = (key->handle >> 4) + key->grid * 7 + (key->shape >> 32);
    return &thread->memos[mixed % LAUNCH_MEMOS];
}

static inline bool launch_remembers(const struct launch_memo *memo, const struct cost_key *key) {
    return memo->key.handle == key->handle && memo->key.grid == key->grid && memo->key.shape == key->shape &&
           memo->key.rest == key->rest && memo->generation == __atomic_load_n(&cost_cache_generation, __ATOMIC_RELAXED);
}

static inline bool launch_spend(struct launch_memo *memo) {
    if (__builtin_expect(memo->left <= 0 || *memo->credit < memo->cost, 0)) {
        return false;
    }
    memo->left--;
    *memo->credit -= memo->cost;
    return true;
}

/* Charges the launch from a memo; false: launch_begin has to. */
static inline bool launch_at_once(const struct cost_key *key) {
    struct launch_memo *memo = launch_memo_of(launch_mine, key);
    return __builtin_expect(launch_remembers(memo, key) && memo->context == NULL, 1) && launch_spend(memo);
}

/* Returns the stream as events name it. */
static inline CUstream launch_stream(CUstream stream, bool per_thread) {
    return per_thread && stream == NULL ? CU_STREAM_PER_THREAD : stream;
}

/* Whether the stream is one of the calling thread's current context, whichever that is. */
static inline bool launch_on_default(CUstream stream) {
    return stream == NULL || stream == CU_STREAM_LEGACY || stream == CU_STREAM_PER_THREAD;
}

/* As launch_at_once, where one handle may mean functions of several contexts: that of the stream counts. */
static inline bool launch_in_context(const struct cost_key *key, CUstream stream) {
    struct launch_memo *memo = launch_memo_of(launch_mine, key);
    CUcontext context = NULL;
    if (!launch_remembers(memo, key) || memo->context == NULL) {
        return false;
    }
    CUresult found = launch_on_default(stream) || DRIVER(cuStreamGetCtx) == NULL
                         ? DRIVER(cuCtxGetCurrent)(&context)
                         : DRIVER(cuStreamGetCtx)(stream, &context);
    return found == CUDA_SUCCESS && context == memo->context && launch_spend(memo);
}

#endif
