/* Where samples lie: those under way in one list, in the order of their launches, and for each context the idle ones with
 * their events. */
#ifndef UNIGPU_COMPUTE_SAMPLE_STORE_H
#define UNIGPU_COMPUTE_SAMPLE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "libvgpu/base/lock.h"
#include "libvgpu/compute/cost_cache.h"
#include "libvgpu/compute/ends.h"
#include "libvgpu/driver/driver.h"

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
    int64_t end; /* when the GPU finished it, ns from some moment that is common to those read together */
    CUresult result; /* of the last look at it */
    int64_t charged; /* the launch's provisional charge, ns; -1: the charge stands */
    uint32_t meaning;
    uint16_t launches;
    uint16_t streams; /* that its launches go to */
    int16_t gpu;
    bool backlogged; /* the stream had unfinished work before it */
    bool learning; /* it is the first launch of its key */
    bool together; /* its launches go to several streams, and count once together where they run side by side */
    bool behind; /* it begins where the GPU has done a launch just before its own, on the first of its streams */
    uint64_t spent; /* host's time that measuring took between the first event and the last, ns */
};

struct sample_pairs {
    CUcontext context;
    CUevent latest; /* the latest end of a sample that was read; NULL: none */
    struct ends ends; /* it and those before it, while launches go to several streams */
    bool late; /* the host was interrupted before it recorded that, so that the GPU may have ended earlier */
    unsigned held;
    unsigned made;
    struct sample *idle;
    struct sample_pairs *next;
};

struct sample_store {
    struct mutex lock; /* of all that follows */
    struct sample_pairs *contexts;
    unsigned all_held;
    bool stopped;
    unsigned under_way; /* written with the lock held; read without it */
    struct sample *first, **last;
};

extern struct sample_store sample_store;

/* Returns the context's; NULL: no memory. Call with the lock held. */
struct sample_pairs *sample_store_of(CUcontext context);

/* Takes an idle sample of the context, or makes one; NULL: none can be had now. */
struct sample *sample_store_take(CUcontext context);

/* Puts a sample back to the idle ones. Call with the lock held. */
void sample_store_put_back(struct sample *sample);

/* Adds a sample to those under way. */
void sample_store_add(struct sample *sample);

/* Takes the sample that `link` points to out of those under way. Call with the lock held. */
struct sample *sample_store_take_out(struct sample **link);

/* Ends the learning of a launch that is the first of its key: its cost is known, or never will be. */
void sample_end_learning(struct sample *sample);

/* Notes when the GPU was first seen to run a launch of unknown cost, ns; 0: none runs. */
void samples_note_unknown(int gpu, uint64_t since);

/* Returns how many samples are under way, without a lock. */
unsigned samples_under_way(void);

/* Returns for how long the GPU has been seen to run a launch of unknown cost, ns; 0: there is none. */
uint64_t samples_unknown_for(int gpu, uint64_t now);

/* To be called before and after a call that may end a context (NULL: any context). In between no event of it is
 * touched. */
void samples_hold(CUcontext context);
void samples_release(CUcontext context, bool ended);

/* In the child of a fork. */
void samples_after_fork(void);

#endif
