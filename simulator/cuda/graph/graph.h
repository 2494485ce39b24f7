/* Graphs: nodes of work and their dependencies. */
#ifndef UNIGPU_SIM_GRAPH_H
#define UNIGPU_SIM_GRAPH_H

#include "simulator/cuda/core/op.h"
#include "simulator/cuda/module/symbols.h"
#include "simulator/cuda/graph/user_object.h"

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
    bool owned;        /* by a child node */
    unsigned captures; /* that record into it */
    unsigned launches; /* that wait to be run, of one that is ready to */
    user_ref *users;
};

CUgraph graph_new(void);
void graph_end(CUgraph graph);
/* Ends a node that is no longer in its graph's list. */
void graph_node_end(CUgraphNode node);
CUresult graph_add(CUgraph graph, CUgraphNodeType type, const op *work, CUcontext context, const CUgraphNode *needs,
                   size_t need_count, CUgraphNode *made);
/* Sorts the nodes: each comes after those that it waits for. */
CUresult graph_order(CUgraph graph);
/* Keeps the graph as it is for a launch. */
CUgraph graph_ref(CUgraph graph);
/* Whether launches hold the graph. */
bool graph_is_shared(CUgraph graph);
void graph_unref(CUgraph graph);
CUgraphNodeType node_type_of(const op *work);

#endif
