/* What a finished sample says of the cost of a launch. No clock, no CUDA, no I/O. */
#ifndef UNIGPU_COMPUTE_READING_H
#define UNIGPU_COMPUTE_READING_H

#include <stdbool.h>
#include <stdint.h>

#include "libvgpu/compute/estimate.h"

/* What was measured, all times in ns. */
struct reading_facts {
    uint64_t at;        /* when it was read */
    uint64_t whole;     /* from the event before the first launch to the one behind the last */
    uint64_t host;      /* the same by the host's clock */
    uint64_t gap;       /* host's time from the first event to the end of the first launch */
    uint64_t asked_for; /* how long the host asked whether the stream was idle; 0: it was seen at once */
    uint64_t spent;     /* host's time that measuring took in between */
    unsigned launches;
    enum estimate_view view;
    bool backlogged; /* the stream had unfinished work before it */
    bool behind;     /* it began with the end of a launch before */
    bool several;    /* the process has lately launched on several streams */
    bool together;   /* the launches went to several streams, and count once together where they ran side by side */
};

/* The shortest of the host's gaps of late, and of the calls in them. */
struct reading_gaps {
    uint64_t whole, call;
    unsigned seen;
};

struct reading {
    bool usable;      /* false: the host was slower than the GPU during the run, so that its duration says nothing */
    bool waited;      /* for the host: it is an upper bound */
    uint64_t elapsed; /* of all launches together, ns, at least 1 */
    struct estimate_sample sample; /* of one launch; `charged` isn't set */
};

struct reading reading_of(const struct reading_facts *facts, struct reading_gaps *gaps);

#endif
