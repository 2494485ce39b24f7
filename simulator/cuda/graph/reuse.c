/* Reuse of memory inside a graph: an allocation takes the addresses of one that was freed on its way there, or the memory of
 * several smaller ones. A graph of allocations and frees in a row therefore needs no more memory than it has in use at a
 * time. */
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

/* An allocation of the graph that takes an address, or one of the frees of it that are marked. What an allocation stands on
 * is taken and freed with it. */
typedef struct change {
    CUdeviceptr pointer;
    int taken; /* 1 or -1 */
} change;

static int by_pointer(const void *left, const void *right) {
    CUdeviceptr a = ((const change *)left)->pointer, b = ((const change *)right)->pointer;
    return a < b ? -1 : a > b;
}

/* The address that a node takes or frees, with its sign in `taken`; 0: it does neither. */
static CUdeviceptr changed_by(CUgraphNode node, int ordinal, int *taken) {
    if (node->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC && node->alloc.pool.location.id == ordinal) {
        *taken = 1;
        return node->alloc.pointer;
    }
    *taken = -1;
    return node->type == CU_GRAPH_NODE_TYPE_MEM_FREE && node->done ? node->work.as.free : 0;
}

/* Stores the changes, if there is a place for them; returns how many there are. */
static size_t list_changes(CUgraph graph, int ordinal, change *changes) {
    size_t count = 0;
    for (CUgraphNode node = graph->first; node; node = node->next) {
        int taken;
        CUdeviceptr pointer = changed_by(node, ordinal, &taken);
        size_t next = 0;
        for (CUdeviceptr each = pointer; each; each = heap_lender(pointer, next++)) {
            if (changes) {
                changes[count] = (change){each, taken};
            }
            count++;
        }
    }
    return count;
}

/* Reserved addresses of the graph whose allocations were all freed, the largest first. */
typedef struct freed {
    CUdeviceptr pointer;
    size_t bytes;
} freed;

static int by_bytes(const void *left, const void *right) {
    size_t a = ((const freed *)left)->bytes, b = ((const freed *)right)->bytes;
    return a > b ? -1 : a < b;
}

/* Lists them; the caller frees the list. */
static size_t find_freed(CUgraph graph, int ordinal, freed **list) {
    size_t count = list_changes(graph, ordinal, NULL), found = 0;
    change *changes = malloc((count + 1) * sizeof *changes);
    *list = malloc((count + 1) * sizeof **list);
    if (changes && *list) {
        list_changes(graph, ordinal, changes);
        qsort(changes, count, sizeof *changes, by_pointer);
        for (size_t i = 0, next; i < count; i = next) {
            int taken = 0;
            bool own = false; /* frees may be of other graphs' allocations */
            for (next = i; next < count && changes[next].pointer == changes[i].pointer; next++) {
                taken += changes[next].taken;
                own = own || changes[next].taken > 0;
            }
            size_t bytes = own && !taken ? heap_reserved_bytes(changes[i].pointer) : 0;
            if (bytes) {
                (*list)[found++] = (freed){changes[i].pointer, bytes};
            }
        }
        qsort(*list, found, sizeof **list, by_bytes);
    }
    free(changes);
    return found;
}

/* New addresses that stand on the memory of freed ones, the largest first, as far as they go. */
static CUresult reserve(struct heap *heap, size_t bytes, const freed *list, size_t count, CUdeviceptr *pointer) {
    CUdeviceptr lenders[64];
    size_t used = 0;
    for (size_t lent = 0; used < count && used < 64 && lent < bytes; used++) {
        lenders[used] = list[used].pointer;
        lent += list[used].bytes;
    }
    return heap_reserve(heap, bytes, lenders, used, pointer);
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
    struct heap *heap = graph_heap(context, device_at(wanted->pool.location.id));
    NEED(heap, CUDA_ERROR_OUT_OF_MEMORY);
    freed *list = NULL;
    size_t count = 0, fitting = 0;
    if (need_count && frees_something(graph)) {
        NEED_OK(mark_before(graph, needs, need_count));
        count = find_freed(graph, wanted->pool.location.id, &list);
    }
    while (fitting < count && list[fitting].bytes >= wanted->bytes) {
        fitting++;
    }
    CUresult result = CUDA_SUCCESS;
    if (fitting) { /* the smallest that has enough room */
        wanted->pointer = list[fitting - 1].pointer;
        heap_ref(wanted->pointer);
    } else {
        result = reserve(heap, wanted->bytes, list, count, &wanted->pointer);
    }
    free(list);
    return result;
}
