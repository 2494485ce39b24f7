/* Measuring launches: an event before and one after, on the launch's own stream, read when the GPU has passed them.
 * Nothing here ever waits for the GPU. */
#ifndef UNIGPU_COMPUTE_SAMPLES_H
#define UNIGPU_COMPUTE_SAMPLES_H

#include "libvgpu/compute/cost_cache.h"
#include "libvgpu/driver/driver.h"

/* After a run that the host was too slow for, so many launches are measured alone. */
#define SAMPLES_ALONE 16

struct sample {
    struct sample *next;
    struct cost *cost;
    CUcontext context;
    CUstream stream;
    CUevent before, after;
    uint64_t begun_at, ended_at; /* of the host's work on it, ns */
    uint64_t noted_at;           /* where it is the first of its key: see throttle.h */
    uint64_t gap;                /* host's time between the first event and the end of the first launch */
    uint64_t started_at;         /* when the GPU was first seen to have begun it; 0: not yet */
    int64_t charged;             /* where the charge is to be corrected: what it was; else -1 */
    uint32_t meaning;
    uint16_t launches;
    int16_t gpu;
    bool backlogged; /* the stream had work before it */
    bool learning;   /* the first of its key */
};

/* Where a launch goes. */
struct launch_site {
    CUcontext context;
    CUstream stream;
    int gpu;
};

/* Records the event before a launch in the calling thread's context; NULL where nothing can be measured now. */
struct sample *sample_begin(struct cost *cost, const struct launch_site *site);

/* After the first launch. */
void sample_launched(struct sample *sample);

/* Records the event after the last launch. True: the sample is under way, and poller_wake is to be called; false: it is
 * cancelled. */
bool sample_end(struct sample *sample, unsigned launches);

/* Nothing is measured after all. */
void sample_cancel(struct sample *sample);

/* Reads what the GPU has done of a context, or of all contexts with NULL (then the caller's current context is
 * changed). Answers how many are still under way. */
unsigned samples_read(CUcontext context);

/* How many are under way; read without a lock. */
unsigned samples_under_way(void);

/* Around what may end a context (NULL: any): in between none of its events is touched. */
void samples_hold(CUcontext context);
void samples_release(CUcontext context, bool ended);

/* The process is about to end, or has just been forked: the driver isn't asked any more. */
void samples_stop(void);
void samples_after_fork(void);

#endif
