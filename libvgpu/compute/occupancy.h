/* Whether a kernel leaves room on the GPU for another at the same time. */
#ifndef UNIGPU_COMPUTE_OCCUPANCY_H
#define UNIGPU_COMPUTE_OCCUPANCY_H

#include <stdbool.h>

#include "libvgpu/compute/cost_cache.h"

/* Whether the launch has at least as many blocks as the current context's GPU holds at once. Kernels like it run one after
 * another, on whatever streams they are. False where that isn't known. */
bool occupancy_fills(const struct cost_key *key);

#endif
