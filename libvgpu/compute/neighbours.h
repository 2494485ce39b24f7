/* Tells what else uses a GPU: the container's other processes, and other containers as the node agent reports them.
 */
#ifndef UNIGPU_COMPUTE_NEIGHBOURS_H
#define UNIGPU_COMPUTE_NEIGHBOURS_H

#include <stdbool.h>

#include "libvgpu/compute/estimate.h"

/* Returns who may have disturbed a sample that was taken just now. */
enum estimate_view neighbours_view(int gpu);

/* Whether the GPU may be at work for a fifth of the time or more: what this process may use, and what other containers
 * use. */
bool neighbours_crowd(int gpu);

#endif
