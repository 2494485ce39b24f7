#include "libvgpu/compute/graph_parts.h"

#include <stdlib.h>

#include "libvgpu/base/lock.h"
#include "libvgpu/compute/gpu_time.h"

/* So many looks at an edge at most. Nodes mostly come before those that need them, and two passes are enough. Otherwise the longest
 * chain may be found too short, and the parts too large. */
#define LOOKS_MOST 10000000u

struct noted {
    const void *graph;
    struct graph_parts parts;
    struct noted *next;
};

MUTEX(lock);
static struct noted *first;

bool graph_parts_of(const struct graph_shape *shape, struct graph_parts *parts) {
    unsigned gpus = 0;
    *parts = (struct graph_parts){0};
    for (int gpu = 0; gpu < VGPU_MAX_GPUS; gpu++) {
        uint64_t part = shape->longest > 0 ? shape->kernels[gpu] * GRAPH_PARTS_WHOLE / shape->longest : 0;
        parts->of[gpu] = part < GRAPH_PARTS_WHOLE ? (uint32_t)part : GRAPH_PARTS_WHOLE;
        gpus += shape->kernels[gpu] > 0;
    }
    return gpus > 1;
}

uint64_t graph_parts_longest(const uint64_t *kernels, uint64_t *longest, uint32_t count, const uint32_t *from,
                             const uint32_t *to, uint64_t edges) {
    uint64_t most = 0;
    for (uint32_t node = 0; node < count; node++) {
        longest[node] = kernels[node];
    }
    bool changed = true;
    for (uint64_t looks = 0; changed && looks <= LOOKS_MOST; looks += edges) {
        changed = false;
        for (uint64_t edge = 0; edge < edges; edge++) {
            uint64_t through = longest[from[edge]] + kernels[to[edge]];
            if (through > longest[to[edge]]) {
                longest[to[edge]] = through;
                changed = true;
            }
        }
    }
    for (uint32_t node = 0; node < count; node++) {
        most = longest[node] > most ? longest[node] : most;
    }
    return most;
}

/* Call with the lock held. Returns where the graph is linked, or the end. */
static struct noted **link_of(const void *graph) {
    struct noted **link = &first;
    while (*link != NULL && (*link)->graph != graph) {
        link = &(*link)->next;
    }
    return link;
}

void graph_parts_note(const void *graph, const struct graph_parts *parts) {
    struct noted *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return;
    }
    *made = (struct noted){.graph = graph, .parts = *parts};
    mutex_lock(&lock);
    made->next = first;
    __atomic_store_n(&first, made, __ATOMIC_RELEASE);
    mutex_unlock(&lock);
}

void graph_parts_forget(const void *graph) {
    if (__atomic_load_n(&first, __ATOMIC_ACQUIRE) == NULL) {
        return;
    }
    mutex_lock(&lock);
    struct noted **link = link_of(graph), *gone = *link;
    if (gone != NULL) {
        __atomic_store_n(link, gone->next, __ATOMIC_RELEASE);
        free(gone);
    }
    mutex_unlock(&lock);
}

/* Copies the parts for a launch of that cost, with the launches before it that nobody was charged for. */
static bool take(const void *graph, uint64_t cost, struct graph_parts *parts) {
    if (__atomic_load_n(&first, __ATOMIC_ACQUIRE) == NULL) {
        return false;
    }
    mutex_lock(&lock);
    struct noted *found = *link_of(graph);
    if (found != NULL) {
        *parts = found->parts;
        found->parts.uncharged = cost == 0 ? found->parts.uncharged + 1 : 0;
    }
    mutex_unlock(&lock);
    return found != NULL;
}

static int64_t part_of(const struct graph_parts *parts, int gpu, uint64_t cost) {
    return (int64_t)(cost * parts->of[gpu] / GRAPH_PARTS_WHOLE);
}

bool graph_parts_charge(const void *graph, int gpu, uint64_t cost) {
    struct graph_parts parts;
    if (!take(graph, cost, &parts)) {
        return false;
    }
    int64_t launches = (int64_t)parts.uncharged + 1;
    for (int other = 0; other < VGPU_MAX_GPUS; other++) {
        int64_t part = launches * part_of(&parts, other, cost);
        if (other != gpu && part > 0) {
            gpu_time_take(other, part, part);
        }
    }
    gpu_time_give(gpu, launches * ((int64_t)cost - part_of(&parts, gpu, cost)));
    return true;
}

void graph_parts_undo(const void *graph, int gpu, uint64_t cost) {
    struct graph_parts parts;
    if (!take(graph, cost, &parts)) {
        return;
    }
    for (int other = 0; other < VGPU_MAX_GPUS; other++) {
        int64_t part = part_of(&parts, other, cost);
        if (other != gpu && part > 0) {
            gpu_time_give(other, part);
        }
    }
    gpu_time_give(gpu, part_of(&parts, gpu, cost) - (int64_t)cost);
}
