/* What a thread remembers of its launches, and its credit; and the launches that it measures together. */
#ifndef UNIGPU_COMPUTE_LAUNCH_THREAD_H
#define UNIGPU_COMPUTE_LAUNCH_THREAD_H

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
    int32_t told;     /* `left` of the memo, when last counted for the account */
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
    uint64_t used[LAUNCH_MEMOS / 64]; /* bit mask of the memos that were ever used */
    uint64_t passed[VGPU_MAX_GPUS];   /* launches that the account doesn't know yet */
    uint64_t told_at;                 /* when the account was last told, ns */
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
    CUstream stream;
    uint64_t parted; /* the cost by which parts were charged, ns; 0: none were */
    int gpu;
    unsigned wanted; /* so many launches are to be measured together behind this one */
    bool in_run;
    bool apart; /* other GPUs are charged a part of it: see graph_parts.h */
    bool noted; /* among those that passed: see cost_cache_note_passed */
};

/* Returns the calling thread's state; NULL: no memory. */
struct launch_thread *launch_thread_mine(void);

/* The same, without making one. NULL: there is none. */
struct launch_thread *launch_thread_known(void);

/* Sends this thread's launches to the slow path until launch_thread_resume. */
void launch_thread_suspend(void);
void launch_thread_resume(struct launch_thread *thread);

/* In the child of a fork. */
void launch_after_fork(void);

/* Notes that this process launches on the GPU. */
void launch_note_gpu(int gpu);

/* Whether more samples of the cost would hardly change it. */
bool launch_is_settled(const struct cost *cost);

/* Adds up the launches of a memo that took the fast path. */
void launch_count_passed(struct launch_thread *thread, struct launch_memo *memo);

/* Tells the account how many launches the thread made, those of the fast path included. */
void launch_tell(struct launch_thread *thread);

/* Does so for the calling thread, if it has launched. */
void launch_tell_mine(void);

/* Lets launches of that cost, ns, take the fast path until the next sample is due. */
void launch_remember(struct launch *launch, const struct cost_key *key, CUcontext context, uint64_t value);

static inline struct launch_memo *launch_memo_of(struct launch_thread *thread, const struct cost_key *key) {
    uint64_t mixed = (key->handle >> 4) + key->grid * 7 + (key->shape >> 32);
    return &thread->memos[mixed % LAUNCH_MEMOS];
}

static inline bool launch_remembers(const struct launch_memo *memo, const struct cost_key *key) {
    return memo->key.handle == key->handle && memo->key.grid == key->grid && memo->key.shape == key->shape &&
           memo->key.rest == key->rest && memo->generation == __atomic_load_n(&cost_cache_generation, __ATOMIC_RELAXED);
}

#endif
