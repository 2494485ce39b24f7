/* How much room a kernel leaves on the GPU for another at the same time. */
#ifndef UNIGPU_COMPUTE_OCCUPANCY_H
#define UNIGPU_COMPUTE_OCCUPANCY_H

#include "libvgpu/compute/cost_cache.h"

/* Returns the launch's blocks over those that the current context's GPU holds at once, in parts of ENDS_WHOLE and rounded up;
 * at most ENDS_WHOLE: kernels like it run one after another, on whatever streams they are. 0 where that isn't known. */
unsigned occupancy_part(const struct cost_key *key);

#endif
