/* Measures launches with two CUDA events on the launch's own stream, one before it and one after, which are read once
 * the GPU has passed them. No function here waits for the GPU. */
#ifndef UNIGPU_COMPUTE_SAMPLES_H
#define UNIGPU_COMPUTE_SAMPLES_H

#include "libvgpu/compute/sample_store.h"

/* After a run that the host was too slow for, so many launches are measured one by one. */
#define SAMPLES_ALONE 16
#define SAMPLES_ALONE_OF_SEVERAL 2

/* Where a launch goes. */
struct launch_site {
    CUcontext context;
    CUstream stream;
    int gpu;
};

/* Records the event before a launch, in the calling thread's context. NULL where nothing can be measured now. */
struct sample *sample_begin(struct cost *cost, const struct launch_site *site);

/* Whether the stream has no unfinished work. */
bool sample_would_begin_at_once(const struct launch_site *site);

/* The same, right behind a launch on that stream: the sample begins when the GPU has done that one. */
struct sample *sample_begin_behind(struct cost *cost, const struct launch_site *site);

/* Adds one more stream, and where the sample isn't behind a launch, records the event before its first launch there.
 * False: it can't. */
bool sample_join(struct sample *sample, CUstream stream);

/* To be called after the first launch. */
void sample_launched(struct sample *sample);

/* Records the events after the last launch, one on each of the streams. True: the sample is under way, and poller_wake is to be called; false: it is
 * cancelled. */
bool sample_end(struct sample *sample, unsigned launches, const CUstream *streams);

/* Notes that the host has spent its time on measuring since then, ns. A longer time than `most` is another's: the host was
 * interrupted. */
#define SPENT_MOST_NS 2500u
void sample_spend(struct sample *sample, uint64_t since, uint64_t most);

/* Abandons the sample. */
void sample_cancel(struct sample *sample);

/* Reads the finished samples of a context, or with NULL of all contexts, which changes the caller's current context.
 * Returns how many samples are still under way. */
unsigned samples_read(CUcontext context);

/* Charges what the GPU has finished, and stops all measuring: the process is about to end. */
void samples_stop(void);

#endif
