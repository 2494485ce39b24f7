/* Graphs. Memory that a graph's nodes allocate is reserved before the graph runs, and then counted as the driver
 * reports it. */
#include "libvgpu/compute/graph_parts.h"
#include "libvgpu/hooks/graph_gpus.h"
#include "libvgpu/hooks/hooks.h"
#include "libvgpu/hooks/launches.h"
#include "libvgpu/memory/allocations.h"
#include "libvgpu/memory/graph_memory.h"
#include "libvgpu/memory/pools.h"

/* Notes what a graph allocates when it runs, and on which GPUs. */
static CUresult instantiated(CUresult result, CUgraphExec *graph_exec, CUgraph graph) {
    struct graph_need need[VGPU_MAX_GPUS];
    if (result != CUDA_SUCCESS || graph_exec == NULL) {
        return result;
    }
    graph_gpus_note(*graph_exec, graph);
    unsigned count = graph_memory_needs(graph, need, VGPU_MAX_GPUS);
    for (unsigned number = 0; number < count; number++) {
        allocations_add((struct allocation){.handle = (uintptr_t)*graph_exec,
                                            .bytes = need[number].bytes,
                                            .limit = number,
                                            .device = (int16_t)need[number].device,
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
    struct allocation_key key = ALLOCATION_KEY(EXECUTABLE, graph_exec);
    while (allocations_remove(key, &entry)) {
        key.limit++;
    }
    graph_parts_forget(graph_exec);
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

/* One note for each GPU on which the graph's nodes allocate, numbered from 0. */
static bool note_of(CUgraphExec graph_exec, unsigned number, struct allocation *entry) {
    struct allocation_key key = ALLOCATION_KEY(EXECUTABLE, graph_exec);
    key.limit = number;
    return allocations_find(key, entry);
}

struct growing {
    struct pool *pool;
    struct pool_growth growth;
};

static void end_growth(struct growing *growing, unsigned count) {
    for (unsigned place = 0; place < count; place++) {
        /* A graph that runs can't be undone. If it needed more than its nodes asked for, that is counted as soon as
         * there is room. */
        pool_end_growth(growing[place].pool, &growing[place].growth);
    }
}

/* Launches or uploads the graph. */
static CUresult run(CUresult (*driver)(CUgraphExec, CUstream), CUgraphExec graph_exec, CUstream stream) {
    struct allocation entry;
    struct growing growing[VGPU_MAX_GPUS];
    unsigned count = 0;
    for (unsigned number = 0; number < VGPU_MAX_GPUS && note_of(graph_exec, number, &entry); number++) {
        struct pool *pool = pools_of_graphs(entry.device);
        if (pool == NULL) {
            continue;
        }
        growing[count].pool = pool;
        if (!pool_begin_growth(pool, &growing[count].growth, entry.bytes)) {
            end_growth(growing, count);
            return CUDA_ERROR_OUT_OF_MEMORY;
        }
        count++;
    }
    CUresult result = driver(graph_exec, stream);
    end_growth(growing, count);
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
