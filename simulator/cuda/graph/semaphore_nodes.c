/* Nodes that signal semaphores of other APIs, and nodes that wait for them. */
#include "simulator/cuda/stream/semaphore.h"

#include <stdlib.h>

#include "simulator/cuda/graph/graph.h"

/* Replaces the semaphores of a node. */
static CUresult change(CUgraphNode node, const CUexternalSemaphore *semaphores, const void *params, unsigned count) {
    semaphore_list *all;
    NEED_OK(semaphore_list_new(semaphores, params, count, &all));
    free(node->work.as.semaphore.all);
    node->work.as.semaphore.all = all;
    return CUDA_SUCCESS;
}

static CUresult add(CUgraphNode *made, CUgraph graph, const CUgraphNode *needs, size_t need_count, op_kind kind,
                    semaphore_list *all) {
    op work = {.kind = kind, .as.semaphore.all = all};
    CUresult result = graph_add(graph, node_type_of(&work), &work, NULL, needs, need_count, made);
    if (result != CUDA_SUCCESS) {
        free(all);
    }
    return result;
}

#define SEMAPHORE_NODES(name, params_type, values_type, work_kind, node_type)                                   \
    CUresult cuGraphAddExternalSemaphores##name##Node(CUgraphNode *graph_node, CUgraph graph,                   \
                                                      const CUgraphNode *dependencies, size_t dependency_count, \
                                                      const params_type *node_params) {                         \
        semaphore_list *all;                                                                                    \
        NEED_DRIVER();                                                                                          \
        NEED(graph_node && node_params, CUDA_ERROR_INVALID_VALUE);                                              \
        NEED_OK(semaphore_list_new(node_params->semaphores, node_params->params, node_params->count, &all));    \
        return add(graph_node, graph, dependencies, dependency_count, work_kind, all);                          \
    }                                                                                                           \
    CUresult cuGraphExternalSemaphores##name##NodeGetParams(CUgraphNode node, params_type *params_out) {        \
        NEED_NODE_OF(node, node_type);                                                                          \
        NEED(params_out, CUDA_ERROR_INVALID_VALUE);                                                             \
        semaphore_list *all = node->work.as.semaphore.all;                                                      \
        *params_out = (params_type){all->semaphores, (const values_type *)all->params, all->count};             \
        return CUDA_SUCCESS;                                                                                    \
    }                                                                                                           \
    CUresult cuGraphExternalSemaphores##name##NodeSetParams(CUgraphNode node, const params_type *node_params) { \
        NEED_NODE_OF(node, node_type);                                                                          \
        NEED(node_params, CUDA_ERROR_INVALID_VALUE);                                                            \
        return change(node, node_params->semaphores, node_params->params, node_params->count);                  \
    }
SEMAPHORE_NODES(Signal, CUDA_EXT_SEM_SIGNAL_NODE_PARAMS, CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS, OP_SIGNAL,
                CU_GRAPH_NODE_TYPE_EXT_SEMAS_SIGNAL)
SEMAPHORE_NODES(Wait, CUDA_EXT_SEM_WAIT_NODE_PARAMS, CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS, OP_AWAIT,
                CU_GRAPH_NODE_TYPE_EXT_SEMAS_WAIT)
