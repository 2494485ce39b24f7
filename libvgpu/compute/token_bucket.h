/* The arithmetic of GPU time: earned by the clock, spent by launches, into debt where need be. No clock, no CUDA, no I/O.
 *
 * GPU time is in nanoseconds, a rate in hundredths of a percent of one GPU.
 */
#ifndef UNIGPU_COMPUTE_TOKEN_BUCKET_H
#define UNIGPU_COMPUTE_TOKEN_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

#define TOKEN_BUCKET_WHOLE 10000u

/* What may lie unspent: long enough that a short request isn't chopped. */
#define TOKEN_BUCKET_BURST_NS 10000000
/* What more is kept where somebody waits, who may wake late. */
#define TOKEN_BUCKET_LATE_NS 40000000

struct token_bucket {
    int64_t balance; /* negative: debt */
    uint64_t earned; /* until when it is earned */
};

/* As it stands at `now`. At most `most` is kept; a rate of 0 limits nothing and leaves neither debt nor savings. */
struct token_bucket token_bucket_earn(struct token_bucket bucket, uint64_t now, uint32_t rate, int64_t most);

/* What must be there before work of that cost may begin. Short work may go into debt by its whole cost, longer work by as
 * much and what else is missing; but no more is asked for than lies there at the start, so that the second of a kind
 * waits no longer than any later one. */
int64_t token_bucket_floor(int64_t cost);

/* What is kept for work of that cost, at most: more where somebody `waits` for it, who may wake late. */
int64_t token_bucket_most(int64_t cost, bool waits);

/* Takes what work of that cost needs, and as much of `wish` as is there; 0, and nothing is taken, where the balance isn't
 * above `floor`. */
int64_t token_bucket_take(struct token_bucket *bucket, int64_t cost, int64_t wish, int64_t floor);

/* Work that took `own` of the GPU's time is seen at `now` to be done, `elapsed` after it began at the latest: answers how
 * much of `own` there was room for beside other work, whose time is given out up to `measured`, a moment that moves on.
 * All together can't have had more than the time that passed. Shorter work would give out a longer one's time: each of
 * token_bucket_class has a moment of its own. */
uint64_t token_bucket_part(uint64_t *measured, uint64_t own, uint64_t elapsed, uint64_t now);

/* 0 where `elapsed` is less than 50 ms, then one more each time that it doubles, up to TOKEN_BUCKET_CLASSES - 1. */
#define TOKEN_BUCKET_CLASSES 8u
unsigned token_bucket_class(uint64_t elapsed);

/* Time until the balance is at `wanted`, ns. */
uint64_t token_bucket_time_to(int64_t balance, int64_t wanted, uint32_t rate);

#endif
