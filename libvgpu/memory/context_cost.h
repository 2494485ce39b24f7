/* What a context costs: taken before the driver makes it, and learned from NVML when the container's first is made. */
#ifndef UNIGPU_MEMORY_CONTEXT_COST_H
#define UNIGPU_MEMORY_CONTEXT_COST_H

#include "libvgpu/memory/reservation.h"
#include "libvgpu/memory/nvml_delta.h"

struct context_cost {
    struct reservation reservation;
    bool measured;
    struct nvml_delta delta;
};

/* Takes what a context on the device will cost; false: refused. */
bool context_cost_begin(struct context_cost *context_cost, CUdevice device);

/* Counts what it did cost; false where that can't be had: the context has to go. */
bool context_cost_measure(struct context_cost *context_cost);

#endif
