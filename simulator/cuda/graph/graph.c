/* The structure of graphs: nodes, their order, and references. */
#include "simulator/cuda/graph/graph.h"

#include <stdlib.h>
#include <string.h>

#include "simulator/cuda/memory/graph_memory.h"
#include "simulator/cuda/stream/semaphore.h"

static bool is_of_semaphores(const op *work) {
    return work->kind == OP_SIGNAL || work->kind == OP_AWAIT;
}

CUgraph graph_new(void) {
    static unsigned last_id;
    CUgraph made = object_new(KIND_GRAPH, sizeof *made);
    if (made) {
        made->id = __atomic_add_fetch(&last_id, 1, __ATOMIC_RELAXED);
    }
    return made;
}

CUresult graph_work_keep(op *work) {
    if (work->kind == OP_KERNEL && work->as.kernel.parameters) {
        const void *values = work->as.kernel.parameters;
        work->as.kernel.parameters = malloc(work->as.kernel.function->parameter_bytes);
        NEED(work->as.kernel.parameters, CUDA_ERROR_OUT_OF_MEMORY);
        memcpy(work->as.kernel.parameters, values, work->as.kernel.function->parameter_bytes);
    }
    if (is_of_semaphores(work)) {
        const semaphore_list *all = work->as.semaphore.all;
        size_t each = sizeof *all->semaphores + sizeof *all->params;
        semaphore_list *copy = malloc(sizeof *copy + all->count * each);
        NEED(copy, CUDA_ERROR_OUT_OF_MEMORY);
        memcpy(copy, all, sizeof *copy + all->count * each);
        copy->params = (CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS *)(copy->semaphores + copy->count);
        work->as.semaphore.all = copy;
    }
    return CUDA_SUCCESS;
}

void graph_work_end(op *work) {
    if (work->kind == OP_KERNEL) {
        free(work->as.kernel.parameters);
    } else if (is_of_semaphores(work)) {
        free(work->as.semaphore.all);
    }
}

void graph_node_end(CUgraphNode node) {
    graph_work_end(&node->work);
    if (node->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC) {
        heap_unref(node->alloc.pointer);
    }
    for (unsigned i = 0; i < node->body_count; i++) {
        graph_end(node->bodies[i]);
    }
    if (node->child && !node->bodies) {
        graph_end(node->child);
    }
    free(node->bodies);
    free(node->needs);
    object_end(node);
}

static void end_conditions(CUgraph graph) {
    while (graph->conditions) {
        condition *gone = graph->conditions;
        graph->conditions = gone->next;
        free(gone);
    }
}

void graph_end(CUgraph graph) {
    while (graph->first) {
        CUgraphNode node = graph->first;
        graph->first = node->next;
        graph_node_end(node);
    }
    end_conditions(graph);
    user_refs_drop(&graph->users);
    object_end(graph);
}

bool graph_owns_memory(CUgraph graph) {
    for (CUgraphNode node = graph->first; node; node = node->next) {
        bool own = node->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC || node->type == CU_GRAPH_NODE_TYPE_MEM_FREE;
        if (own || (node->child && graph_owns_memory(node->child))) {
            return true;
        }
    }
    return false;
}

CUgraph graph_ref(CUgraph graph) {
    __atomic_add_fetch(&graph->launches, 1, __ATOMIC_RELAXED);
    return graph;
}

bool graph_is_shared(CUgraph graph) {
    return __atomic_load_n(&graph->launches, __ATOMIC_ACQUIRE) != 0;
}

void graph_unref(CUgraph graph) {
    if (__atomic_fetch_sub(&graph->launches, 1, __ATOMIC_ACQ_REL) == 0) {
        graph_end(graph);
    }
}

CUgraphNodeType node_type_of(const op *work) {
    switch (work->kind) {
    case OP_COPY:
    case OP_COPY_BOX: return CU_GRAPH_NODE_TYPE_MEMCPY;
    case OP_FILL: return CU_GRAPH_NODE_TYPE_MEMSET;
    case OP_KERNEL: return CU_GRAPH_NODE_TYPE_KERNEL;
    case OP_HOST:
    case OP_CALLBACK: return CU_GRAPH_NODE_TYPE_HOST;
    case OP_RECORD: return CU_GRAPH_NODE_TYPE_EVENT_RECORD;
    case OP_WAIT: return CU_GRAPH_NODE_TYPE_WAIT_EVENT;
    case OP_ALLOC: return CU_GRAPH_NODE_TYPE_MEM_ALLOC;
    case OP_FREE: return CU_GRAPH_NODE_TYPE_MEM_FREE;
    case OP_WRITE_VALUE:
    case OP_WAIT_VALUE: return CU_GRAPH_NODE_TYPE_BATCH_MEM_OP;
    case OP_SIGNAL: return CU_GRAPH_NODE_TYPE_EXT_SEMAS_SIGNAL;
    case OP_AWAIT: return CU_GRAPH_NODE_TYPE_EXT_SEMAS_WAIT;
    case OP_GRAPH: return CU_GRAPH_NODE_TYPE_GRAPH;
    case OP_EMPTY: break;
    }
    return CU_GRAPH_NODE_TYPE_EMPTY;
}

CUresult graph_add(CUgraph graph, CUgraphNodeType type, const op *work, CUcontext context, const CUgraphNode *needs,
                   size_t need_count, CUgraphNode *made) {
    NEED(object_is(graph, KIND_GRAPH), CUDA_ERROR_INVALID_VALUE);
    NEED(need_count == 0 || needs, CUDA_ERROR_INVALID_VALUE);
    for (size_t i = 0; i < need_count; i++) {
        NEED(object_is(needs[i], KIND_NODE) && needs[i]->graph == graph, CUDA_ERROR_INVALID_VALUE);
        for (size_t j = 0; j < i; j++) {
            NEED(needs[i] != needs[j], CUDA_ERROR_INVALID_VALUE);
        }
    }
    CUgraphNode node = object_new(KIND_NODE, sizeof *node);
    CUgraphNode *copy = malloc((need_count ? need_count : 1) * sizeof *copy);
    if (!node || !copy) {
        free(copy);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (need_count) {
        memcpy(copy, needs, need_count * sizeof *copy);
    }
    node->graph = graph;
    node->type = type;
    node->id = graph->last_node_id++;
    node->work = *work;
    node->context = context;
    node->needs = copy;
    node->need_count = need_count;
    if (graph->last) {
        graph->last->next = node;
    } else {
        graph->first = node;
    }
    graph->last = node;
    graph->count++;
    *made = node;
    return CUDA_SUCCESS;
}

CUresult graph_order(CUgraph graph) {
    CUgraphNode first = NULL, last = NULL, *link;
    size_t left = graph->count;
    for (CUgraphNode node = graph->first; node; node = node->next) {
        node->done = false;
    }
    while (left) {
        size_t before = left;
        for (link = &graph->first; *link;) {
            CUgraphNode node = *link;
            bool ready = true;
            for (size_t i = 0; i < node->need_count; i++) {
                ready = ready && node->needs[i]->done;
            }
            if (!ready) {
                link = &node->next;
                continue;
            }
            *link = node->next;
            node->next = NULL;
            node->done = true;
            if (last) {
                last->next = node;
            } else {
                first = node;
            }
            last = node;
            left--;
        }
        NEED(left < before, CUDA_ERROR_INVALID_VALUE); /* nodes that wait for each other */
    }
    graph->first = first;
    graph->last = last;
    for (CUgraphNode node = first; node; node = node->next) {
        if (node->child) {
            NEED_OK(graph_order(node->child));
        }
    }
    return CUDA_SUCCESS;
}
