/* Graphs. Memory that a graph's nodes allocate is reserved before the graph runs, and then counted as the driver
 * reports it. */
#include <stdlib.h>

#include "libvgpu/hooks/hooks.h"
#include "libvgpu/hooks/launches.h"
#include "libvgpu/memory/allocations.h"
#include "libvgpu/memory/pages.h"
#include "libvgpu/memory/pools.h"

struct need {
    uint64_t bytes;
    CUdevice device; /* of the first node that allocates; the others are assumed to use the same */
};

static void add_up(CUgraph graph, struct need *need);

static void add_node(CUgraphNode node, struct need *need) {
    CUgraphNodeType type;
    CUDA_MEM_ALLOC_NODE_PARAMS wanted;
    CUgraph child;
    uint64_t whole;
    if (DRIVER(cuGraphNodeGetType)(node, &type) != CUDA_SUCCESS) {
        return;
    }
    if (type == CU_GRAPH_NODE_TYPE_GRAPH && DRIVER(cuGraphChildGraphNodeGetGraph)(node, &child) == CUDA_SUCCESS) {
        add_up(child, need);
    }
    if (type == CU_GRAPH_NODE_TYPE_MEM_ALLOC && DRIVER(cuGraphMemAllocNodeGetParams)(node, &wanted) == CUDA_SUCCESS &&
        wanted.pool.location.type == CU_MEM_LOCATION_TYPE_DEVICE && pages_whole(wanted.bytes, &whole)) {
        need->device = need->bytes == 0 ? wanted.pool.location.id : need->device;
        need->bytes += whole;
    }
}

static void add_up(CUgraph graph, struct need *need) {
    size_t count = 0;
    if (DRIVER(cuGraphGetNodes) == NULL || DRIVER(cuGraphGetNodes)(graph, NULL, &count) != CUDA_SUCCESS || count == 0) {
        return;
    }
    CUgraphNode *nodes = calloc(count, sizeof *nodes);
    if (nodes != NULL && DRIVER(cuGraphGetNodes)(graph, nodes, &count) == CUDA_SUCCESS) {
        for (size_t place = 0; place < count; place++) {
            add_node(nodes[place], need);
        }
    }
    free(nodes);
}

/* Notes what a graph allocates when it runs. */
static CUresult instantiated(CUresult result, CUgraphExec *graph_exec, CUgraph graph) {
    struct need need = {0};
    if (result != CUDA_SUCCESS || graph_exec == NULL) {
        return result;
    }
    add_up(graph, &need);
    if (need.bytes > 0) {
        allocations_add((struct allocation){.handle = (uintptr_t)*graph_exec,
                                            .bytes = need.bytes,
                                            .device = (int16_t)need.device,
                                            .kind = ALLOCATION_EXECUTABLE});
    }
    return result;
}

CUresult hook_cuGraphInstantiate(__typeof__(&cuGraphInstantiate) driver, CUgraphExec *graph_exec, CUgraph graph,
                                 CUgraphNode *error_node, char *log_buffer, size_t buffer_size) {
    return instantiated(driver(graph_exec, graph, error_node, log_buffer, buffer_size), graph_exec, graph);
}

CUresult hook_cuGraphInstantiate_v2(__typeof__(&cuGraphInstantiate_v2) driver, CUgraphExec *graph_exec, CUgraph graph,
                                    CUgraphNode *error_node, char *log_buffer, size_t buffer_size) {
    return instantiated(driver(graph_exec, graph, error_node, log_buffer, buffer_size), graph_exec, graph);
}

CUresult hook_cuGraphInstantiateWithFlags(__typeof__(&cuGraphInstantiateWithFlags) driver, CUgraphExec *graph_exec,
                                          CUgraph graph, unsigned long long flags) {
    return instantiated(driver(graph_exec, graph, flags), graph_exec, graph);
}

CUresult hook_cuGraphInstantiateWithParams(__typeof__(&cuGraphInstantiateWithParams) driver, CUgraphExec *graph_exec,
                                           CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS *instantiate_params) {
    return instantiated(driver(graph_exec, graph, instantiate_params), graph_exec, graph);
}

/* Forgets the graph's cost. */
static CUresult changed(CUgraphExec graph_exec, CUresult result) {
    if (result == CUDA_SUCCESS) {
        struct cost_key key = cost_key_of_graph(graph_exec);
        cost_cache_forget(&key);
    }
    return result;
}

CUresult hook_cuGraphExecDestroy(__typeof__(&cuGraphExecDestroy) driver, CUgraphExec graph_exec) {
    struct allocation entry;
    allocations_remove(ALLOCATION_KEY(EXECUTABLE, graph_exec), &entry);
    return changed(graph_exec, driver(graph_exec));
}

CUresult hook_cuGraphExecUpdate(__typeof__(&cuGraphExecUpdate) driver, CUgraphExec graph_exec, CUgraph graph,
                                CUgraphNode *error_node_out, CUgraphExecUpdateResult *update_result_out) {
    return changed(graph_exec, driver(graph_exec, graph, error_node_out, update_result_out));
}

CUresult hook_cuGraphExecUpdate_v2(__typeof__(&cuGraphExecUpdate_v2) driver, CUgraphExec graph_exec, CUgraph graph,
                                   CUgraphExecUpdateResultInfo *result_info) {
    return changed(graph_exec, driver(graph_exec, graph, result_info));
}

CUresult hook_cuGraphExecKernelNodeSetParams(__typeof__(&cuGraphExecKernelNodeSetParams) driver, CUgraphExec graph_exec,
                                             CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS_v1 *node_params) {
    return changed(graph_exec, driver(graph_exec, node, node_params));
}

CUresult hook_cuGraphExecKernelNodeSetParams_v2(__typeof__(&cuGraphExecKernelNodeSetParams_v2) driver,
                                                CUgraphExec graph_exec, CUgraphNode node,
                                                const CUDA_KERNEL_NODE_PARAMS *node_params) {
    return changed(graph_exec, driver(graph_exec, node, node_params));
}

CUresult hook_cuGraphExecMemcpyNodeSetParams(__typeof__(&cuGraphExecMemcpyNodeSetParams) driver, CUgraphExec graph_exec,
                                             CUgraphNode node, const CUDA_MEMCPY3D *copy_params, CUcontext context) {
    return changed(graph_exec, driver(graph_exec, node, copy_params, context));
}

CUresult hook_cuGraphExecMemsetNodeSetParams(__typeof__(&cuGraphExecMemsetNodeSetParams) driver, CUgraphExec graph_exec,
                                             CUgraphNode node, const CUDA_MEMSET_NODE_PARAMS *memset_params,
                                             CUcontext context) {
    return changed(graph_exec, driver(graph_exec, node, memset_params, context));
}

CUresult hook_cuGraphExecChildGraphNodeSetParams(__typeof__(&cuGraphExecChildGraphNodeSetParams) driver,
                                                 CUgraphExec graph_exec, CUgraphNode node, CUgraph child_graph) {
    return changed(graph_exec, driver(graph_exec, node, child_graph));
}

CUresult hook_cuGraphExecNodeSetParams(__typeof__(&cuGraphExecNodeSetParams) driver, CUgraphExec graph_exec,
                                       CUgraphNode node, CUgraphNodeParams *node_params) {
    return changed(graph_exec, driver(graph_exec, node, node_params));
}

CUresult hook_cuGraphNodeSetEnabled(__typeof__(&cuGraphNodeSetEnabled) driver, CUgraphExec graph_exec, CUgraphNode node,
                                    unsigned int is_enabled) {
    return changed(graph_exec, driver(graph_exec, node, is_enabled));
}

/* Launches or uploads the graph. */
static CUresult run(CUresult (*driver)(CUgraphExec, CUstream), CUgraphExec graph_exec, CUstream stream) {
    struct allocation entry;
    struct pool_growth growth;
    if (!allocations_find(ALLOCATION_KEY(EXECUTABLE, graph_exec), &entry)) {
        return driver(graph_exec, stream);
    }
    struct pool *pool = pools_of_graphs(entry.device);
    if (pool == NULL) {
        return driver(graph_exec, stream);
    }
    if (!pool_begin_growth(pool, &growth, entry.bytes)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    CUresult result = driver(graph_exec, stream);
    /* A graph that runs can't be undone. If it needed more than its nodes asked for, that is counted as soon as there
     * is room. */
    pool_end_growth(pool, &growth);
    return result;
}

CUresult run_cuGraphLaunch(__typeof__(&cuGraphLaunch) driver, CUgraphExec graph_exec, CUstream stream) {
    return run(driver, graph_exec, stream);
}

CUresult hook_cuGraphUpload(__typeof__(&cuGraphUpload) driver, CUgraphExec graph_exec, CUstream stream) {
    return run(driver, graph_exec, stream);
}

CUresult hook_cuDeviceGraphMemTrim(__typeof__(&cuDeviceGraphMemTrim) driver, CUdevice device) {
    CUresult result = driver(device);
    pools_refresh(devices_gpu(device));
    return result;
}
