/* Estimates the cost of a launch from samples of launches like it. No clock, no CUDA, no I/O. */
#ifndef UNIGPU_COMPUTE_ESTIMATE_H
#define UNIGPU_COMPUTE_ESTIMATE_H

#include <stdbool.h>
#include <stdint.h>

#define ESTIMATE_SAMPLES 24

enum estimate_view {
    ESTIMATE_CLEAR,     /* the GPU had no other work */
    ESTIMATE_UNCERTAIN, /* unknown */
    ESTIMATE_CONTENDED, /* other containers had turns in between: the sample is no shorter than the launch alone */
    ESTIMATE_COMPANY,   /* likewise, other processes of this container */
    ESTIMATE_STREAMS,   /* other streams of this process may have had turns in between */
};

struct estimate_sample {
    uint64_t at; /* when it was read, ns */
    uint64_t ns; /* duration of one launch */
    bool exact;  /* neither the GPU nor the stream waited for the host; else `ns` is an upper bound */
    uint8_t view;
    bool together; /* a part of launches on several streams, of which those side by side count once */
    bool behind; /* the stream's own work kept the GPU busy until it began */
    uint64_t off; /* a guessed part of the host that was subtracted from `ns`; the launch takes at most both together */
    uint64_t charged; /* the corrected charge, ns; 0: it wasn't corrected */
    uint8_t near; /* others that were about as long, as far as it matters; set by estimate_add */
};

struct estimate {
    struct estimate_sample samples[ESTIMATE_SAMPLES]; /* a ring */
    unsigned count; /* added so far */
};

void estimate_add(struct estimate *estimate, struct estimate_sample sample);

/* Returns the GPU time of a launch, ns, at least 1; 0 without any sample. */
uint64_t estimate_value(const struct estimate *estimate, uint64_t now);

/* Returns by how much launches whose samples were disturbed were charged more than `value`, and forgets it. */
uint64_t estimate_overcharged(struct estimate *estimate, uint64_t value);

/* The node agent reports other containers with a delay. Samples of that time look undisturbed, and are doubtful. */
#define ESTIMATE_DOUBT_NS 250000000u

/* Whether the value rests on undisturbed samples that are at least `age` old. */
bool estimate_clear(const struct estimate *estimate, uint64_t now, uint64_t age);

/* Whether more samples would hardly change the value: it is clear, or several samples that began right behind the
 * stream's own work are as short as the shortest. Samples that began otherwise don't count, since all of them may
 * contain another container's turn. */
bool estimate_settled(const struct estimate *estimate, uint64_t now);

/* Returns the shortest recent sample, ns. Where an exact sample exists, a guessed one counts with its upper bound. */
uint64_t estimate_shortest(const struct estimate *estimate, uint64_t now);

/* Forgets all samples: the key may now mean something else. */
void estimate_forget(struct estimate *estimate);

#endif
