/* The memory that a context costs. It is reserved before the driver makes the context, and measured with NVML for the
 * container's first context on a GPU. */
#ifndef UNIGPU_MEMORY_CONTEXT_COST_H
#define UNIGPU_MEMORY_CONTEXT_COST_H

#include "libvgpu/memory/nvml_delta.h"
#include "libvgpu/memory/reservation.h"

struct context_cost {
    struct reservation reservation;
    bool measured;
    struct nvml_delta delta;
};

/* Reserves the cost of a context on the device; false: refused. */
bool context_cost_begin(struct context_cost *context_cost, CUdevice device);

/* Counts the measured cost of the context that was made; false where that is more than is left: the context has to be
 * destroyed. To be called once after each context_cost_begin, also where no context was made. */
bool context_cost_measure(struct context_cost *context_cost, bool made);

#endif
