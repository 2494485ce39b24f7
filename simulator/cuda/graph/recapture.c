/* Recapture: work of a stream replaces the parameters of a graph's nodes, in the order in which those were made. Another order,
 * kind or dependency ends it, and so does a difference in nodes that allocate or free memory. */
#include "simulator/cuda/graph/recapture.h"

#include <string.h>

#include "simulator/cuda/core/later.h"
#include "simulator/cuda/graph/graph_copy.h"
#include "simulator/cuda/graph/graph_exec.h"
#include "simulator/cuda/stream/semaphore.h"

enum { ELIGIBLE, INELIGIBLE };

static bool same_kernel(const op *one, const op *two) {
    CUfunction function = one->as.kernel.function;
    size_t bytes = function->parameter_bytes;
    bool same = function == two->as.kernel.function && one->as.kernel.shared == two->as.kernel.shared &&
                one->as.kernel.cooperative == two->as.kernel.cooperative &&
                memcmp(one->as.kernel.grid, two->as.kernel.grid, sizeof one->as.kernel.grid) == 0 &&
                memcmp(one->as.kernel.block, two->as.kernel.block, sizeof one->as.kernel.block) == 0;
    return same && (!bytes || memcmp(one->as.kernel.parameters, two->as.kernel.parameters, bytes) == 0);
}

static bool same_semaphores(const semaphore_list *one, const semaphore_list *two) {
    bool same = one->count == two->count;
    for (unsigned i = 0; same && i < one->count; i++) {
        same = one->semaphores[i] == two->semaphores[i] && one->params[i].value == two->params[i].value;
    }
    return same;
}

/* Whether two pieces of work of one kind of node do the same. */
static bool same_work(const op *one, const op *two) {
    if (one->kind != two->kind) {
        return false;
    }
    switch (one->kind) {
    case OP_EMPTY: return true;
    case OP_COPY:
        return one->as.copy.destination == two->as.copy.destination && one->as.copy.source == two->as.copy.source &&
               one->as.copy.bytes == two->as.copy.bytes;
    case OP_COPY_BOX: return memcmp(&one->as.box, &two->as.box, sizeof one->as.box) == 0;
    case OP_FILL: return memcmp(&one->as.fill, &two->as.fill, sizeof one->as.fill) == 0;
    case OP_KERNEL: return same_kernel(one, two);
    case OP_HOST: return one->as.host.callback == two->as.host.callback && one->as.host.data == two->as.host.data;
    case OP_CALLBACK:
        return one->as.callback.callback == two->as.callback.callback && one->as.callback.data == two->as.callback.data;
    case OP_RECORD:
    case OP_WAIT: return one->as.event.event == two->as.event.event;
    case OP_SIGNAL:
    case OP_AWAIT: return same_semaphores(one->as.semaphore.all, two->as.semaphore.all);
    case OP_WRITE_VALUE:
    case OP_WAIT_VALUE:
        return one->as.value.address == two->as.value.address && one->as.value.value == two->as.value.value &&
               one->as.value.flags == two->as.value.flags && one->as.value.wide == two->as.value.wide;
    default: return false;
    }
}

static bool same_needs(CUgraphNode node, const CUgraphNode *needs, size_t count) {
    bool same = node->need_count == count;
    for (size_t i = 0; same && i < count; i++) {
        bool found = false;
        for (size_t j = 0; j < count; j++) {
            found = found || node->needs[j] == needs[i];
        }
        same = found;
    }
    return same;
}

/* Whether memory that is allocated or freed is the same: the addresses of a graph's allocation stay. */
static bool same_memory(CUgraphNode node, op *work) {
    if (work->kind == OP_FREE) {
        return work->as.free == node->work.as.free;
    }
    const CUDA_MEM_ALLOC_NODE_PARAMS *old = &node->alloc, *wanted = &work->as.alloc.wanted;
    bool same = old->bytes == wanted->bytes && old->pool.location.type == wanted->pool.location.type &&
                old->pool.location.id == wanted->pool.location.id;
    if (same) {
        *work->as.alloc.pointer = old->pointer;
    }
    return same;
}

/* Tells the caller's function of a difference. */
static CUresult tell(const recapture *again, CUgraphNode node, CUgraphNode changed) {
    CUgraphNodeParams before, after;
    void
        *pointers[sizeof node->work.as.kernel.function->parameters / sizeof *node->work.as.kernel.function->parameters];
    NEED_OK(cuGraphNodeGetParams(node, &before));
    if (node->type == CU_GRAPH_NODE_TYPE_KERNEL && before.as.kernel.parameters) {
        /* The same thread's next question would write over them. */
        memcpy(pointers, before.as.kernel.parameters,
               node->work.as.kernel.function->parameter_count * sizeof *pointers);
        before.as.kernel.parameters = pointers;
    }
    NEED_OK(cuGraphNodeGetParams(changed, &after));
    bool semaphores = node->work.kind == OP_SIGNAL || node->work.kind == OP_AWAIT;
    bool fits =
        node->context == changed->context && !(semaphores && before.as.signal.of.count != after.as.signal.of.count);
    return again->callback(again->data, node, &before, &after, fits ? ELIGIBLE : INELIGIBLE) == CUDA_SUCCESS
               ? CUDA_SUCCESS
               : CUDA_ERROR_GRAPH_RECAPTURE_FAILURE;
}

/* Gives a node the work and, of a launch, the graph within. */
static CUresult change(const recapture *again, CUgraphNode node, CUcontext context, const op *work, CUgraph child) {
    CUgraphNode changed = object_new(KIND_NODE, sizeof *changed);
    NEED(changed, CUDA_ERROR_OUT_OF_MEMORY);
    changed->graph = node->graph;
    changed->type = node->type;
    changed->work = *work;
    changed->context = context;
    changed->child = child;
    CUresult result = again->callback ? tell(again, node, changed) : CUDA_SUCCESS;
    object_end(changed);
    NEED_OK(result);
    graph_work_end(&node->work);
    if (child) {
        graph_end(node->child);
        node->child = child;
    }
    node->work = *work;
    node->context = context;
    return CUDA_SUCCESS;
}

/* The graph that a captured launch runs, as a copy; the launch itself ends. */
static CUresult child_of(op *launch, CUgraph *child) {
    CUresult copied = graph_copy(launch->as.launch.graph, child);
    exec_finish(launch->as.launch.exec, launch->as.launch.graph);
    launch->kind = OP_EMPTY;
    NEED_OK(copied);
    (*child)->owned = true;
    return CUDA_SUCCESS;
}

CUresult recapture_node(recapture *again, CUcontext context, op *work, const CUgraphNode *needs, size_t need_count,
                        CUgraphNode *made) {
    CUgraphNode node = again->next;
    CUgraph child = NULL;
    bool matches = node && node->type == node_type_of(work) && same_needs(node, needs, need_count);
    if (work->kind == OP_GRAPH) {
        NEED_OK(child_of(work, &child));
    }
    bool memory = work->kind == OP_ALLOC || work->kind == OP_FREE;
    CUresult result =
        matches && (!memory || same_memory(node, work)) ? CUDA_SUCCESS : CUDA_ERROR_GRAPH_RECAPTURE_FAILURE;
    if (result == CUDA_SUCCESS && !memory && (child || node->context != context || !same_work(&node->work, work))) {
        result = change(again, node, context, work, child);
    } else if (result == CUDA_SUCCESS && !memory) {
        graph_work_end(work);
    }
    if (result != CUDA_SUCCESS) {
        graph_work_end(work);
        if (child) {
            graph_end(child);
        }
        return result;
    }
    again->next = node->next;
    *made = node;
    return CUDA_SUCCESS;
}
