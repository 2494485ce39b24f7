/* The way of a launch. Each thread has credit, GPU time that it took from the container's account ahead, and remembers
 * what its launches cost: then a launch is a comparison and a subtraction, without a clock, a lock or an atomic. All else,
 * waiting and measuring included, is off that way.
 */
#ifndef UNIGPU_COMPUTE_LAUNCH_H
#define UNIGPU_COMPUTE_LAUNCH_H

#include <stdbool.h>

#include "libvgpu/compute/cost_cache.h"
#include "libvgpu/compute/credit.h"
#include "libvgpu/driver/driver.h"
#include "libvgpu/compute/samples.h"

#define LAUNCH_MEMOS 128

struct launch_memo {
    struct cost_key key;
    int64_t cost;
    int64_t *credit;   /* of the GPU */
    CUcontext context; /* where the handle alone doesn't say which; else NULL */
    uint32_t generation;
    int32_t left; /* launches until the next one that is measured */
};

/* Launches that pass by a memo are counted when the way off finds it again. */
struct launch_tally {
    struct cost *cost;
    int32_t left; /* of the memo, when last counted */
};

/* A launch that another of its kind is to follow at once: the GPU is still ours then, and that one is measured without
 * a wait for somebody else's turn. */
struct launch_lead {
    struct cost *cost; /* NULL: none */
    CUstream stream;
};

/* Launches of one kind on one stream, between two events. */
struct launch_run {
    struct sample *sample; /* NULL: none */
    struct cost *cost;
    CUstream stream;
    uint64_t until; /* when the GPU is certain to have done them, ns */
    unsigned launches, wanted;
};

struct launch_thread {
    struct launch_memo memos[LAUNCH_MEMOS];
    struct credit credit;
    struct launch_run run;
    struct launch_lead lead;
    struct launch_tally tallies[LAUNCH_MEMOS];
    uint32_t random;
};

/* The calling thread's; one that remembers nothing before its first launch and while it measures a run. */
extern __thread struct launch_thread *launch_mine;

/* One launch on its way. */
struct launch {
    struct launch_thread *thread; /* NULL: it passes untouched */
    struct cost *cost;
    struct sample *sample;
    int64_t charged;
    int gpu;
    bool in_run;
};

/* Before the driver is asked: charges, and sleeps until it may begin. `stream` is as the driver means it: the calling
 * thread's own has its name. */
void launch_begin(struct launch *launch, const struct cost_key *key, CUstream stream);

/* As launch_begin, inside a hook, for a launch that is one of several. */
void launch_begin_alone(struct launch *launch, const struct cost_key *key, CUstream stream);

/* After it: measures, or gives back what a launch that failed was charged. Answers the result. */
CUresult launch_end(struct launch *launch, CUresult result);

/* This thread's run is ended: what comes next isn't part of it. */
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

/* Charges the launch at once where that can be done; false: launch_begin does. */
static inline bool launch_at_once(const struct cost_key *key) {
    struct launch_memo *memo = launch_memo_of(launch_mine, key);
    return __builtin_expect(launch_remembers(memo, key) && memo->context == NULL, 1) && launch_spend(memo);
}

/* The same where a handle may mean functions of several contexts. */
static inline bool launch_in_context(const struct cost_key *key) {
    struct launch_memo *memo = launch_memo_of(launch_mine, key);
    CUcontext current;
    return launch_remembers(memo, key) && memo->context != NULL && DRIVER(cuCtxGetCurrent)(&current) == CUDA_SUCCESS &&
           current == memo->context && launch_spend(memo);
}

/* The stream that a launch's argument means to events. */
static inline CUstream launch_stream(CUstream stream, bool per_thread) {
    return per_thread && stream == NULL ? CU_STREAM_PER_THREAD : stream;
}

#endif
