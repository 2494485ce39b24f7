#include "libvgpu/hooks/graph_gpus.h"

#include <stdlib.h>

#include "libvgpu/compute/graph_parts.h"
#include "libvgpu/driver/devices.h"

/* A graph's nodes in the order of their handles, so that an edge's ends are found. */
struct nodes {
    CUgraphNode *all;
    uint64_t *kernels, *longest;
    uint32_t *from, *to;
    uint32_t count;
    uint64_t edges, room;
};

/* Without `chains`, the kernels of each GPU only. */
static bool find_shape(CUgraph graph, struct graph_shape *shape, bool chains);

/* The GPU of a kernel node is that of its context. */
static int gpu_of(CUgraphNode node) {
    CUDA_KERNEL_NODE_PARAMS params;
    CUcontext current;
    int gpu = NO_GPU;
    if (DRIVER(cuGraphKernelNodeGetParams_v2) == NULL ||
        DRIVER(cuGraphKernelNodeGetParams_v2)(node, &params) != CUDA_SUCCESS) {
        return NO_GPU;
    }
    bool entered = params.context != NULL && devices_enter(params.context);
    if (!devices_current(&current, &gpu) || (params.context != NULL && current != params.context)) {
        gpu = NO_GPU;
    }
    if (entered) {
        devices_leave();
    }
    return gpu;
}

/* Adds the node's kernels to the shape; returns how many it has in a row. */
static uint64_t add_node(CUgraphNode node, struct graph_shape *shape, bool chains) {
    CUgraphNodeType type;
    CUgraph child;
    struct graph_shape inner = {0};
    if (DRIVER(cuGraphNodeGetType)(node, &type) != CUDA_SUCCESS) {
        return 0;
    }
    if (type == CU_GRAPH_NODE_TYPE_GRAPH && DRIVER(cuGraphChildGraphNodeGetGraph)(node, &child) == CUDA_SUCCESS &&
        find_shape(child, &inner, chains)) {
        for (int gpu = 0; gpu < VGPU_MAX_GPUS; gpu++) {
            shape->kernels[gpu] += inner.kernels[gpu];
        }
        return inner.longest;
    }
    int gpu = type == CU_GRAPH_NODE_TYPE_KERNEL ? gpu_of(node) : NO_GPU;
    if (gpu == NO_GPU) {
        return type == CU_GRAPH_NODE_TYPE_KERNEL;
    }
    shape->kernels[gpu]++;
    return 1;
}

static int by_handle(const void *left, const void *right) {
    uintptr_t one = (uintptr_t)*(const CUgraphNode *)left, other = (uintptr_t)*(const CUgraphNode *)right;
    return one < other ? -1 : one > other;
}

static bool add_edge(struct nodes *nodes, uint32_t from, uint32_t to) {
    if (nodes->edges == nodes->room) {
        uint64_t room = nodes->room > 0 ? 2 * nodes->room : 64;
        uint32_t *larger = realloc(nodes->from, room * sizeof *larger);
        nodes->from = larger != NULL ? larger : nodes->from;
        uint32_t *also = larger != NULL ? realloc(nodes->to, room * sizeof *also) : NULL;
        if (also == NULL) {
            return false;
        }
        nodes->to = also;
        nodes->room = room;
    }
    nodes->from[nodes->edges] = from;
    nodes->to[nodes->edges++] = to;
    return true;
}

/* The first form of the call refuses edges with data. */
static CUresult dependencies(CUgraphNode node, CUgraphNode *before, CUgraphEdgeData *data, size_t *count) {
    return DRIVER(cuGraphNodeGetDependencies_v2) != NULL
               ? DRIVER(cuGraphNodeGetDependencies_v2)(node, before, data, count)
               : DRIVER(cuGraphNodeGetDependencies)(node, before, count);
}

static bool add_edges(struct nodes *nodes, uint32_t to) {
    size_t count = 0;
    if (dependencies(nodes->all[to], NULL, NULL, &count) != CUDA_SUCCESS || count == 0) {
        return count == 0;
    }
    CUgraphNode *before = calloc(count, sizeof *before);
    CUgraphEdgeData *data = calloc(count, sizeof *data);
    bool added = before != NULL && data != NULL && dependencies(nodes->all[to], before, data, &count) == CUDA_SUCCESS;
    for (size_t place = 0; added && place < count; place++) {
        CUgraphNode *found = bsearch(&before[place], nodes->all, nodes->count, sizeof *nodes->all, by_handle);
        added = found != NULL && add_edge(nodes, (uint32_t)(found - nodes->all), to);
    }
    free(data);
    free(before);
    return added;
}

static bool fill(struct nodes *nodes, CUgraph graph, struct graph_shape *shape, bool chains) {
    size_t count = nodes->count;
    nodes->all = calloc(count, sizeof *nodes->all);
    nodes->kernels = calloc(count, sizeof *nodes->kernels);
    nodes->longest = calloc(count, sizeof *nodes->longest);
    if (nodes->all == NULL || nodes->kernels == NULL || nodes->longest == NULL ||
        DRIVER(cuGraphGetNodes)(graph, nodes->all, &count) != CUDA_SUCCESS || count != nodes->count) {
        return false;
    }
    qsort(nodes->all, count, sizeof *nodes->all, by_handle);
    for (uint32_t place = 0; place < nodes->count; place++) {
        nodes->kernels[place] = add_node(nodes->all[place], shape, chains);
    }
    return true;
}

static bool several(const struct graph_shape *shape) {
    unsigned gpus = 0;
    for (int gpu = 0; gpu < VGPU_MAX_GPUS; gpu++) {
        gpus += shape->kernels[gpu] > 0;
    }
    return gpus > 1;
}

static bool find_shape(CUgraph graph, struct graph_shape *shape, bool chains) {
    struct nodes nodes = {0};
    size_t count = 0;
    if (DRIVER(cuGraphGetNodes) == NULL || DRIVER(cuGraphNodeGetDependencies) == NULL ||
        DRIVER(cuGraphGetNodes)(graph, NULL, &count) != CUDA_SUCCESS || count == 0 || count > UINT32_MAX) {
        return false;
    }
    nodes.count = (uint32_t)count;
    bool known = fill(&nodes, graph, shape, chains);
    for (uint32_t place = 0; known && chains && place < nodes.count; place++) {
        known = add_edges(&nodes, place);
    }
    if (known && chains) {
        shape->longest =
            graph_parts_longest(nodes.kernels, nodes.longest, nodes.count, nodes.from, nodes.to, nodes.edges);
    }
    free(nodes.all);
    free(nodes.kernels);
    free(nodes.longest);
    free(nodes.from);
    free(nodes.to);
    return known;
}

void graph_gpus_note(CUgraphExec graph_exec, CUgraph graph) {
    struct graph_shape kernels = {0}, shape = {0};
    struct graph_parts parts;
    if (devices_count() != 1 && find_shape(graph, &kernels, false) && several(&kernels) &&
        find_shape(graph, &shape, true) && graph_parts_of(&shape, &parts)) {
        graph_parts_note(graph_exec, &parts);
    }
}
