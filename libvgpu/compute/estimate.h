/* What a launch costs, from the samples of launches like it. No clock, no CUDA, no I/O. */
#ifndef UNIGPU_COMPUTE_ESTIMATE_H
#define UNIGPU_COMPUTE_ESTIMATE_H

#include <stdbool.h>
#include <stdint.h>

#define ESTIMATE_SAMPLES 24

enum estimate_view {
    ESTIMATE_CLEAR,     /* nobody else was on the GPU */
    ESTIMATE_UNCERTAIN, /* nobody can tell */
    ESTIMATE_CONTENDED, /* others took their turns in between: no less than what it takes alone */
    ESTIMATE_COMPANY,   /* likewise, and these were the container's own */
};

struct estimate_sample {
    uint64_t at; /* when it was taken, ns */
    uint64_t ns; /* of one launch */
    bool exact;  /* neither the GPU nor the stream waited for the host in between; else it is an upper bound */
    uint8_t view;
    bool behind; /* the stream's own work kept the GPU until it began */
    uint64_t
        off; /* what was taken off by a guess, as the host's part: it takes no more than both, perhaps more than `ns` */
    uint64_t charged; /* where the charge was corrected: what it came to, ns; else 0 */
};

struct estimate {
    struct estimate_sample samples[ESTIMATE_SAMPLES]; /* a ring */
    unsigned count; /* ever added */
};

void estimate_add(struct estimate *estimate, struct estimate_sample sample);

/* Nanoseconds of GPU time that a launch takes, at least 1; 0 without any sample. */
uint64_t estimate_value(const struct estimate *estimate, uint64_t now);

/* What samples taken beside others were charged more than `value`, which is known only now; it is not found again. */
uint64_t estimate_overcharged(struct estimate *estimate, uint64_t value);

/* It is known late that others came: until then their first turns look as if nobody else was there. */
#define ESTIMATE_DOUBT_NS 250000000u

/* Whether the value rests on samples from when nobody else was on the GPU, `age` old at least. */
bool estimate_clear(const struct estimate *estimate, uint64_t now, uint64_t age);

/* Whether more samples would hardly change the value: it is clear, or several that began right behind the stream's own
 * work took as little as the shortest. Others may have waited for somebody else's turn to end, all of them as long. */
bool estimate_settled(const struct estimate *estimate, uint64_t now);

/* The shortest seen lately; of those that are guesses, what they can't exceed counts where something exact was seen. */
uint64_t estimate_shortest(const struct estimate *estimate, uint64_t now);

/* Old samples count no more once there are new ones: what is launched may be another thing now. */
void estimate_forget(struct estimate *estimate);

#endif
