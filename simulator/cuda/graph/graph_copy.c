/* Copies of graphs. Each node of a copy knows its original. */
#include "simulator/cuda/graph/graph_copy.h"

#include <stdlib.h>
#include <string.h>

#include "simulator/cuda/memory/graph_memory.h"

static CUgraphNode in_copy(CUgraph copy, CUgraphNode original) {
    for (CUgraphNode node = copy->first; node; node = node->next) {
        if (node->original == original) {
            return node;
        }
    }
    return NULL;
}

/* Gives the copy of a conditional node copies of its graphs. */
static CUresult copy_bodies(CUgraphNode original, CUgraphNode copy) {
    copy->bodies = calloc(original->body_count, sizeof(CUgraph));
    NEED(copy->bodies, CUDA_ERROR_OUT_OF_MEMORY);
    copy->conditional = original->conditional;
    copy->conditional.bodies = copy->bodies;
    for (unsigned i = 0; i < original->body_count; i++) {
        NEED_OK(graph_copy(original->bodies[i], &copy->bodies[i]));
        copy->bodies[i]->owned = true;
        copy->body_count++;
        if (original->bodies[i] == original->child) {
            copy->child = copy->bodies[i];
        }
    }
    return CUDA_SUCCESS;
}

CUresult graph_copy(CUgraph original, CUgraph *copy) {
    CUgraph made = graph_new();
    NEED(made, CUDA_ERROR_OUT_OF_MEMORY);
    CUresult result = user_refs_copy(&made->users, original->users);
    for (CUgraphNode node = original->first; node && result == CUDA_SUCCESS; node = node->next) {
        op work = node->work;
        CUgraphNode twin;
        result = graph_work_keep(&work);
        if (result != CUDA_SUCCESS) {
            break;
        }
        result = graph_add(made, node->type, &work, node->context, NULL, 0, &twin);
        if (result == CUDA_SUCCESS) {
            twin->original = node;
            twin->alloc = node->alloc;
            if (node->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC) {
                heap_ref(node->alloc.pointer);
            }
            if (node->bodies) {
                result = copy_bodies(node, twin);
            } else if (node->child) {
                result = graph_copy(node->child, &twin->child);
            }
        }
    }
    for (CUgraphNode twin = made->first; twin && result == CUDA_SUCCESS; twin = twin->next) {
        CUgraphNode node = twin->original;
        CUgraphNode *needs = realloc(twin->needs, (node->need_count + 1) * sizeof *needs);
        if (!needs) {
            result = CUDA_ERROR_OUT_OF_MEMORY;
            break;
        }
        twin->needs = needs;
        twin->need_count = node->need_count;
        for (size_t i = 0; i < node->need_count; i++) {
            needs[i] = in_copy(made, node->needs[i]);
        }
    }
    if (result != CUDA_SUCCESS) {
        graph_end(made);
        return result;
    }
    *copy = made;
    return CUDA_SUCCESS;
}

CUresult cuGraphClone(CUgraph *graph_clone, CUgraph original_graph) {
    NEED_DRIVER();
    NEED(graph_clone, CUDA_ERROR_INVALID_VALUE);
    NEED(object_is(original_graph, KIND_GRAPH), CUDA_ERROR_INVALID_VALUE);
    NEED(!graph_owns_memory(original_graph), CUDA_ERROR_NOT_SUPPORTED);
    return graph_copy(original_graph, graph_clone);
}

CUresult cuGraphNodeFindInClone(CUgraphNode *node, CUgraphNode original_node, CUgraph cloned_graph) {
    NEED_DRIVER();
    NEED(node, CUDA_ERROR_INVALID_VALUE);
    NEED(object_is(cloned_graph, KIND_GRAPH), CUDA_ERROR_INVALID_VALUE);
    *node = in_copy(cloned_graph, original_node);
    return *node ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
