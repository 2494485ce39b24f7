/* Captures into a graph that there is already, whose nodes they have to match one after another. */
#ifndef UNIGPU_SIM_RECAPTURE_H
#define UNIGPU_SIM_RECAPTURE_H

#include "simulator/cuda/graph/graph.h"

typedef struct recapture {
    bool on;
    CUgraphNode next; /* that the next piece of work has to match */
    CUgraphRecaptureCallback callback;
    void *data;
} recapture;

/* Matches work with the graph's next node, which takes over what is different and owned in it. The caller's function hears of
 * the difference before. */
CUresult recapture_node(recapture *again, CUcontext context, op *work, const CUgraphNode *needs, size_t need_count,
                        CUgraphNode *node);

#endif
