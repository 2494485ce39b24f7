/* What this process's launches cost, by function and shape. Knows no CUDA. */
#ifndef UNIGPU_COMPUTE_COST_CACHE_H
#define UNIGPU_COMPUTE_COST_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "libvgpu/compute/estimate.h"

/* Kernels and graphs may have handles of the same value. */
enum cost_kind { COST_OF_KERNEL, COST_OF_GRAPH };

/* What launches of the same cost have in common, in four words that a launch compares. */
struct cost_key {
    uint64_t handle; /* the function, or the executable graph */
    uint64_t grid;   /* x, y */
    uint64_t shape;  /* z of the grid, x of the block */
    uint64_t rest;   /* y and z of the block, the kind in bit COST_KIND_BIT, dynamic shared memory */
};

/* No driver accepts a block whose z reaches this bit. */
#define COST_KIND_BIT 31

static inline struct cost_key cost_key_of_kernel(const void *function, unsigned grid_x, unsigned grid_y,
                                                 unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z,
                                                 unsigned shared) {
    return (struct cost_key){.handle = (uintptr_t)function,
                             .grid = (uint64_t)grid_y << 32 | grid_x,
                             .shape = (uint64_t)block_x << 32 | grid_z,
                             .rest = (uint64_t)shared << 32 | (block_z << 16 ^ block_y)};
}

static inline struct cost_key cost_key_of_graph(const void *graph) {
    return (struct cost_key){.handle = (uintptr_t)graph, .rest = (uint64_t)COST_OF_GRAPH << COST_KIND_BIT};
}

static inline enum cost_kind cost_key_kind(const struct cost_key *key) {
    return (enum cost_kind)(key->rest >> COST_KIND_BIT & 1);
}

/* From here on each launch is measured, and its charge corrected. */
#define COST_LONG_NS 2000000

/* What a launch of unknown cost is charged while it goes on, and how long others of its kind wait for it, at most: it may
 * be waiting for another launch itself. */
#define COST_UNKNOWN_MOST_NS 250000000u

struct cost {
    struct cost_key key;
    void *context;
    uint64_t value;   /* ns; 0: not known yet. Read without the lock. */
    unsigned tried;   /* measurements since the last reason to doubt; read and written without the lock, roughly */
    unsigned alone;   /* so many next ones are of one launch alone: the host was too slow for a run; likewise */
    uint32_t generation;
    uint32_t meaning; /* counts how often the key came to mean something else */
    bool taken, learning;
    bool settled;         /* more samples would hardly change the value; read without the lock */
    uint64_t asked_at;    /* when it was first launched, ns */
    uint64_t runs_since;  /* that first one, when the GPU was seen to have begun it; 0: not yet. Without the lock. */
    uint64_t provisional; /* launches since, whose charge was a guess */
    int64_t guessed;      /* the sum of those charges */
    uint64_t passed;      /* launches lately whose charge is the value that there was, */
    int64_t passed_ns;    /* and the sum of those charges */
    uint32_t passed_in;   /* process that they are of, counted by forks */
    struct estimate estimate;
};

/* Handles may come back for something else: what is known counts only until it is known anew. */
void cost_cache_doubt(void);

/* Changes whenever what threads remember of costs is to be asked again. */
extern uint32_t cost_cache_generation;
void cost_cache_expire_memos(void);

/* The entry of a key, made where there is none. */
struct cost *cost_cache_find(const struct cost_key *key, void *context);

/* The key means something else from here on. */
void cost_cache_forget(const struct cost_key *key);

/* True for the one launch that is to be measured for an unknown key. Others of that key, until the cost is known, are
 * charged a guess, see cost_cache_guess. */
bool cost_cache_begin_learning(struct cost *cost, uint64_t now);

/* The measured launch didn't happen, or will never be measured. */
void cost_cache_end_learning(struct cost *cost, uint32_t meaning);

/* A guess for one more launch of a key that is being learned: what has passed since it was asked, COST_UNKNOWN_MOST_NS at
 * most; 0 where it is known by now. */
int64_t cost_cache_guess(struct cost *cost, uint64_t now);

/* A launch that was charged this guess isn't measured itself: the charge is corrected when the cost is known. */
void cost_cache_note_guess(struct cost *cost, int64_t guess);

/* So many launches were charged `ns` in sum, by what was known then: what is too much of it is found with later samples.
 * Negative: they failed. */
void cost_cache_note_passed(struct cost *cost, int64_t launches, int64_t ns);

/* Adds a sample, if the key still has that meaning; answers what charges made before were short of in sum (negative: over). */
int64_t cost_cache_add(struct cost *cost, struct estimate_sample sample, uint32_t meaning);

/* In the child of a fork. */
void cost_cache_after_fork(void);

/* The cost, ns; 0: not known yet. */
static inline uint64_t cost_known(const struct cost *cost) {
    return __atomic_load_n(&cost->value, __ATOMIC_ACQUIRE);
}

#endif
