/* Entry points that build graphs and read them back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "simulator/cuda/graph/graph.h"

#define NEED_GRAPH(graph) NEED(object_is(graph, KIND_GRAPH), CUDA_ERROR_INVALID_VALUE)
#define NEED_NODE(node) NEED(object_is(node, KIND_NODE), CUDA_ERROR_INVALID_VALUE)

CUresult cuGraphCreate(CUgraph *graph, unsigned int flags) {
    NEED_DRIVER();
    NEED(graph && flags == 0, CUDA_ERROR_INVALID_VALUE);
    *graph = graph_new();
    return *graph ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuGraphDestroy(CUgraph graph) {
    NEED_DRIVER();
    NEED_GRAPH(graph);
    NEED(!graph->owned && !graph->captures, CUDA_ERROR_INVALID_VALUE);
    graph_end(graph);
    return CUDA_SUCCESS;
}

CUresult cuGraphNodeGetType(CUgraphNode node, CUgraphNodeType *type) {
    NEED_DRIVER();
    NEED_NODE(node);
    NEED(type, CUDA_ERROR_INVALID_VALUE);
    *type = node->type;
    return CUDA_SUCCESS;
}

/* A list of nodes as the driver returns it: as many as there is room for, the rest of the room zeroed; without a place for
 * it, only its length. */
typedef struct node_list {
    CUgraphNode *target;
    size_t room, count;
} node_list;

static void list_add(node_list *list, CUgraphNode node) {
    if (list->target && list->count < list->room) {
        list->target[list->count] = node;
    }
    list->count++;
}

static CUresult list_end(const node_list *list, size_t *room) {
    for (size_t i = list->count; list->target && i < list->room; i++) {
        list->target[i] = NULL;
    }
    *room = !list->target || list->room > list->count ? list->count : list->room;
    return CUDA_SUCCESS;
}

static CUresult give_nodes(CUgraph graph, CUgraphNode *target, size_t *room, bool roots) {
    NEED_DRIVER();
    NEED_GRAPH(graph);
    NEED(room, CUDA_ERROR_INVALID_VALUE);
    node_list list = {target, *room, 0};
    for (CUgraphNode node = graph->first; node; node = node->next) {
        if (!roots || node->need_count == 0) {
            list_add(&list, node);
        }
    }
    return list_end(&list, room);
}

CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode *nodes, size_t *node_count) {
    return give_nodes(graph, nodes, node_count, false);
}

CUresult cuGraphGetRootNodes(CUgraph graph, CUgraphNode *root_nodes, size_t *root_node_count) {
    return give_nodes(graph, root_nodes, root_node_count, true);
}

CUresult cuGraphNodeGetDependencies(CUgraphNode node, CUgraphNode *dependencies, size_t *dependency_count) {
    NEED_DRIVER();
    NEED_NODE(node);
    NEED(dependency_count, CUDA_ERROR_INVALID_VALUE);
    node_list list = {dependencies, *dependency_count, 0};
    for (size_t i = 0; i < node->need_count; i++) {
        list_add(&list, node->needs[i]);
    }
    return list_end(&list, dependency_count);
}

static void plain_edges(CUgraphEdgeData *data, const size_t *count) {
    if (data && count) {
        memset(data, 0, *count * sizeof *data);
    }
}

CUresult cuGraphNodeGetDependencies_v2(CUgraphNode node, CUgraphNode *dependencies, CUgraphEdgeData *edge_data,
                                       size_t *dependency_count) {
    NEED_OK(cuGraphNodeGetDependencies(node, dependencies, dependency_count));
    plain_edges(edge_data, dependency_count);
    return CUDA_SUCCESS;
}

static bool needs(CUgraphNode node, CUgraphNode other) {
    for (size_t i = 0; i < node->need_count; i++) {
        if (node->needs[i] == other) {
            return true;
        }
    }
    return false;
}

CUresult cuGraphNodeGetDependentNodes(CUgraphNode node, CUgraphNode *dependent_nodes, size_t *dependent_node_count) {
    NEED_DRIVER();
    NEED_NODE(node);
    NEED(dependent_node_count, CUDA_ERROR_INVALID_VALUE);
    node_list list = {dependent_nodes, *dependent_node_count, 0};
    for (CUgraphNode each = node->graph->first; each; each = each->next) {
        if (needs(each, node)) {
            list_add(&list, each);
        }
    }
    return list_end(&list, dependent_node_count);
}

CUresult cuGraphNodeGetDependentNodes_v2(CUgraphNode node, CUgraphNode *dependent_nodes, CUgraphEdgeData *edge_data,
                                         size_t *dependent_node_count) {
    NEED_OK(cuGraphNodeGetDependentNodes(node, dependent_nodes, dependent_node_count));
    plain_edges(edge_data, dependent_node_count);
    return CUDA_SUCCESS;
}

CUresult cuGraphGetEdges(CUgraph graph, CUgraphNode *from, CUgraphNode *to, size_t *edge_count) {
    NEED_DRIVER();
    NEED_GRAPH(graph);
    NEED(edge_count && !from == !to, CUDA_ERROR_INVALID_VALUE);
    size_t count = 0;
    for (CUgraphNode node = graph->first; node; node = node->next) {
        for (size_t i = 0; i < node->need_count; i++, count++) {
            if (from && count < *edge_count) {
                from[count] = node->needs[i];
                to[count] = node;
            }
        }
    }
    for (size_t i = count; from && i < *edge_count; i++) {
        from[i] = to[i] = NULL;
    }
    *edge_count = !from || *edge_count > count ? count : *edge_count;
    return CUDA_SUCCESS;
}

CUresult cuGraphGetEdges_v2(CUgraph graph, CUgraphNode *from, CUgraphNode *to, CUgraphEdgeData *edge_data,
                            size_t *edge_count) {
    NEED_OK(cuGraphGetEdges(graph, from, to, edge_count));
    plain_edges(edge_data, edge_count);
    return CUDA_SUCCESS;
}

/* Whether `node` waits, over any number of steps, for `other`. */
static bool reaches(CUgraphNode node, CUgraphNode other, size_t depth) {
    for (size_t i = 0; depth && i < node->need_count; i++) {
        if (node->needs[i] == other || reaches(node->needs[i], other, depth - 1)) {
            return true;
        }
    }
    return false;
}

CUresult cuGraphAddDependencies(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to, size_t count) {
    NEED_DRIVER();
    NEED_GRAPH(graph);
    NEED(count == 0 || (from && to), CUDA_ERROR_INVALID_VALUE);
    for (size_t i = 0; i < count; i++) {
        NEED(object_is(from[i], KIND_NODE) && object_is(to[i], KIND_NODE), CUDA_ERROR_INVALID_VALUE);
        NEED(from[i]->graph == graph && to[i]->graph == graph && from[i] != to[i], CUDA_ERROR_INVALID_VALUE);
        NEED(!needs(to[i], from[i]) && !reaches(from[i], to[i], graph->count), CUDA_ERROR_INVALID_VALUE);
        CUgraphNode *grown = realloc(to[i]->needs, (to[i]->need_count + 1) * sizeof *grown);
        NEED(grown, CUDA_ERROR_OUT_OF_MEMORY);
        to[i]->needs = grown;
        grown[to[i]->need_count++] = from[i];
    }
    return CUDA_SUCCESS;
}

CUresult cuGraphAddDependencies_v2(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to,
                                   const CUgraphEdgeData *edge_data, size_t dependency_count) {
    (void)edge_data;
    return cuGraphAddDependencies(graph, from, to, dependency_count);
}

static void unneed(CUgraphNode node, CUgraphNode other) {
    for (size_t i = 0; i < node->need_count; i++) {
        if (node->needs[i] == other) {
            node->needs[i] = node->needs[--node->need_count];
        }
    }
}

CUresult cuGraphRemoveDependencies(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to, size_t count) {
    NEED_DRIVER();
    NEED_GRAPH(graph);
    NEED(count == 0 || (from && to), CUDA_ERROR_INVALID_VALUE);
    for (size_t i = 0; i < count; i++) {
        NEED(object_is(from[i], KIND_NODE) && object_is(to[i], KIND_NODE), CUDA_ERROR_INVALID_VALUE);
        NEED(needs(to[i], from[i]), CUDA_ERROR_INVALID_VALUE);
        NEED(!graph_owns_memory(graph), CUDA_ERROR_NOT_SUPPORTED);
        unneed(to[i], from[i]);
    }
    return CUDA_SUCCESS;
}

CUresult cuGraphRemoveDependencies_v2(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to,
                                      const CUgraphEdgeData *edge_data, size_t dependency_count) {
    (void)edge_data;
    return cuGraphRemoveDependencies(graph, from, to, dependency_count);
}

CUresult cuGraphDestroyNode(CUgraphNode node) {
    NEED_DRIVER();
    NEED_NODE(node);
    CUgraph graph = node->graph;
    NEED(!graph->captures, CUDA_ERROR_INVALID_VALUE);
    NEED(!graph_owns_memory(graph), CUDA_ERROR_NOT_SUPPORTED);
    CUgraphNode before = NULL;
    for (CUgraphNode each = graph->first; each; each = each->next) {
        unneed(each, node);
        if (each->next == node) {
            before = each;
        }
    }
    if (before) {
        before->next = node->next;
    } else {
        graph->first = node->next;
    }
    if (graph->last == node) {
        graph->last = before;
    }
    graph->count--;
    graph_node_end(node);
    return CUDA_SUCCESS;
}

CUresult cuGraphDebugDotPrint(CUgraph graph, const char *path, unsigned int flags) {
    (void)flags;
    NEED_DRIVER();
    NEED_GRAPH(graph);
    FILE *file = path ? fopen(path, "we") : NULL;
    NEED(file, CUDA_ERROR_OPERATING_SYSTEM);
    fputs("digraph graph_0 {\n", file);
    for (CUgraphNode node = graph->first; node; node = node->next) {
        fprintf(file, "  \"%p\" [label=\"type %d\"];\n", (void *)node, (int)node->type);
        for (size_t i = 0; i < node->need_count; i++) {
            fprintf(file, "  \"%p\" -> \"%p\";\n", (void *)node->needs[i], (void *)node);
        }
    }
    fputs("}\n", file);
    return fclose(file) == 0 ? CUDA_SUCCESS : CUDA_ERROR_OPERATING_SYSTEM;
}

/* ---- Objects of the program that the graph keeps alive. */

CUresult cuGraphRetainUserObject(CUgraph graph, CUuserObject user, unsigned int count, unsigned int flags) {
    NEED_DRIVER();
    NEED_GRAPH(graph);
    NEED(!(flags & ~(unsigned)CU_GRAPH_USER_OBJECT_MOVE), CUDA_ERROR_INVALID_VALUE);
    return user_refs_add(&graph->users, user, count, flags & CU_GRAPH_USER_OBJECT_MOVE);
}

CUresult cuGraphReleaseUserObject(CUgraph graph, CUuserObject user, unsigned int count) {
    NEED_DRIVER();
    NEED_GRAPH(graph);
    NEED(count, CUDA_ERROR_INVALID_VALUE);
    return user_refs_remove(&graph->users, user, count);
}
