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
    unsigned id; /* in its graph */
    op work;
    CUcontext context;
    CUgraphNode *needs;
    size_t need_count;
    CUgraph child; /* the graph within that runs, if any; owned */
    /* Of a conditional node, owned: every graph within; `child` is the one that the condition chooses. */
    CUgraph *bodies;
    unsigned body_count;
    CUDA_CONDITIONAL_NODE_PARAMS conditional;
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
    unsigned instances; /* executable graphs made of it */
    unsigned launches; /* that wait to be run, of one that is ready to */
    user_ref *users;
    unsigned id, last_node_id;
    struct condition *conditions;
};

/* A value that chooses among graphs. No kernel ever sets it: each launch begins, and ends, with its default. */
typedef struct condition {
    CUgraphConditionalHandle handle;
    unsigned value;
    struct condition *next;
} condition;

CUresult graph_add_conditional(CUgraphNode *made, CUgraph graph, const CUgraphNode *needs, size_t need_count,
                               CUDA_CONDITIONAL_NODE_PARAMS *wanted);

#define NEED_NODE_OF(node, wanted)                                                              \
    do {                                                                                        \
        NEED_DRIVER();                                                                          \
        NEED(object_is(node, KIND_NODE) && (node)->type == (wanted), CUDA_ERROR_INVALID_VALUE); \
    } while (0)

/* Gives work that a node is to keep copies of what the node owns of it; and ends those. */
CUresult graph_work_keep(op *work);
void graph_work_end(op *work);

CUgraph graph_new(void);
void graph_end(CUgraph graph);
/* Ends a node that is no longer in its graph's list. */
void graph_node_end(CUgraphNode node);
CUresult graph_add(CUgraph graph, CUgraphNodeType type, const op *work, CUcontext context, const CUgraphNode *needs,
                   size_t need_count, CUgraphNode *made);
/* Sorts the nodes: each comes after those that it waits for. */
CUresult graph_order(CUgraph graph);
/* Whether nodes of it allocate or free memory: its nodes and edges can't be removed, nor can it be copied. */
bool graph_owns_memory(CUgraph graph);
/* Keeps the graph as it is for a launch. */
CUgraph graph_ref(CUgraph graph);
/* Whether launches hold the graph. */
bool graph_is_shared(CUgraph graph);
void graph_unref(CUgraph graph);
CUgraphNodeType node_type_of(const op *work);

#endif
