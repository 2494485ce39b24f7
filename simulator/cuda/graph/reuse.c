/* Reuse of memory inside a graph: an allocation takes the addresses of one that was freed on its way there. A graph of
 * allocations and frees in a row therefore needs no more memory than it has in use at a time. */
#include "simulator/cuda/graph/reuse.h"

#include <stdlib.h>

#include "simulator/cuda/memory/graph_memory.h"

/* Marks the nodes that come before some node: `done` of each one from which it can be reached. */
static CUresult mark_before(CUgraph graph, const CUgraphNode *needs, size_t need_count) {
    CUgraphNode *stack = malloc((graph->count + 1) * sizeof *stack);
    NEED(stack, CUDA_ERROR_OUT_OF_MEMORY);
    size_t height = 0;
    for (CUgraphNode node = graph->first; node; node = node->next) {
        node->done = false;
    }
    for (size_t i = 0; i < need_count; i++) {
        if (!needs[i]->done) {
            needs[i]->done = true;
            stack[height++] = needs[i];
        }
    }
    while (height) {
        CUgraphNode node = stack[--height];
        for (size_t i = 0; i < node->need_count; i++) {
            if (!node->needs[i]->done) {
                node->needs[i]->done = true;
                stack[height++] = node->needs[i];
            }
        }
    }
    free(stack);
    return CUDA_SUCCESS;
}

/* An allocation of the graph at an address, or one of the frees of it that are marked. */
typedef struct change {
    CUdeviceptr pointer;
    int taken; /* 1 or -1 */
} change;

static int by_pointer(const void *left, const void *right) {
    CUdeviceptr a = ((const change *)left)->pointer, b = ((const change *)right)->pointer;
    return a < b ? -1 : a > b;
}

static size_t list_changes(CUgraph graph, int ordinal, change *changes) {
    size_t count = 0;
    for (CUgraphNode node = graph->first; node; node = node->next) {
        if (node->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC && node->alloc.pool.location.id == ordinal) {
            changes[count++] = (change){node->alloc.pointer, 1};
        } else if (node->type == CU_GRAPH_NODE_TYPE_MEM_FREE && node->done) {
            changes[count++] = (change){node->work.as.free, -1};
        }
    }
    qsort(changes, count, sizeof *changes, by_pointer);
    return count;
}

/* The smallest addresses with enough room whose allocations were all freed, or 0. */
static CUdeviceptr find(CUgraph graph, const CUDA_MEM_ALLOC_NODE_PARAMS *wanted) {
    change *changes = malloc((graph->count + 1) * sizeof *changes);
    size_t count = changes ? list_changes(graph, wanted->pool.location.id, changes) : 0;
    CUdeviceptr best = 0;
    size_t best_bytes = 0;
    for (size_t i = 0, next; i < count; i = next) {
        int taken = 0;
        bool own = false; /* frees may be of other graphs' allocations */
        for (next = i; next < count && changes[next].pointer == changes[i].pointer; next++) {
            taken += changes[next].taken;
            own = own || changes[next].taken > 0;
        }
        size_t bytes = own && !taken ? heap_reserved_bytes(changes[i].pointer) : 0;
        if (bytes >= wanted->bytes && (!best || bytes < best_bytes)) {
            best = changes[i].pointer;
            best_bytes = bytes;
        }
    }
    free(changes);
    return best;
}

static bool frees_something(CUgraph graph) {
    for (CUgraphNode node = graph->first; node; node = node->next) {
        if (node->type == CU_GRAPH_NODE_TYPE_MEM_FREE) {
            return true;
        }
    }
    return false;
}

CUresult graph_memory(CUgraph graph, CUcontext context, const CUgraphNode *needs, size_t need_count,
                      CUDA_MEM_ALLOC_NODE_PARAMS *wanted) {
    NEED(object_is(graph, KIND_GRAPH) && (needs || !need_count), CUDA_ERROR_INVALID_VALUE);
    for (size_t i = 0; i < need_count; i++) {
        NEED(object_is(needs[i], KIND_NODE) && needs[i]->graph == graph, CUDA_ERROR_INVALID_VALUE);
    }
    CUdeviceptr found = 0;
    if (need_count && frees_something(graph)) {
        NEED_OK(mark_before(graph, needs, need_count));
        found = find(graph, wanted);
    }
    if (found) {
        heap_ref(found);
        wanted->pointer = found;
        return CUDA_SUCCESS;
    }
    struct heap *heap = graph_heap(context, device_at(wanted->pool.location.id));
    NEED(heap, CUDA_ERROR_OUT_OF_MEMORY);
    return heap_reserve(heap, wanted->bytes, &wanted->pointer);
}
