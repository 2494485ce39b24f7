/* Changing executable graphs. */
#include "simulator/cuda/graph/graph_copy.h"
#include "simulator/cuda/graph/graph_exec.h"
#include "simulator/cuda/stream/semaphore.h"

/* The new nodes keep the handles of the old ones, and stay disabled if those were. */
static void replace(CUgraphExec exec, CUgraph fresh) {
    pthread_mutex_lock(&exec->running);
    CUgraphNode after = fresh->first;
    for (CUgraphNode before = exec->graph->first; before; before = before->next, after = after->next) {
        after->original = before->original;
        after->off = before->off;
    }
    CUgraph old = exec->graph;
    exec->graph = fresh;
    pthread_mutex_unlock(&exec->running);
    graph_unref(old);
}

/* The node to change. A launch that still waits keeps the graph as it was, so a copy is changed then. */
static CUgraphNode twin_of(CUgraphExec exec, CUgraphNode node) {
    if (!object_is(exec, KIND_EXEC)) {
        return NULL;
    }
    if (graph_is_shared(exec->graph)) {
        CUgraph fresh;
        if (graph_copy(exec->graph, &fresh) != CUDA_SUCCESS) {
            return NULL;
        }
        replace(exec, fresh);
    }
    for (CUgraphNode each = exec->graph->first; each; each = each->next) {
        if (each->original == node) {
            return each;
        }
    }
    return NULL;
}

#define NEED_TWIN(twin, exec, node)           \
    CUgraphNode twin;                         \
    do {                                      \
        NEED_DRIVER();                        \
        twin = twin_of(exec, node);           \
        NEED(twin, CUDA_ERROR_INVALID_VALUE); \
    } while (0)

CUresult cuGraphExecKernelNodeSetParams_v2(CUgraphExec exec, CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS *params) {
    NEED_TWIN(twin, exec, node);
    return cuGraphKernelNodeSetParams_v2(twin, params);
}

CUresult cuGraphExecKernelNodeSetParams(CUgraphExec exec, CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS_v1 *params) {
    NEED_TWIN(twin, exec, node);
    return cuGraphKernelNodeSetParams(twin, params);
}

CUresult cuGraphExecMemcpyNodeSetParams(CUgraphExec exec, CUgraphNode node, const CUDA_MEMCPY3D *copy_params,
                                        CUcontext context) {
    (void)context;
    NEED_TWIN(twin, exec, node);
    return cuGraphMemcpyNodeSetParams(twin, copy_params);
}

CUresult cuGraphExecMemsetNodeSetParams(CUgraphExec exec, CUgraphNode node, const CUDA_MEMSET_NODE_PARAMS *params,
                                        CUcontext context) {
    (void)context;
    NEED_TWIN(twin, exec, node);
    return cuGraphMemsetNodeSetParams(twin, params);
}

CUresult cuGraphExecHostNodeSetParams(CUgraphExec exec, CUgraphNode node, const CUDA_HOST_NODE_PARAMS *node_params) {
    NEED_TWIN(twin, exec, node);
    return cuGraphHostNodeSetParams(twin, node_params);
}

CUresult cuGraphExecEventRecordNodeSetEvent(CUgraphExec exec, CUgraphNode node, CUevent event) {
    NEED_TWIN(twin, exec, node);
    return cuGraphEventRecordNodeSetEvent(twin, event);
}

CUresult cuGraphExecEventWaitNodeSetEvent(CUgraphExec exec, CUgraphNode node, CUevent event) {
    NEED_TWIN(twin, exec, node);
    return cuGraphEventWaitNodeSetEvent(twin, event);
}

/* The number of semaphores can't change. */
#define EXEC_SEMAPHORES(name, params_type, node_type)                                               \
    CUresult cuGraphExecExternalSemaphores##name##NodeSetParams(CUgraphExec exec, CUgraphNode node, \
                                                                const params_type *node_params) {   \
        NEED_TWIN(twin, exec, node);                                                                \
        NEED(node_params && twin->type == (node_type), CUDA_ERROR_INVALID_VALUE);                   \
        NEED(node_params->count == twin->work.as.semaphore.all->count, CUDA_ERROR_INVALID_VALUE);   \
        return cuGraphExternalSemaphores##name##NodeSetParams(twin, node_params);                   \
    }
EXEC_SEMAPHORES(Signal, CUDA_EXT_SEM_SIGNAL_NODE_PARAMS, CU_GRAPH_NODE_TYPE_EXT_SEMAS_SIGNAL)
EXEC_SEMAPHORES(Wait, CUDA_EXT_SEM_WAIT_NODE_PARAMS, CU_GRAPH_NODE_TYPE_EXT_SEMAS_WAIT)

CUresult cuGraphExecNodeSetParams(CUgraphExec exec, CUgraphNode node, CUgraphNodeParams *node_params) {
    NEED_TWIN(twin, exec, node);
    NEED(node_params, CUDA_ERROR_INVALID_VALUE);
    switch (node_params->type) {
    case CU_GRAPH_NODE_TYPE_EXT_SEMAS_SIGNAL:
        return cuGraphExecExternalSemaphoresSignalNodeSetParams(exec, node, &node_params->as.signal.of);
    case CU_GRAPH_NODE_TYPE_EXT_SEMAS_WAIT:
        return cuGraphExecExternalSemaphoresWaitNodeSetParams(exec, node, &node_params->as.wait.of);
    default: return cuGraphNodeSetParams(twin, node_params);
    }
}

CUresult cuGraphNodeSetEnabled(CUgraphExec exec, CUgraphNode node, unsigned int is_enabled) {
    NEED_TWIN(twin, exec, node);
    NEED(twin->type == CU_GRAPH_NODE_TYPE_KERNEL || twin->type == CU_GRAPH_NODE_TYPE_MEMCPY ||
             twin->type == CU_GRAPH_NODE_TYPE_MEMSET,
         CUDA_ERROR_INVALID_VALUE);
    twin->off = !is_enabled;
    return CUDA_SUCCESS;
}

CUresult cuGraphNodeGetEnabled(CUgraphExec exec, CUgraphNode node, unsigned int *is_enabled) {
    NEED_TWIN(twin, exec, node);
    NEED(is_enabled, CUDA_ERROR_INVALID_VALUE);
    *is_enabled = !twin->off;
    return CUDA_SUCCESS;
}

static size_t place_of(CUgraph graph, CUgraphNode node) {
    size_t place = 0;
    for (CUgraphNode each = graph->first; each && each != node; each = each->next) {
        place++;
    }
    return place;
}

static CUgraphExecUpdateResult compare(CUgraph old, CUgraph fresh, CUgraphNode *error) {
    *error = NULL;
    if (old->count != fresh->count) {
        return CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
    }
    CUgraphNode after = fresh->first;
    for (CUgraphNode before = old->first; before; before = before->next, after = after->next) {
        *error = after->original;
        if (before->type != after->type) {
            return CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED;
        }
        if (before->need_count != after->need_count) {
            return CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
        }
        for (size_t i = 0; i < before->need_count; i++) {
            if (place_of(old, before->needs[i]) != place_of(fresh, after->needs[i])) {
                return CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
            }
        }
        bool semaphores = before->work.kind == OP_SIGNAL || before->work.kind == OP_AWAIT;
        if (semaphores && before->work.as.semaphore.all->count != after->work.as.semaphore.all->count) {
            return CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED;
        }
        if (before->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC) {
            return CU_GRAPH_EXEC_UPDATE_ERROR_NOT_SUPPORTED;
        }
    }
    *error = NULL;
    return CU_GRAPH_EXEC_UPDATE_SUCCESS;
}

CUresult cuGraphExecUpdate_v2(CUgraphExec exec, CUgraph graph, CUgraphExecUpdateResultInfo *result_info) {
    NEED_DRIVER();
    NEED_EXEC(exec);
    NEED(object_is(graph, KIND_GRAPH) && result_info, CUDA_ERROR_INVALID_VALUE);
    CUgraph fresh;
    NEED_OK(graph_copy(graph, &fresh));
    CUresult ordered = graph_order(fresh);
    if (ordered != CUDA_SUCCESS) {
        graph_end(fresh);
        return ordered;
    }
    *result_info = (CUgraphExecUpdateResultInfo){.result = compare(exec->graph, fresh, &result_info->error_node)};
    CUgraphNode error;
    if (compare(exec->graph, fresh, &error) != CU_GRAPH_EXEC_UPDATE_SUCCESS) {
        result_info->error_node = error;
        graph_end(fresh);
        return CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
    }
    replace(exec, fresh);
    return CUDA_SUCCESS;
}

CUresult cuGraphExecUpdate(CUgraphExec exec, CUgraph graph, CUgraphNode *error_node_out,
                           CUgraphExecUpdateResult *update_result_out) {
    CUgraphExecUpdateResultInfo info = {0};
    CUresult result = cuGraphExecUpdate_v2(exec, graph, &info);
    if (error_node_out) {
        *error_node_out = info.error_node;
    }
    if (update_result_out) {
        *update_result_out = info.result;
    }
    return result;
}
