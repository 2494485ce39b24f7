/* Nodes of each kind: adding them, reading and changing their parameters. */
#include <stdlib.h>
#include <string.h>

#include "simulator/cuda/core/later.h"
#include "simulator/cuda/graph/graph_copy.h"
#include "simulator/cuda/memory/graph_memory.h"
#include "simulator/cuda/memory/transfer.h"
#include "simulator/cuda/module/launch.h"
#include "simulator/cuda/stream/event.h"
#include "simulator/cuda/stream/green.h"

static CUcontext context_or_current(CUcontext context) {
    CUresult error;
    return context ? context_of(context) : context_current(&error);
}

/* ---- Kernels. */

CUresult cuGraphAddKernelNode_v2(CUgraphNode *graph_node, CUgraph graph, const CUgraphNode *dependencies,
                                 size_t dependency_count, const CUDA_KERNEL_NODE_PARAMS *node_params) {
    NEED_DRIVER();
    NEED(graph_node && node_params, CUDA_ERROR_INVALID_VALUE);
    CUcontext context = context_or_current(node_params->context);
    NEED(context, CUDA_ERROR_INVALID_CONTEXT);
    op work;
    NEED_OK(kernel_work(node_params, context, current_part(), &work));
    work.as.kernel.parameters = kernel_parameters(work.as.kernel.function, node_params->parameters, node_params->extra);
    return graph_add(graph, CU_GRAPH_NODE_TYPE_KERNEL, &work, context, dependencies, dependency_count, graph_node);
}

static CUDA_KERNEL_NODE_PARAMS widen(const CUDA_KERNEL_NODE_PARAMS_v1 *old) {
    CUDA_KERNEL_NODE_PARAMS wide = {0};
    memcpy(&wide, old, sizeof *old);
    return wide;
}

CUresult cuGraphAddKernelNode(CUgraphNode *graph_node, CUgraph graph, const CUgraphNode *dependencies,
                              size_t dependency_count, const CUDA_KERNEL_NODE_PARAMS_v1 *node_params) {
    NEED(node_params, CUDA_ERROR_INVALID_VALUE);
    CUDA_KERNEL_NODE_PARAMS wide = widen(node_params);
    return cuGraphAddKernelNode_v2(graph_node, graph, dependencies, dependency_count, &wide);
}

CUresult cuGraphKernelNodeSetParams_v2(CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS *node_params) {
    NEED_NODE_OF(node, CU_GRAPH_NODE_TYPE_KERNEL);
    NEED(node_params, CUDA_ERROR_INVALID_VALUE);
    op work;
    NEED_OK(kernel_work(node_params, node->context, current_part(), &work));
    work.as.kernel.parameters = kernel_parameters(work.as.kernel.function, node_params->parameters, node_params->extra);
    free(node->work.as.kernel.parameters);
    node->work = work;
    return CUDA_SUCCESS;
}

CUresult cuGraphKernelNodeSetParams(CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS_v1 *node_params) {
    NEED(node_params, CUDA_ERROR_INVALID_VALUE);
    CUDA_KERNEL_NODE_PARAMS wide = widen(node_params);
    return cuGraphKernelNodeSetParams_v2(node, &wide);
}

CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode node, CUDA_KERNEL_NODE_PARAMS *node_params) {
    NEED_NODE_OF(node, CU_GRAPH_NODE_TYPE_KERNEL);
    NEED(node_params, CUDA_ERROR_INVALID_VALUE);
    const op *work = &node->work;
    CUfunction function = work->as.kernel.function;
    static __thread void *pointers[sizeof function->parameters / sizeof *function->parameters];
    for (size_t i = 0; i < function->parameter_count; i++) {
        pointers[i] = (char *)work->as.kernel.parameters + function->parameters[i].offset;
    }
    *node_params = (CUDA_KERNEL_NODE_PARAMS){
        .function = function,
        .grid_x = work->as.kernel.grid[0],
        .grid_y = work->as.kernel.grid[1],
        .grid_z = work->as.kernel.grid[2],
        .block_x = work->as.kernel.block[0],
        .block_y = work->as.kernel.block[1],
        .block_z = work->as.kernel.block[2],
        .shared_bytes = work->as.kernel.shared,
        .parameters = function->parameter_count ? pointers : NULL,
        .context = node->context,
    };
    return CUDA_SUCCESS;
}

CUresult cuGraphKernelNodeGetParams(CUgraphNode node, CUDA_KERNEL_NODE_PARAMS_v1 *node_params) {
    NEED(node_params, CUDA_ERROR_INVALID_VALUE);
    CUDA_KERNEL_NODE_PARAMS wide;
    NEED_OK(cuGraphKernelNodeGetParams_v2(node, &wide));
    memcpy(node_params, &wide, sizeof *node_params);
    return CUDA_SUCCESS;
}

CUresult cuGraphKernelNodeGetAttribute(CUgraphNode node, CUkernelNodeAttrID attribute, CUkernelNodeAttrValue *value) {
    NEED_DRIVER();
    NEED(object_is(node, KIND_NODE) && node->type == CU_GRAPH_NODE_TYPE_KERNEL && value, CUDA_ERROR_INVALID_VALUE);
    memset(value, 0, sizeof *value);
    if (attribute == CU_LAUNCH_ATTRIBUTE_COOPERATIVE) {
        value->cooperative = node->work.as.kernel.cooperative;
    }
    return CUDA_SUCCESS;
}

CUresult cuGraphKernelNodeSetAttribute(CUgraphNode node, CUkernelNodeAttrID attribute,
                                       const CUkernelNodeAttrValue *value) {
    NEED_DRIVER();
    NEED(object_is(node, KIND_NODE) && node->type == CU_GRAPH_NODE_TYPE_KERNEL && value, CUDA_ERROR_INVALID_VALUE);
    if (attribute == CU_LAUNCH_ATTRIBUTE_COOPERATIVE) {
        node->work.as.kernel.cooperative = value->cooperative;
    }
    return CUDA_SUCCESS;
}

CUresult cuGraphKernelNodeCopyAttributes(CUgraphNode destination, CUgraphNode source) {
    CUkernelNodeAttrValue value;
    NEED_OK(cuGraphKernelNodeGetAttribute(source, CU_LAUNCH_ATTRIBUTE_COOPERATIVE, &value));
    return cuGraphKernelNodeSetAttribute(destination, CU_LAUNCH_ATTRIBUTE_COOPERATIVE, &value);
}

/* ---- Copies and memsets. */

static op box_work(const CUDA_MEMCPY3D *copy, CUcontext context) {
    op work = {.kind = OP_COPY_BOX};
    memcpy(&work.as.box, copy, sizeof work.as.box);
    work.as.box.src_context = work.as.box.dst_context = context;
    return work;
}

CUresult cuGraphAddMemcpyNode(CUgraphNode *graph_node, CUgraph graph, const CUgraphNode *dependencies,
                              size_t dependency_count, const CUDA_MEMCPY3D *copy_params, CUcontext context) {
    NEED_DRIVER();
    NEED(graph_node && copy_params, CUDA_ERROR_INVALID_VALUE);
    CUcontext chosen = context_or_current(context);
    NEED(chosen, CUDA_ERROR_INVALID_CONTEXT);
    op work = box_work(copy_params, chosen);
    NEED_OK(transfer_check(&work));
    return graph_add(graph, CU_GRAPH_NODE_TYPE_MEMCPY, &work, chosen, dependencies, dependency_count, graph_node);
}

CUresult cuGraphMemcpyNodeSetParams(CUgraphNode node, const CUDA_MEMCPY3D *node_params) {
    NEED_NODE_OF(node, CU_GRAPH_NODE_TYPE_MEMCPY);
    NEED(node_params, CUDA_ERROR_INVALID_VALUE);
    op work = box_work(node_params, node->context);
    NEED_OK(transfer_check(&work));
    node->work = work;
    return CUDA_SUCCESS;
}

CUresult cuGraphMemcpyNodeGetParams(CUgraphNode node, CUDA_MEMCPY3D *node_params) {
    NEED_NODE_OF(node, CU_GRAPH_NODE_TYPE_MEMCPY);
    NEED(node_params, CUDA_ERROR_INVALID_VALUE);
    memset(node_params, 0, sizeof *node_params);
    if (node->work.kind == OP_COPY) {
        node_params->src_type = node_params->dst_type = CU_MEMORYTYPE_UNIFIED;
        node_params->src_device = node->work.as.copy.source;
        node_params->dst_device = node->work.as.copy.destination;
        node_params->width = node->work.as.copy.bytes;
        node_params->height = node_params->depth = 1;
    } else {
        memcpy(node_params, &node->work.as.box, sizeof *node_params);
        node_params->src_reserved = node_params->dst_reserved = NULL;
    }
    return CUDA_SUCCESS;
}

static op fill_work(const CUDA_MEMSET_NODE_PARAMS *set) {
    return (op){.kind = OP_FILL,
                .as.fill = {set->destination, set->pitch, set->value, set->element_size, set->width, set->height}};
}

CUresult cuGraphAddMemsetNode(CUgraphNode *graph_node, CUgraph graph, const CUgraphNode *dependencies,
                              size_t dependency_count, const CUDA_MEMSET_NODE_PARAMS *memset_params,
                              CUcontext context) {
    NEED_DRIVER();
    NEED(graph_node && memset_params, CUDA_ERROR_INVALID_VALUE);
    CUcontext chosen = context_or_current(context);
    NEED(chosen, CUDA_ERROR_INVALID_CONTEXT);
    op work = fill_work(memset_params);
    NEED_OK(transfer_check(&work));
    return graph_add(graph, CU_GRAPH_NODE_TYPE_MEMSET, &work, chosen, dependencies, dependency_count, graph_node);
}

CUresult cuGraphMemsetNodeSetParams(CUgraphNode node, const CUDA_MEMSET_NODE_PARAMS *node_params) {
    NEED_NODE_OF(node, CU_GRAPH_NODE_TYPE_MEMSET);
    NEED(node_params, CUDA_ERROR_INVALID_VALUE);
    op work = fill_work(node_params);
    NEED_OK(transfer_check(&work));
    node->work = work;
    return CUDA_SUCCESS;
}

CUresult cuGraphMemsetNodeGetParams(CUgraphNode node, CUDA_MEMSET_NODE_PARAMS *node_params) {
    NEED_NODE_OF(node, CU_GRAPH_NODE_TYPE_MEMSET);
    NEED(node_params, CUDA_ERROR_INVALID_VALUE);
    const op *work = &node->work;
    *node_params = (CUDA_MEMSET_NODE_PARAMS){work->as.fill.pointer, work->as.fill.pitch, work->as.fill.value,
                                             work->as.fill.unit,    work->as.fill.width, work->as.fill.height};
    return CUDA_SUCCESS;
}

/* ---- Host functions, events, empty nodes, graphs within. */

CUresult cuGraphAddHostNode(CUgraphNode *graph_node, CUgraph graph, const CUgraphNode *dependencies,
                            size_t dependency_count, const CUDA_HOST_NODE_PARAMS *node_params) {
    NEED_DRIVER();
    NEED(graph_node && node_params && node_params->callback, CUDA_ERROR_INVALID_VALUE);
    op work = {.kind = OP_HOST, .as.host = {node_params->callback, node_params->user_data}};
    return graph_add(graph, CU_GRAPH_NODE_TYPE_HOST, &work, NULL, dependencies, dependency_count, graph_node);
}

CUresult cuGraphHostNodeSetParams(CUgraphNode node, const CUDA_HOST_NODE_PARAMS *node_params) {
    NEED_NODE_OF(node, CU_GRAPH_NODE_TYPE_HOST);
    NEED(node_params && node_params->callback, CUDA_ERROR_INVALID_VALUE);
    node->work.as.host.callback = node_params->callback;
    node->work.as.host.data = node_params->user_data;
    return CUDA_SUCCESS;
}

CUresult cuGraphHostNodeGetParams(CUgraphNode node, CUDA_HOST_NODE_PARAMS *node_params) {
    NEED_NODE_OF(node, CU_GRAPH_NODE_TYPE_HOST);
    NEED(node_params, CUDA_ERROR_INVALID_VALUE);
    *node_params = (CUDA_HOST_NODE_PARAMS){node->work.as.host.callback, node->work.as.host.data};
    return CUDA_SUCCESS;
}

CUresult cuGraphAddEmptyNode(CUgraphNode *graph_node, CUgraph graph, const CUgraphNode *dependencies,
                             size_t dependency_count) {
    NEED_DRIVER();
    NEED(graph_node, CUDA_ERROR_INVALID_VALUE);
    op work = {.kind = OP_EMPTY};
    return graph_add(graph, CU_GRAPH_NODE_TYPE_EMPTY, &work, NULL, dependencies, dependency_count, graph_node);
}

static CUresult add_event(CUgraphNode *graph_node, CUgraph graph, const CUgraphNode *dependencies, size_t count,
                          CUevent event, op_kind kind) {
    NEED_DRIVER();
    NEED(graph_node, CUDA_ERROR_INVALID_VALUE);
    NEED(object_is(event, KIND_EVENT), CUDA_ERROR_INVALID_HANDLE);
    op work = {.kind = kind, .as.event.event = event};
    return graph_add(graph, node_type_of(&work), &work, NULL, dependencies, count, graph_node);
}

CUresult cuGraphAddEventRecordNode(CUgraphNode *graph_node, CUgraph graph, const CUgraphNode *dependencies,
                                   size_t dependency_count, CUevent event) {
    return add_event(graph_node, graph, dependencies, dependency_count, event, OP_RECORD);
}

CUresult cuGraphAddEventWaitNode(CUgraphNode *graph_node, CUgraph graph, const CUgraphNode *dependencies,
                                 size_t dependency_count, CUevent event) {
    return add_event(graph_node, graph, dependencies, dependency_count, event, OP_WAIT);
}

#define EVENT_NODES(name, node_type)                                             \
    CUresult cuGraph##name##NodeGetEvent(CUgraphNode node, CUevent *event_out) { \
        NEED_NODE_OF(node, node_type);                                           \
        NEED(event_out, CUDA_ERROR_INVALID_VALUE);                               \
        *event_out = node->work.as.event.event;                                  \
        return CUDA_SUCCESS;                                                     \
    }                                                                            \
    CUresult cuGraph##name##NodeSetEvent(CUgraphNode node, CUevent event) {      \
        NEED_NODE_OF(node, node_type);                                           \
        NEED(object_is(event, KIND_EVENT), CUDA_ERROR_INVALID_HANDLE);           \
        node->work.as.event.event = event;                                       \
        return CUDA_SUCCESS;                                                     \
    }
EVENT_NODES(EventRecord, CU_GRAPH_NODE_TYPE_EVENT_RECORD)
EVENT_NODES(EventWait, CU_GRAPH_NODE_TYPE_WAIT_EVENT)

/* Adds the graph itself instead of a copy: the only way for one that allocates memory. */
static CUresult move_child(CUgraphNode *graph_node, CUgraph graph, const CUgraphNode *dependencies,
                           size_t dependency_count, CUgraph within) {
    NEED_DRIVER();
    NEED(graph_node && object_is(within, KIND_GRAPH) && object_is(graph, KIND_GRAPH), CUDA_ERROR_INVALID_VALUE);
    NEED(within != graph && !within->owned && !within->captures, CUDA_ERROR_INVALID_VALUE);
    op work = {.kind = OP_EMPTY};
    NEED_OK(graph_add(graph, CU_GRAPH_NODE_TYPE_GRAPH, &work, NULL, dependencies, dependency_count, graph_node));
    within->owned = true;
    (*graph_node)->child = within;
    return CUDA_SUCCESS;
}

CUresult cuGraphAddChildGraphNode(CUgraphNode *graph_node, CUgraph graph, const CUgraphNode *dependencies,
                                  size_t dependency_count, CUgraph child_graph) {
    NEED_DRIVER();
    NEED(graph_node && object_is(child_graph, KIND_GRAPH), CUDA_ERROR_INVALID_VALUE);
    NEED(!graph_owns_memory(child_graph), CUDA_ERROR_NOT_SUPPORTED);
    CUgraph copy;
    NEED_OK(graph_copy(child_graph, &copy));
    CUresult result = move_child(graph_node, graph, dependencies, dependency_count, copy);
    if (result != CUDA_SUCCESS) {
        graph_end(copy);
    }
    return result;
}

CUresult cuGraphChildGraphNodeGetGraph(CUgraphNode node, CUgraph *graph) {
    NEED_NODE_OF(node, CU_GRAPH_NODE_TYPE_GRAPH);
    NEED(graph, CUDA_ERROR_INVALID_VALUE);
    *graph = node->child;
    return CUDA_SUCCESS;
}

/* ---- The generic calls. */

CUresult cuGraphAddNode(CUgraphNode *graph_node, CUgraph graph, const CUgraphNode *dependencies,
                        size_t dependency_count, CUgraphNodeParams *node_params) {
    NEED(node_params, CUDA_ERROR_INVALID_VALUE);
    CUgraphNodeParams *wanted = node_params;
    switch (wanted->type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
        return cuGraphAddKernelNode_v2(graph_node, graph, dependencies, dependency_count, &wanted->as.kernel);
    case CU_GRAPH_NODE_TYPE_MEMCPY:
        return cuGraphAddMemcpyNode(graph_node, graph, dependencies, dependency_count, &wanted->as.memcpy.copy,
                                    wanted->as.memcpy.context);
    case CU_GRAPH_NODE_TYPE_MEMSET:
        return cuGraphAddMemsetNode(graph_node, graph, dependencies, dependency_count, &wanted->as.memset.set,
                                    wanted->as.memset.context);
    case CU_GRAPH_NODE_TYPE_HOST:
        return cuGraphAddHostNode(graph_node, graph, dependencies, dependency_count, &wanted->as.host);
    case CU_GRAPH_NODE_TYPE_GRAPH:
        if (wanted->as.child.ownership == CU_GRAPH_CHILD_GRAPH_OWNERSHIP_MOVE) {
            return move_child(graph_node, graph, dependencies, dependency_count, wanted->as.child.graph);
        }
        return cuGraphAddChildGraphNode(graph_node, graph, dependencies, dependency_count, wanted->as.child.graph);
    case CU_GRAPH_NODE_TYPE_EMPTY: return cuGraphAddEmptyNode(graph_node, graph, dependencies, dependency_count);
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
        return cuGraphAddEventWaitNode(graph_node, graph, dependencies, dependency_count, wanted->as.event);
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
        return cuGraphAddEventRecordNode(graph_node, graph, dependencies, dependency_count, wanted->as.event);
    case CU_GRAPH_NODE_TYPE_MEM_ALLOC:
        return cuGraphAddMemAllocNode(graph_node, graph, dependencies, dependency_count, &wanted->as.alloc);
    case CU_GRAPH_NODE_TYPE_MEM_FREE:
        return cuGraphAddMemFreeNode(graph_node, graph, dependencies, dependency_count, wanted->as.free_pointer);
    case CU_GRAPH_NODE_TYPE_EXT_SEMAS_SIGNAL:
        return cuGraphAddExternalSemaphoresSignalNode(graph_node, graph, dependencies, dependency_count,
                                                      &wanted->as.signal.of);
    case CU_GRAPH_NODE_TYPE_EXT_SEMAS_WAIT:
        return cuGraphAddExternalSemaphoresWaitNode(graph_node, graph, dependencies, dependency_count,
                                                    &wanted->as.wait.of);
    case CU_GRAPH_NODE_TYPE_CONDITIONAL:
        NEED(graph_node, CUDA_ERROR_INVALID_VALUE);
        return graph_add_conditional(graph_node, graph, dependencies, dependency_count, &wanted->as.conditional);
    default: return CUDA_ERROR_NOT_SUPPORTED;
    }
}

CUresult cuGraphAddNode_v2(CUgraphNode *graph_node, CUgraph graph, const CUgraphNode *dependencies,
                           const CUgraphEdgeData *dependency_data, size_t dependency_count,
                           CUgraphNodeParams *node_params) {
    (void)dependency_data;
    return cuGraphAddNode(graph_node, graph, dependencies, dependency_count, node_params);
}

CUresult cuGraphAddNode_v3(CUgraphNode *graph_node, CUgraph graph, const CUgraphNode *dependencies,
                           const CUgraphEdgeData *dependency_data, size_t dependency_count,
                           CUgraphNodeParams *node_params) {
    return cuGraphAddNode_v2(graph_node, graph, dependencies, dependency_data, dependency_count, node_params);
}

CUresult cuGraphNodeSetParams_v2(CUgraphNode node, CUgraphNodeParams *node_params) {
    return cuGraphNodeSetParams(node, node_params);
}

CUresult cuGraphNodeSetParams(CUgraphNode node, CUgraphNodeParams *node_params) {
    NEED(node_params, CUDA_ERROR_INVALID_VALUE);
    switch (node_params->type) {
    case CU_GRAPH_NODE_TYPE_KERNEL: return cuGraphKernelNodeSetParams_v2(node, &node_params->as.kernel);
    case CU_GRAPH_NODE_TYPE_MEMCPY: return cuGraphMemcpyNodeSetParams(node, &node_params->as.memcpy.copy);
    case CU_GRAPH_NODE_TYPE_MEMSET: return cuGraphMemsetNodeSetParams(node, &node_params->as.memset.set);
    case CU_GRAPH_NODE_TYPE_HOST: return cuGraphHostNodeSetParams(node, &node_params->as.host);
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT: return cuGraphEventWaitNodeSetEvent(node, node_params->as.event);
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD: return cuGraphEventRecordNodeSetEvent(node, node_params->as.event);
    case CU_GRAPH_NODE_TYPE_EXT_SEMAS_SIGNAL:
        return cuGraphExternalSemaphoresSignalNodeSetParams(node, &node_params->as.signal.of);
    case CU_GRAPH_NODE_TYPE_EXT_SEMAS_WAIT:
        return cuGraphExternalSemaphoresWaitNodeSetParams(node, &node_params->as.wait.of);
    default: return CUDA_ERROR_NOT_SUPPORTED;
    }
}
