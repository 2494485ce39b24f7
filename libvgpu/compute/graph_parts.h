/* Graphs whose kernels run on several GPUs: which part of a launch's time each GPU is at work. */
#ifndef UNIGPU_COMPUTE_GRAPH_PARTS_H
#define UNIGPU_COMPUTE_GRAPH_PARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "libvgpu/base/layout.h"

struct graph_parts {
    uint32_t of[VGPU_MAX_GPUS]; /* in thousandths of the graph's time, at most GRAPH_PARTS_WHOLE */
    uint32_t uncharged;         /* launches that only their stream's GPU was charged for: the cost wasn't known */
};

#define GRAPH_PARTS_WHOLE 1000u

/* Kernels of a graph: how many on each GPU, and how many of the longest chain. */
struct graph_shape {
    uint64_t kernels[VGPU_MAX_GPUS];
    uint64_t longest;
};

/* Sets the parts, for kernels that take equally long. False: no more than one GPU has any. */
bool graph_parts_of(const struct graph_shape *shape, struct graph_parts *parts);

/* Returns how many kernels the longest chain has. Each of `count` nodes has so many `kernels` in a row, and edges lead from
 * `from[n]` to `to[n]`; `longest` is room for a number of each node. */
uint64_t graph_parts_longest(const uint64_t *kernels, uint64_t *longest, uint32_t count, const uint32_t *from,
                             const uint32_t *to, uint64_t edges);

/* Notes the parts of an executable graph; forgets them. */
void graph_parts_note(const void *graph, const struct graph_parts *parts);
void graph_parts_forget(const void *graph);

/* Charges the launch of a graph to the other GPUs, which may sleep, and gives `gpu`, that of its stream, back what isn't its
 * part of `cost`, ns; 0: it is unknown, and the next launch is charged for this one. True: the graph has parts. */
bool graph_parts_charge(const void *graph, int gpu, uint64_t cost);

/* Undoes the charge of a launch that failed. */
void graph_parts_undo(const void *graph, int gpu, uint64_t cost);

#endif
