/* The memory that a graph's nodes allocate when it runs. */
#ifndef UNIGPU_MEMORY_GRAPH_MEMORY_H
#define UNIGPU_MEMORY_GRAPH_MEMORY_H

#include "libvgpu/driver/driver.h"

struct graph_need {
    uint64_t bytes;
    CUdevice device;
};

/* Fills in what the graph needs on each device, in whole pages. Returns on how many devices it allocates, at most
 * `room`. Nodes of which one certainly ends before the other begins have the same addresses, and count once. */
unsigned graph_memory_needs(CUgraph graph, struct graph_need *needs, unsigned room);

#endif
