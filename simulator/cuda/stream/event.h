#ifndef UNIGPU_SIM_EVENT_H
#define UNIGPU_SIM_EVENT_H

#include "simulator/cuda/core/context.h"
#include "simulator/cuda/stream/fence.h"

struct CUevent_st {
    object object;
    CUcontext context;
    unsigned flags;
    fence *fence;     /* NULL: never recorded */
    struct shared_event *shared; /* with other processes, or NULL; then it counts and not the fence */
    uint64_t capture; /* the id of the capture it was last recorded in; 0: none */
    CUgraphNode *captured; /* the capture's nodes at that point */
    size_t captured_count;
};

/* Makes an event; it takes over what it shares with other processes. */
CUresult event_new(CUcontext context, unsigned flags, struct shared_event *shared, CUevent *event);
/* Begins a record: makes the point that the event stands for from now on, and returns it with a reference; NULL: out of
 * memory. */
fence *event_begin(CUevent event);
/* The point that the event stands for, with a reference; NULL: never recorded, or out of memory. */
fence *event_point(CUevent event);

#endif
