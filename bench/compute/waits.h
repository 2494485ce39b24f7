/* How long calls took: counts by length, in steps of a sixteenth, so that percentiles need no list. One thread writes
 * each; another may read at any moment. */
#ifndef UNIGPU_BENCH_WAITS_H
#define UNIGPU_BENCH_WAITS_H

#include <stdint.h>

enum { WAITS_STEPS = 16, WAITS_BINS = 64 * WAITS_STEPS };

struct waits {
    uint64_t count, longest;
    uint64_t bins[WAITS_BINS];
};

void waits_add(struct waits *waits, uint64_t ns);
void waits_merge(struct waits *into, const struct waits *from);

/* The length that this part of all calls stayed within, to a sixteenth; 0 where there were none. */
uint64_t waits_within(const struct waits *waits, double part);

#endif
