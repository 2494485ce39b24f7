/* The costs of this process's launches, by function or graph, and shape. Knows no CUDA. */
#ifndef UNIGPU_COMPUTE_COST_CACHE_H
#define UNIGPU_COMPUTE_COST_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "libvgpu/compute/estimate.h"

/* Kernels and graphs may have handles of the same value. */
enum cost_kind { COST_OF_KERNEL, COST_OF_GRAPH };

/* Identifies launches of the same cost, in four words, which the fast path compares. */
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

struct cost_shape {
    uint64_t blocks;  /* of the grid */
    unsigned threads; /* of a block; 0: unknown */
    unsigned shared;  /* bytes of dynamic shared memory of a block */
};

static inline struct cost_shape cost_key_shape(const struct cost_key *key) {
    unsigned y = key->rest & 0xffff, z = key->rest >> 16 & 0x7fff;
    return (struct cost_shape){.blocks = (key->grid & 0xffffffff) * (key->grid >> 32) * (key->shape & 0xffffffff),
                               .threads = (unsigned)(key->shape >> 32) * y * z,
                               .shared = (unsigned)(key->rest >> 32)};
}

static inline enum cost_kind cost_key_kind(const struct cost_key *key) {
    return (enum cost_kind)(key->rest >> COST_KIND_BIT & 1);
}

/* From this cost on, each launch is measured, and its charge corrected. */
#define COST_LONG_NS 2000000

/* The most that a launch of unknown cost is charged while it runs, and the longest that others of its kind wait for it:
 * it may itself be waiting for another launch. */
#define COST_UNKNOWN_MOST_NS 250000000u

/* So many launches on several streams are remembered by what they added. */
#define COST_ADDED 4u

struct cost {
    struct cost_key key;
    void *context;
    uint64_t found; /* number of the last cost_cache_find that returned it */
    uint64_t value; /* ns; 0: unknown; read without the lock */
    unsigned tried; /* measurements since the cost was last in doubt; read and written without the lock, roughly */
    unsigned alone; /* so many of the next samples have one launch only: the host was too slow for a run; likewise */
    uint32_t generation;
    uint32_t meaning; /* how often the key came to mean something else; read without the lock */
    bool taken, learning;
    uint64_t added[COST_ADDED]; /* by its last launches on several streams, ns; only samples_read.c touches these */
    unsigned adds;
    unsigned part; /* of the GPU: see occupancy_part; read and written without the lock */
    bool settled;         /* more samples would hardly change the value; read without the lock */
    uint64_t asked_at;    /* time of the first launch, ns */
    uint64_t runs_since;  /* when the GPU was first seen to run that launch, ns; 0: not yet; without the lock */
    uint64_t provisional; /* later launches whose charge was a guess */
    int64_t guessed;      /* sum of those charges, ns */
    uint64_t passed;      /* recent launches charged by the value of the time, */
    int64_t passed_ns;    /* and the sum of those charges, ns */
    uint32_t passed_in;   /* process that made them, counted by forks */
    struct estimate estimate;
};

/* Marks all costs as doubtful: the driver may reuse handles. A cost stays in use until it is measured again. */
void cost_cache_doubt(void);

/* Changes when threads must look their remembered costs up again. */
extern uint32_t cost_cache_generation;
void cost_cache_expire_memos(void);

/* Returns the key's entry. Where there is none, a new one, in place of the one that was longest not looked for if there is
 * no room: that one's key is unknown from then on. */
struct cost *cost_cache_find(const struct cost_key *key, void *context);

/* Forgets the cost: the key means something else from here on. */
void cost_cache_forget(const struct cost_key *key);

/* True for the one launch that is to be measured while the key's cost is unknown. Others are charged cost_cache_guess.
 */
bool cost_cache_begin_learning(struct cost *cost, uint64_t now);

/* Ends that: the launch failed, or its sample is lost. */
void cost_cache_end_learning(struct cost *cost, uint32_t meaning);

/* Returns the guess for a launch behind one of unknown cost that has run for so long, ns; 0: it hasn't for long. */
int64_t cost_guess_of_long(uint64_t runs_for);

/* Returns a guess for one more launch of a key whose first launch is being measured: the time since that one, and once it
 * was seen to run for COST_UNKNOWN_MOST_NS, cost_guess_of_long; 0 where the cost has become known. */
int64_t cost_cache_guess(struct cost *cost, uint64_t now);

/* Notes a launch that was charged this guess and isn't measured. The charge is corrected when the cost is known. */
void cost_cache_note_guess(struct cost *cost, int64_t guess);

/* Notes that so many launches were charged `ns` in sum, by the cost known then, if the key still has that meaning. Later
 * samples show how much of that was too much. Negative: launches that failed. */
void cost_cache_note_passed(struct cost *cost, int64_t launches, int64_t ns, uint32_t meaning);

/* Adds a sample, if the key still has that meaning. Returns by how much earlier charges fell short in sum; negative:
 * they were too high. */
int64_t cost_cache_add(struct cost *cost, struct estimate_sample sample, uint32_t meaning);

/* In the child of a fork. */
void cost_cache_after_fork(void);

/* Returns the cost, ns; 0: unknown. */
static inline uint64_t cost_known(const struct cost *cost) {
    return __atomic_load_n(&cost->value, __ATOMIC_ACQUIRE);
}

/* Returns whether the key's first launch is being measured. */
static inline bool cost_is_learning(const struct cost *cost) {
    return __atomic_load_n(&cost->learning, __ATOMIC_RELAXED);
}

/* Returns a number that changes when the key comes to mean something else. */
static inline uint32_t cost_meaning(const struct cost *cost) {
    return __atomic_load_n(&cost->meaning, __ATOMIC_RELAXED);
}

#endif
