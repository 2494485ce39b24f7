/* Graphs: nodes of work and what each waits for. */
#ifndef UNIGPU_SIM_GRAPH_H
#define UNIGPU_SIM_GRAPH_H

#include "simulator/cuda/op.h"

struct CUgraphNode_st {
    object object;
    CUgraph graph;
    CUgraphNodeType type;
    op work;
    CUcontext context;
    CUgraphNode *needs;
    size_t need_count;
    CUgraph child;           /* a graph within; owned */
    CUgraphNode original; /* in a clone */
    CUDA_MEM_ALLOC_NODE_PARAMS alloc;
    /* In a graph that is ready to run: */
    bool done, off;
    uint64_t done_ns;
    CUgraphNode next;
};

struct CUgraph_st {
    object object;
    CUgraphNode first, last;
    size_t count;
    bool owned; /* by a child node */
    unsigned launches; /* that wait to be run, of one that is ready to */
    struct user_hold *users;
};

struct CUgraphExec_st {
    object object;
    CUgraph graph; /* a copy of its own; nodes know their originals */
    CUcontext context;
    uint64_t flags;
    int holders; /* its handle, and launches that wait */
    pthread_mutex_t running;
};

#define NEED_EXEC(exec) NEED(object_is(exec, KIND_EXEC), CUDA_ERROR_INVALID_VALUE)

CUgraph graph_new(void);
void graph_end(CUgraph graph);
CUresult graph_add(CUgraph graph, CUgraphNodeType type, const op *work, CUcontext context, const CUgraphNode *needs,
                   size_t need_count, CUgraphNode *made);
CUresult graph_copy(CUgraph original, CUgraph *copy);
void graph_drop_users(CUgraph graph);
/* Puts each node behind those that it waits for. */
CUresult graph_order(CUgraph graph);
/* A launch holds the graph as it is. */
CUgraph graph_hold(CUgraph graph);
bool graph_is_held(CUgraph graph);
void graph_drop(CUgraph graph);
CUgraphNodeType node_type_of(const op *work);
/* Its own copy of a kernel's parameter values; NULL when there are none. */
void *kernel_parameters(CUfunction function, void **parameters, void **extra);
int kernel_blocks_per_multiprocessor(CUfunction function, int threads, size_t shared);
/* A library's kernel in a context, loaded there when first asked for; NULL if that fails. */
CUfunction kernel_in(CUkernel kernel, CUcontext context);
/* Fills in function, lanes, duration and parameters of a kernel's work, checked. */
CUresult kernel_work(const CUDA_KERNEL_NODE_PARAMS *wanted, CUcontext current, op *work);

#endif
