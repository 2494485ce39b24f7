/* Graphs made ready to run. */
#ifndef UNIGPU_SIM_GRAPH_EXEC_H
#define UNIGPU_SIM_GRAPH_EXEC_H

#include "simulator/cuda/graph/graph.h"

struct CUgraphExec_st {
    object object;
    CUgraph graph; /* a copy of its own; nodes know their originals */
    CUgraph source; /* if it still has this number, and is a graph */
    unsigned source_id;
    CUcontext context;
    uint64_t flags;
    unsigned id; /* the copy's, when it was made */
    int refs; /* its handle, and launches that wait */
    pthread_mutex_t running;
};

#define NEED_EXEC(exec) NEED(object_is(exec, KIND_EXEC), CUDA_ERROR_INVALID_VALUE)

/* Lets go of the graph and of the executable graph after a launch. */
void exec_finish(CUgraphExec exec, CUgraph graph);

#endif
