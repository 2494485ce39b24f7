/* What graphs and nodes are: numbers that tools know them by, and a node's parameters whatever its kind. */
#include "simulator/cuda/core/later.h"
#include "simulator/cuda/graph/graph_exec.h"

enum { GRAPH_BITS = 32 };

CUresult cuGraphGetId(CUgraph graph, unsigned *id) {
    NEED_DRIVER();
    NEED(object_is(graph, KIND_GRAPH) && id, CUDA_ERROR_INVALID_VALUE);
    *id = graph->id;
    return CUDA_SUCCESS;
}

CUresult cuGraphExecGetId(CUgraphExec graph_exec, unsigned *id) {
    NEED_DRIVER();
    NEED_EXEC(graph_exec);
    NEED(id, CUDA_ERROR_INVALID_VALUE);
    *id = graph_exec->id;
    return CUDA_SUCCESS;
}

CUresult cuGraphNodeGetContainingGraph(CUgraphNode node, CUgraph *graph) {
    NEED_DRIVER();
    NEED(object_is(node, KIND_NODE) && graph, CUDA_ERROR_INVALID_VALUE);
    *graph = node->graph;
    return CUDA_SUCCESS;
}

CUresult cuGraphNodeGetLocalId(CUgraphNode node, unsigned *id) {
    NEED_DRIVER();
    NEED(object_is(node, KIND_NODE) && id, CUDA_ERROR_INVALID_VALUE);
    *id = node->id;
    return CUDA_SUCCESS;
}

CUresult cuGraphNodeGetParams(CUgraphNode node, CUgraphNodeParams *params) {
    NEED_DRIVER();
    NEED(object_is(node, KIND_NODE) && params, CUDA_ERROR_INVALID_VALUE);
    *params = (CUgraphNodeParams){.type = node->type};
    switch (node->type) {
    case CU_GRAPH_NODE_TYPE_KERNEL: return cuGraphKernelNodeGetParams_v2(node, &params->as.kernel);
    case CU_GRAPH_NODE_TYPE_MEMCPY:
        params->as.memcpy.context = node->context;
        return cuGraphMemcpyNodeGetParams(node, &params->as.memcpy.copy);
    case CU_GRAPH_NODE_TYPE_MEMSET:
        params->as.memset.context = node->context;
        return cuGraphMemsetNodeGetParams(node, &params->as.memset.set);
    case CU_GRAPH_NODE_TYPE_HOST: return cuGraphHostNodeGetParams(node, &params->as.host);
    case CU_GRAPH_NODE_TYPE_GRAPH: params->as.child.graph = node->child; return CUDA_SUCCESS;
    case CU_GRAPH_NODE_TYPE_EMPTY: return CUDA_SUCCESS;
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD: params->as.event = node->work.as.event.event; return CUDA_SUCCESS;
    case CU_GRAPH_NODE_TYPE_EXT_SEMAS_SIGNAL:
        return cuGraphExternalSemaphoresSignalNodeGetParams(node, &params->as.signal.of);
    case CU_GRAPH_NODE_TYPE_EXT_SEMAS_WAIT:
        return cuGraphExternalSemaphoresWaitNodeGetParams(node, &params->as.wait.of);
    case CU_GRAPH_NODE_TYPE_MEM_ALLOC: params->as.alloc = node->alloc; return CUDA_SUCCESS;
    case CU_GRAPH_NODE_TYPE_MEM_FREE: params->as.free_pointer = node->work.as.free; return CUDA_SUCCESS;
    case CU_GRAPH_NODE_TYPE_CONDITIONAL: params->as.conditional = node->conditional; return CUDA_SUCCESS;
    default: return CUDA_ERROR_NOT_SUPPORTED;
    }
}

CUresult cuGraphNodeGetToolsId(CUgraphNode node, unsigned long long *id) {
    NEED_DRIVER();
    NEED(object_is(node, KIND_NODE) && id, CUDA_ERROR_INVALID_VALUE);
    *id = (unsigned long long)node->graph->id << GRAPH_BITS | node->id;
    return CUDA_SUCCESS;
}
