/* The latest ends of a context's launches, and how much of the time between them is charged already. No clock, no CUDA, no
 * I/O.
 *
 * Next to other containers the time between two events of a launch may contain their turns, which no event shows. But all of
 * its cost is the container's own time between these two; so what is not charged yet of that cost is what it adds. */
#ifndef UNIGPU_COMPUTE_ENDS_H
#define UNIGPU_COMPUTE_ENDS_H

#include <stdint.h>

/* Those of 64 streams, and of kernels that are much shorter than one of them. */
#define ENDS_KEPT 256u

/* The GPU, in the unit of a launch's part of it. */
#define ENDS_WHOLE 1024u

/* A stream that is like no other: one of several that have one name. */
#define ENDS_NO_STREAM 0u

struct ends_end {
    int64_t at; /* by the GPU's clock, ns since some moment */
    int64_t from; /* when the first launch began that is known to have run since the end before it */
    uint64_t own; /* charged of the time since then, ns */
    uint64_t stream; /* of the launch that ended */
    unsigned part; /* of the GPU, that the launch needed; 0: unknown */
};

/* All zero: none is known. */
struct ends {
    struct ends_end latest[ENDS_KEPT]; /* in the GPU's order */
    unsigned count;
};

/* A launch that has ended. */
struct ends_launch {
    int64_t at;
    uint64_t whole; /* from the event before it to its end: what it waited, and others' turns, are in it */
    uint64_t late; /* so much of that may have passed before the host launched it */
    uint64_t
        added; /* from the end before it, or from its own event if that is later, to its end; 0: it isn't the latest */
    uint64_t stream;
    unsigned part;
};

/* Returns when the latest ended; 0 where none is known. */
int64_t ends_last(const struct ends *ends);

/* Returns when the launch began to run: at its event, or where the GPU then had no room for it, when so much had ended that
 * there was. A launch of an unknown part has no room beside others. */
int64_t ends_begin(const struct ends *ends, const struct ends_launch *launch);

/* Adds the launch's end. Returns what it is charged, where a launch like it takes `cost` alone. */
uint64_t ends_charge(struct ends *ends, const struct ends_launch *launch, uint64_t cost);

/* Adds the end of what is charged otherwise, about as much as `own`. */
void ends_add(struct ends *ends, const struct ends_launch *launch, uint64_t own);

#endif
