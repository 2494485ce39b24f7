#ifndef UNIGPU_SIM_EVENT_H
#define UNIGPU_SIM_EVENT_H

#include "simulator/cuda/core/context.h"
#include "simulator/cuda/stream/fence.h"

struct CUevent_st {
    object object;
    CUcontext context;
    unsigned flags;
    fence *fence;     /* NULL: never recorded */
    uint64_t capture; /* the id of the capture it was last recorded in; 0: none */
    CUgraphNode *captured; /* the capture's nodes at that point */
    size_t captured_count;
};

#endif
