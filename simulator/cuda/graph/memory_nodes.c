/* Nodes that allocate and free memory, which lives from one node to another. */
#include "simulator/cuda/graph/graph.h"
#include "simulator/cuda/graph/reuse.h"
#include "simulator/cuda/memory/graph_memory.h"
#include "simulator/cuda/memory/heap.h"

CUresult cuGraphAddMemAllocNode(CUgraphNode *graph_node, CUgraph graph, const CUgraphNode *dependencies,
                                size_t dependency_count, CUDA_MEM_ALLOC_NODE_PARAMS *node_params) {
    NEED_CONTEXT(current);
    NEED(graph_node && node_params && node_params->bytes, CUDA_ERROR_INVALID_VALUE);
    NEED(node_params->pool.handle_types == CU_MEM_HANDLE_TYPE_NONE, CUDA_ERROR_INVALID_VALUE);
    CUmemLocation where = node_params->pool.location;
    bool managed = node_params->pool.type == CU_MEM_ALLOCATION_TYPE_MANAGED;
    NEED(managed || node_params->pool.type == CU_MEM_ALLOCATION_TYPE_PINNED, CUDA_ERROR_INVALID_VALUE);
    if (managed && where.type != CU_MEM_LOCATION_TYPE_DEVICE) {
        /* It begins on the current GPU, like other managed memory. */
        node_params->pool.location = (CUmemLocation){CU_MEM_LOCATION_TYPE_DEVICE, current->ordinal};
    }
    NEED(node_params->pool.location.type == CU_MEM_LOCATION_TYPE_DEVICE, CUDA_ERROR_INVALID_VALUE);
    NEED(device_at(node_params->pool.location.id), CUDA_ERROR_INVALID_VALUE);
    NEED_OK(graph_memory(graph, current, dependencies, dependency_count, node_params));
    op work = {.kind = OP_ALLOC, .as.alloc.wanted = *node_params};
    CUresult result =
        graph_add(graph, CU_GRAPH_NODE_TYPE_MEM_ALLOC, &work, current, dependencies, dependency_count, graph_node);
    if (result != CUDA_SUCCESS) {
        heap_unref(node_params->pointer);
        return result;
    }
    (*graph_node)->alloc = *node_params;
    return CUDA_SUCCESS;
}

CUresult cuGraphMemAllocNodeGetParams(CUgraphNode node, CUDA_MEM_ALLOC_NODE_PARAMS *params_out) {
    NEED_NODE_OF(node, CU_GRAPH_NODE_TYPE_MEM_ALLOC);
    NEED(params_out, CUDA_ERROR_INVALID_VALUE);
    *params_out = node->alloc;
    return CUDA_SUCCESS;
}

CUresult cuGraphAddMemFreeNode(CUgraphNode *graph_node, CUgraph graph, const CUgraphNode *dependencies,
                               size_t dependency_count, CUdeviceptr pointer) {
    NEED_DRIVER();
    extent found;
    NEED(graph_node && heap_find(pointer, &found), CUDA_ERROR_INVALID_VALUE);
    op work = {.kind = OP_FREE, .as.free = pointer};
    return graph_add(graph, CU_GRAPH_NODE_TYPE_MEM_FREE, &work, NULL, dependencies, dependency_count, graph_node);
}

CUresult cuGraphMemFreeNodeGetParams(CUgraphNode node, CUdeviceptr *pointer_out) {
    NEED_NODE_OF(node, CU_GRAPH_NODE_TYPE_MEM_FREE);
    NEED(pointer_out, CUDA_ERROR_INVALID_VALUE);
    *pointer_out = node->work.as.free;
    return CUDA_SUCCESS;
}
