/* Which calls an active stream capture forbids, and to whom. */
#ifndef UNIGPU_SIM_CAPTURE_GUARD_H
#define UNIGPU_SIM_CAPTURE_GUARD_H

#include "simulator/cuda/core/driver.h"

/* A capture, as far as the rules about other calls need it. */
typedef struct capture_guard {
    uint64_t id; /* never 0, never used twice */
    CUstreamCaptureMode mode;
    pthread_t thread;  /* that began it */
    CUcontext context; /* of the stream that it began in */
    bool blocking;     /* that stream and the legacy one wait for each other */
    bool broken;       /* a forbidden call invalidated it */
    struct capture_guard *next;
} capture_guard;

/* Enlists a capture that the calling thread begins, and gives it its id. */
void capture_guard_begin(capture_guard *guard);
void capture_guard_end(capture_guard *guard);
/* The active capture with this id, or NULL. */
capture_guard *capture_guard_find(uint64_t id);
/* Whether synchronising, or work in the legacy stream, would disturb a capture: invalidates it and returns the error. */
CUresult capture_forbids_sync(CUcontext context);
/* The same for calls that are unsafe in any capture, such as allocations and queries of events and streams. */
CUresult capture_forbids_unsafe(void);

#endif
