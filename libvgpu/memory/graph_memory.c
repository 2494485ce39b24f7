#include "libvgpu/memory/graph_memory.h"

#include <stdbool.h>
#include <stdlib.h>

#include "libvgpu/memory/location.h"
#include "libvgpu/memory/pages.h"

/* Pages of one node's allocation. */
struct range {
    uint64_t first, end; /* addresses */
    CUdevice device;
};

struct ranges {
    struct range *all;
    size_t count, room;
};

static void add(struct ranges *ranges, const CUDA_MEM_ALLOC_NODE_PARAMS *node) {
    uint64_t end;
    CUdevice device;
    if (!location_on_device(node->pool.location, &device) || node->bytes == 0 ||
        __builtin_add_overflow(node->pointer, node->bytes, &end) || !pages_whole(end, &end)) {
        return;
    }
    if (ranges->count == ranges->room) {
        size_t room = ranges->room > 0 ? 2 * ranges->room : 16;
        struct range *larger = realloc(ranges->all, room * sizeof *larger);
        if (larger == NULL) {
            return;
        }
        ranges->all = larger;
        ranges->room = room;
    }
    ranges->all[ranges->count++] = (struct range){node->pointer & ~(PAGE_BYTES - 1), end, device};
}

static void collect(CUgraph graph, struct ranges *ranges);

static void collect_node(CUgraphNode node, struct ranges *ranges) {
    CUgraphNodeType type;
    CUDA_MEM_ALLOC_NODE_PARAMS wanted;
    CUgraph child;
    if (DRIVER(cuGraphNodeGetType)(node, &type) != CUDA_SUCCESS) {
        return;
    }
    if (type == CU_GRAPH_NODE_TYPE_GRAPH && DRIVER(cuGraphChildGraphNodeGetGraph)(node, &child) == CUDA_SUCCESS) {
        collect(child, ranges);
    }
    if (type == CU_GRAPH_NODE_TYPE_MEM_ALLOC && DRIVER(cuGraphMemAllocNodeGetParams)(node, &wanted) == CUDA_SUCCESS) {
        add(ranges, &wanted);
    }
}

static void collect(CUgraph graph, struct ranges *ranges) {
    size_t count = 0;
    if (DRIVER(cuGraphGetNodes) == NULL || DRIVER(cuGraphGetNodes)(graph, NULL, &count) != CUDA_SUCCESS || count == 0) {
        return;
    }
    CUgraphNode *nodes = calloc(count, sizeof *nodes);
    if (nodes != NULL && DRIVER(cuGraphGetNodes)(graph, nodes, &count) == CUDA_SUCCESS) {
        for (size_t place = 0; place < count; place++) {
            collect_node(nodes[place], ranges);
        }
    }
    free(nodes);
}

static int by_place(const void *left, const void *right) {
    const struct range *one = left, *other = right;
    if (one->device != other->device) {
        return one->device < other->device ? -1 : 1;
    }
    return one->first < other->first ? -1 : one->first > other->first;
}

unsigned graph_memory_needs(CUgraph graph, struct graph_need *needs, unsigned room) {
    struct ranges ranges = {0};
    unsigned count = 0;
    uint64_t end = 0;
    collect(graph, &ranges);
    if (ranges.count > 0) {
        qsort(ranges.all, ranges.count, sizeof *ranges.all, by_place);
    }
    for (size_t place = 0; place < ranges.count; place++) {
        const struct range *each = &ranges.all[place];
        if (count == 0 || needs[count - 1].device != each->device) {
            if (count == room) {
                break;
            }
            needs[count++] = (struct graph_need){.device = each->device};
            end = 0;
        }
        uint64_t first = each->first > end ? each->first : end;
        if (each->end > first) {
            needs[count - 1].bytes += each->end - first;
            end = each->end;
        }
    }
    free(ranges.all);
    return count;
}
