/* A token bucket of GPU time: the clock fills it, launches take from it, into debt where need be. Pure arithmetic: no
 * clock, no CUDA, no I/O.
 *
 * GPU time is in nanoseconds, a rate in hundredths of a percent of one GPU.
 */
#ifndef UNIGPU_COMPUTE_TOKEN_BUCKET_H
#define UNIGPU_COMPUTE_TOKEN_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

#define TOKEN_BUCKET_WHOLE 10000u

/* The most that is kept unspent: enough that a short request is never interrupted. */
#define TOKEN_BUCKET_BURST_NS 10000000
/* Kept in addition where a launch waits, because it may wake late. */
#define TOKEN_BUCKET_LATE_NS 40000000

struct token_bucket {
    int64_t balance; /* negative: debt */
    uint64_t earned; /* time up to which the balance is earned */
};

/* Returns the bucket at `now`, filled up to `most`. A rate of 0 limits nothing, and leaves neither debt nor savings. */
struct token_bucket token_bucket_earn(struct token_bucket bucket, uint64_t now, uint32_t rate, int64_t most);

/* Returns the balance that must be exceeded before work of that cost may begin. Short work may go into debt by its
 * whole cost. Longer work must wait for the part beyond the burst, but for no more than one burst: so the second long
 * launch waits no longer than any later one. */
int64_t token_bucket_floor(int64_t cost);

/* Returns the most that is kept for work of that cost; more where a launch `waits`, because it may wake late. */
int64_t token_bucket_most(int64_t cost, bool waits);

/* Takes the cost, and as much of `wish` as is there. Returns 0, and takes nothing, where the balance isn't above
 * `floor`. */
int64_t token_bucket_take(struct token_bucket *bucket, int64_t cost, int64_t wish, int64_t floor);

/* Returns how much of `own`, the GPU time of work that is seen finished at `now` and began at most `elapsed` before,
 * was left for it next to other work. Time is assigned to work up to `measured`, which moves on; so all work together
 * never gets more than the time that has passed. Work of different length has a `measured` for each token_bucket_class,
 * since short work would use up the time of long work. */
uint64_t token_bucket_part(uint64_t *measured, uint64_t own, uint64_t elapsed, uint64_t now);

/* Returns 0 for less than 50 ms, and one more for each doubling, up to TOKEN_BUCKET_CLASSES - 1. */
#define TOKEN_BUCKET_CLASSES 8u
unsigned token_bucket_class(uint64_t elapsed);

/* Returns the time until the balance reaches `wanted`, ns. */
uint64_t token_bucket_time_to(int64_t balance, int64_t wanted, uint32_t rate);

#endif
