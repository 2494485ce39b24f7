/* Measures launches with two CUDA events on the launch's own stream, one before it and one after, which are read once
 * the GPU has passed them. No function here waits for the GPU. */
#ifndef UNIGPU_COMPUTE_SAMPLES_H
#define UNIGPU_COMPUTE_SAMPLES_H

#include "libvgpu/compute/cost_cache.h"
#include "libvgpu/driver/driver.h"

/* After a run that the host was too slow for, so many launches are measured one by one. */
#define SAMPLES_ALONE 16

/* A run's launches go to so many streams at most. */
#define SAMPLES_STREAMS 16

struct sample {
    struct sample *next;
    struct cost *cost;
    CUcontext context;
    CUstream stream;
    CUevent before, after;
    struct {
        CUevent before, after;
    } others[SAMPLES_STREAMS - 1]; /* likewise for a run's other streams; NULL: not made yet */
    uint64_t begun_at, ended_at; /* when the host began and ended the launches, ns */
    uint64_t asked_for; /* how long the host then asked whether the stream was idle, ns; 0: it was seen at once */
    uint64_t noted_at; /* time of the note in the account, where it is the first launch of its key: see throttle.h */
    uint64_t gap; /* host's time from the first event to the end of the first launch, ns */
    uint64_t started_at; /* when the GPU was first seen to run it, ns; 0: not yet */
    int64_t charged; /* the launch's provisional charge, ns; -1: the charge stands */
    uint32_t meaning;
    uint16_t launches;
    uint16_t streams; /* that its launches go to */
    int16_t gpu;
    bool backlogged; /* the stream had unfinished work before it */
    bool learning;   /* it is the first launch of its key */
};

/* Where a launch goes. */
struct launch_site {
    CUcontext context;
    CUstream stream;
    int gpu;
};

/* Records the event before a launch, in the calling thread's context. NULL where nothing can be measured now. */
struct sample *sample_begin(struct cost *cost, const struct launch_site *site);

/* Records the event before the sample's first launch on one more stream. False: it can't. */
bool sample_join(struct sample *sample, CUstream stream);

/* To be called after the first launch. */
void sample_launched(struct sample *sample);

/* Records the events after the last launch, one on each of the streams. True: the sample is under way, and poller_wake is to be called; false: it is
 * cancelled. */
bool sample_end(struct sample *sample, unsigned launches, const CUstream *streams);

/* Abandons the sample. */
void sample_cancel(struct sample *sample);

/* Reads the finished samples of a context, or with NULL of all contexts, which changes the caller's current context.
 * Returns how many samples are still under way. */
unsigned samples_read(CUcontext context);

/* Returns how many samples are under way, without a lock. */
unsigned samples_under_way(void);

/* Returns for how long the GPU has been seen to run a launch of unknown cost, ns; 0: there is none. */
uint64_t samples_unknown_for(int gpu, uint64_t now);

/* To be called before and after a call that may end a context (NULL: any context). In between no event of it is
 * touched. */
void samples_hold(CUcontext context);
void samples_release(CUcontext context, bool ended);

/* Charges what the GPU has finished, and stops all measuring: the process is about to end. */
void samples_stop(void);

/* In the child of a fork. */
void samples_after_fork(void);

#endif
